"""Budgets, alerts, prices and advice, as functions over a database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest
from genai_prices import Usage as PricedUsage
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from devflow.migration.account import script
from devflow.services.costs import budgets
from devflow.services.costs.advice import HOPELESS_BELOW, Retry, advised
from devflow.services.costs.prices import price_usd
from devflow.services.costs.recording import Usage, record_usage
from devflow.services.store import Connection, Row, rows

_DAY = dt.date(2026, 1, 30)  # a Friday


@pytest.fixture
def db() -> Iterator[Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(script()).fetchall()
        yield connection


def _budget(db: Connection, period: str = "day", *, limit: float = 1.0,
            platform: str | None = None) -> Row:  # fmt: skip
    fields = {"id": None, "name": "b", "period": period, "platform": platform, "limit_usd": limit}
    return budgets.create(db, fields=fields, today=_DAY)


def _spend(db: Connection, cost: float | None, day: dt.date = _DAY, **more: object) -> Row:
    told = {"provider": "p", "agent_type": "a", "created_at": f"{day}T10:00:00Z", "cost_usd": cost}
    return record_usage(db, Usage(**(told | more)))  # type: ignore[arg-type]


def _thresholds(db: Connection) -> list[int]:
    return [r["threshold_percent"] for r in rows(db, "SELECT * FROM cost_alerts ORDER BY seq")]


# Alerts ------------------------------------------------------------------------------------------


def test_each_threshold_is_raised_once_by_the_usage_that_reaches_it(db: Connection) -> None:
    _budget(db)
    raised = []
    for cents in (49, 1, 29, 1, 10, 9, 1, 50):
        _spend(db, cents / 100)
        raised.append(_thresholds(db))
    assert raised == [
        [], [50], [50], [50, 80], [50, 80, 90], [50, 80, 90], [50, 80, 90, 100], [50, 80, 90, 100],
    ]  # fmt: skip


def test_one_usage_may_reach_them_all(db: Connection) -> None:
    _budget(db)
    usage = _spend(db, 7.0)
    assert _thresholds(db) == [50, 80, 90, 100]
    assert {r["usage_id"] for r in rows(db, "SELECT usage_id FROM cost_alerts")} == {usage["id"]}


def test_a_retry_raises_nothing_more(db: Connection) -> None:
    _budget(db)
    for _ in range(3):
        _spend(db, 0.4, id="one")
    assert _thresholds(db) == []


def test_an_alert_is_gone_with_the_usage_that_was_rolled_back(db: Connection) -> None:
    _budget(db)
    db.execute("BEGIN")
    _spend(db, 1.0)
    db.execute("ROLLBACK")
    assert _thresholds(db) == []


@pytest.mark.parametrize(
    ("period", "same", "next_one"),
    [
        ("day", dt.date(2026, 1, 30), dt.date(2026, 1, 31)),
        ("week", dt.date(2026, 2, 1), dt.date(2026, 2, 2)),
        ("month", dt.date(2026, 1, 1), dt.date(2026, 2, 1)),
    ],
)
def test_a_new_period_begins_anew(
    db: Connection, period: str, same: dt.date, next_one: dt.date
) -> None:
    _budget(db, period)
    _spend(db, 0.3)
    _spend(db, 0.3, next_one)
    assert _thresholds(db) == []
    _spend(db, 0.3, same)
    assert _thresholds(db) == [50]
    _spend(db, 0.3, next_one)
    assert _thresholds(db) == [50, 50]


def test_a_platforms_budget_counts_that_platform_only(db: Connection) -> None:
    _budget(db, platform="p")
    _spend(db, 9.0, provider="q")
    assert _thresholds(db) == []
    _spend(db, 0.5)
    assert _thresholds(db) == [50]


def test_a_new_or_lower_limit_counts_what_was_spent(db: Connection) -> None:
    _spend(db, 0.6)
    budget = _budget(db)
    assert (budget["reached_percent"], _thresholds(db)) == (50, [50])
    budgets.change(db, budget["id"], name=None, limit_usd=0.7, today=_DAY)
    assert _thresholds(db) == [50, 80]


@given(st.dates(dt.date(1900, 1, 1), dt.date(2999, 12, 31)))
def test_every_day_is_in_its_periods_and_these_follow_each_other(day: dt.date) -> None:
    for kind in ("day", "week", "month"):
        period = budgets.period_of(kind, day.isoformat())
        assert period is not None
        assert period.start <= day.isoformat() < period.end
        following = budgets.period_of(kind, period.end)
        assert following is not None and following.start == period.end


def test_a_day_that_is_none_is_in_no_budget(db: Connection) -> None:
    _budget(db)
    _spend(db, 5.0, created_at="yesterday")
    assert _thresholds(db) == []


# Prices ------------------------------------------------------------------------------------------


def test_a_known_model_is_priced_as_its_list_says(db: Connection) -> None:
    expected = calc_price(
        PricedUsage(input_tokens=1_000, output_tokens=100),
        model_ref="claude-sonnet-4-5",
        provider_id="anthropic",
    ).total_price
    for provider in ("anthropic", "claude_code"):
        row = _spend(db, None, provider=provider, model="claude-sonnet-4-5", tokens_in=1_000,
                     tokens_out=100)  # fmt: skip
        assert row["cost_usd"] == float(expected) > 0


@pytest.mark.parametrize(
    ("provider", "model", "tokens"),
    [
        ("anthropic", "no-such-model", 5),
        ("ollama", "gpt-4o", 5),
        ("openai", None, 5),
        ("openai", "gpt-4o", None),
    ],
)
def test_without_a_known_price_usage_is_unpriced_and_not_free(
    db: Connection, provider: str, model: str | None, tokens: int | None
) -> None:
    row = _spend(db, None, provider=provider, model=model, tokens_in=tokens)
    assert row["cost_usd"] is None
    assert rows(db, "SELECT unpriced, cost_nanousd FROM cost_sums") == [
        {"unpriced": 1, "cost_nanousd": 0}
    ]


def test_the_price_of_the_time_of_the_request_counts() -> None:
    asked = {"provider": "openai", "model": "o3", "tokens_in": 1_000_000, "tokens_out": 0}
    before = price_usd(**asked, at="2025-06-01T00:00:00Z")  # type: ignore[arg-type]
    after = price_usd(**asked, at="2025-07-01T00:00:00Z")  # type: ignore[arg-type]
    assert before is not None and after is not None and before > after


# Advice ------------------------------------------------------------------------------------------


def _advised(db: Connection, **more: object) -> Row:
    told = {"platform": "p", "agent_type": "a"}
    return advised(db, Retry(**(told | more)), today=_DAY)  # type: ignore[arg-type]


def test_a_retry_that_every_budget_affords_is_advised(db: Connection) -> None:
    _spend(db, 0.1)
    _spend(db, 0.3)
    _budget(db)
    found = _advised(db)
    assert (found["advice"], found["affordable"]) == ("retry", True)
    assert found["expected_cost_usd"] == pytest.approx(0.2)
    assert found["highest_cost_usd"] == 0.3
    assert found["based_on"] == "2 recent requests of a with no model"
    assert found["budgets"][0]["left_usd"] == pytest.approx(0.6)


def test_where_too_little_is_left_it_waits_for_the_next_period(db: Connection) -> None:
    _spend(db, 0.7)
    _budget(db)
    _budget(db, "month", limit=0.8)
    found = _advised(db)
    assert (found["advice"], found["affordable"]) == ("wait", False)
    assert found["wait_until"] == "2026-02-01"
    assert [b["enough"] for b in found["budgets"]] == [False, False]
    assert len(found["reasons"]) == 2


def test_what_no_period_affords_is_stopped(db: Connection) -> None:
    _spend(db, 0.7)
    _budget(db, limit=0.5)
    assert _advised(db)["advice"] == "stop"


def test_another_platforms_budget_does_not_matter(db: Connection) -> None:
    _spend(db, 0.7)
    _budget(db, limit=0.5, platform="q")
    assert _advised(db)["advice"] == "retry"


def test_without_a_known_cost_nothing_is_claimed(db: Connection) -> None:
    _spend(db, None)
    found = _advised(db)
    assert (found["advice"], found["affordable"]) == ("unknown", None)


def test_a_budget_that_is_spent_waits_even_where_the_cost_is_unknown(db: Connection) -> None:
    _spend(db, 1.0, agent_type="b")
    _budget(db)
    found = _advised(db, agent_type="a", model="other")
    assert (found["advice"], found["affordable"]) == ("wait", False)


def test_each_failure_makes_success_less_likely_until_it_is_hopeless(db: Connection) -> None:
    _spend(db, 0.1)
    chances = [_advised(db, failures=n)["success_probability"] for n in range(20)]
    assert chances == sorted(chances, reverse=True) and len(set(chances)) == 20
    assert _advised(db, failures=20)["advice"] == "stop"
    assert chances[-1] < HOPELESS_BELOW
    assert _advised(db, failures=20, successes=20)["advice"] == "retry"


def test_the_platforms_record_counts(db: Connection) -> None:
    db.execute(
        "INSERT INTO platform_performance (platform, capability_domain, task_type, success_rate,"
        " total_tasks) VALUES ('p', 'x', 'y', 1.0, 30), ('p', 'x', 'z', 0.0, 10)"
    )
    assert _advised(db, failures=0)["success_probability"] == 0.75


def test_it_costs_no_more_than_it_is_worth(db: Connection) -> None:
    _spend(db, 0.1)
    assert _advised(db, worth_usd=10.0)["advice"] == "retry"
    assert _advised(db, worth_usd=0.01)["advice"] == "stop"
