"""The daily sums: exactly opening balance plus usage, whatever happens and in whatever order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devflow.migration.account import script
from devflow.services.costs import consistency
from devflow.services.costs.consistency import inconsistencies
from devflow.services.costs.opening import ensure_opened
from devflow.services.costs.recording import Usage, record_usage
from devflow.services.errors import ConflictError
from devflow.services.store import Connection, Store, one, rows

_KEYS = [("anthropic", "m"), ("anthropic", None), ("ollama", "m")]
_DAYS = ["2026-01-30", "2026-01-31"]


@contextmanager
def _fresh() -> Iterator[Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(script()).fetchall()
        yield connection


@pytest.fixture
def db() -> Iterator[Connection]:
    with _fresh() as connection:
        yield connection


def _usage(**more: object) -> Usage:
    told = {"provider": "p", "agent_type": "a", "model": "m", "created_at": "2026-01-31T08:00:00Z"}
    return Usage(**(told | more))  # type: ignore[arg-type]


def _row(db: Connection, **key: str) -> dict[str, object]:
    where = " AND ".join(f"{name} = ?" for name in key)
    found = one(db, f"SELECT * FROM cost_analytics WHERE {where}", tuple(key.values()))
    assert found is not None
    return found


# Laws --------------------------------------------------------------------------------------------

_amounts = st.one_of(st.none(), st.floats(0, 1_000), st.sampled_from([0.1, 0.2, 0.7, 1e-9, 4e-10]))
_tokens = st.one_of(st.none(), st.integers(0, 10**9))
_steps = st.lists(
    st.tuples(
        st.sampled_from(["record", "retry", "restart", "raw", "change", "delete"]),
        st.sampled_from(_KEYS),
        st.sampled_from(_DAYS),
        _tokens,
        _amounts,
        st.integers(0, 11),
    ),
    max_size=25,
)
# Migrated rows hold anything.
_anything = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5), st.binary()
)


@settings(max_examples=120, deadline=None)
@given(_steps, st.lists(st.tuples(_anything, _anything, _anything), max_size=3), st.booleans())
def test_sums_equal_their_parts_after_any_sequence(
    steps: list[tuple[str, tuple[str, str | None], str, int | None, float | None, int]],
    migrated: list[tuple[object, object, object]],
    used_before: bool,
) -> None:
    with _fresh() as connection:
        for number, (requests, tokens, cost) in enumerate(migrated):
            platform, model = _KEYS[number]
            connection.execute(
                "INSERT INTO cost_analytics (date, platform, model, total_requests,"
                " total_tokens, input_tokens, total_cost_usd) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (_DAYS[0], platform, model or "", requests, tokens, tokens, cost),
            )
        if used_before:
            connection.execute(
                "INSERT INTO synthetic_usage (id, provider, agent_type, model, duration_ms,"
                " tokens_in, cost_usd, created_at) VALUES ('old', 'anthropic', 'a', 'm', 0, 7,"
                " 0.3, '2026-01-30 10:00:00'), ('lone', 'other', 'a', NULL, 0, 7, 0.3, 'then')"
            )
        ensure_opened(connection)
        _play(connection, steps)


def _play(connection: Connection, steps: list) -> None:  # type: ignore[type-arg]
    for kind, (provider, model), day, tokens, cost, number in steps:
        usage = _usage(
            id=f"u{number}",
            provider=provider,
            model=model,
            created_at=f"{day}T10:00:00Z",
            tokens_in=tokens,
            cost_usd=cost,
        )
        if kind == "restart":
            connection.deserialize("main", connection.serialize("main"))
            ensure_opened(connection)
        _step(connection, kind, usage)
        assert inconsistencies(connection) == []


def _step(connection: Connection, kind: str, usage: Usage) -> None:
    if kind in ("record", "retry"):
        for _ in range(1 + (kind == "retry")):
            try:
                record_usage(connection, usage)
            except ConflictError:
                assert one(connection, "SELECT 1 FROM synthetic_usage WHERE id = ?", (usage.id,))
    elif kind == "raw":  # not through this service at all
        connection.execute(
            "INSERT OR IGNORE INTO synthetic_usage (id, provider, agent_type, model, duration_ms,"
            " tokens_out, cost_usd, created_at) VALUES (?, ?, 'a', ?, 0, ?, ?, ?)",
            (usage.id, usage.provider, usage.model, usage.tokens_in, usage.cost_usd, "x"),
        )
    elif kind == "change":
        connection.execute(
            "UPDATE synthetic_usage SET provider = ?, cost_usd = ?, tokens_in = ? WHERE id = ?",
            (usage.provider, usage.cost_usd, usage.tokens_in, usage.id),
        )
    elif kind == "delete":
        connection.execute("DELETE FROM synthetic_usage WHERE id = ?", (usage.id,))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1_000), min_size=1, max_size=30), st.randoms())
def test_no_order_of_recording_changes_a_sum(costs: list[float], random: object) -> None:
    shuffled = list(costs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    totals = set()
    for order in (costs, shuffled):
        with _fresh() as db:
            for cost in order:
                record_usage(db, _usage(cost_usd=cost))
            totals.add(_row(db, platform="p")["total_cost_usd"])
    exact = sum(Fraction(round(cost * 1e9), 10**9) for cost in costs)
    assert totals == {float(exact)}


# Cases -------------------------------------------------------------------------------------------


def test_a_retry_with_the_same_id_counts_once(db: Connection) -> None:
    first = record_usage(db, _usage(id="one", tokens_in=3, cost_usd=0.5))
    assert record_usage(db, _usage(id="one", tokens_in=3, cost_usd=0.5)) == first
    assert record_usage(db, _usage(id="one", tokens_in=3)) == first
    row = _row(db, platform="p")
    assert (row["total_requests"], row["total_cost_usd"]) == (1, 0.5)


@pytest.mark.parametrize(
    "other", [{"tokens_in": 4}, {"cost_usd": 0.6}, {"model": None}, {"created_at": "2026-02-01"}]
)
def test_another_request_under_a_known_id_is_refused(
    db: Connection, other: dict[str, object]
) -> None:
    record_usage(db, _usage(id="one", tokens_in=3, cost_usd=0.5))
    with pytest.raises(ConflictError, match="'one' is recorded already"):
        record_usage(db, _usage(**{"id": "one", "tokens_in": 3, "cost_usd": 0.5, **other}))
    assert _row(db, platform="p")["total_requests"] == 1


def test_a_tenth_and_two_tenths_are_three_tenths(db: Connection) -> None:
    record_usage(db, _usage(cost_usd=0.1))
    record_usage(db, _usage(cost_usd=0.2))
    assert _row(db, platform="p")["total_cost_usd"] == 0.3


def test_derived_columns_follow(db: Connection) -> None:
    record_usage(db, _usage(tokens_in=10, tokens_out=30, cost_usd=0.5))
    db.execute("UPDATE cost_analytics SET tasks_completed = 2")
    record_usage(db, _usage(tokens_in=10, tokens_out=0, cost_usd=0.5))
    row = _row(db, platform="p")
    assert row["average_tokens_per_request"] == 25.0
    assert row["cost_per_token"] == 1 / 50
    assert row["cost_per_task"] == 0.5
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (20, 30, 50)


def _steps_to_open(keys: int) -> int:
    """Return for how many hundreds of SQLite's instructions it opens so many keys of one day."""
    hundreds = 0

    def count() -> bool:
        nonlocal hundreds
        hundreds += 1
        return False

    with _fresh() as db:
        numbers = f"WITH RECURSIVE k (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k LIMIT {keys})"
        db.execute(
            f"{numbers} INSERT INTO cost_analytics (date, platform, model, total_requests)"
            " SELECT '2026-01-31', 'p', 'm' || n, 1 FROM k"
        )
        db.execute(
            f"{numbers} INSERT INTO synthetic_usage (id, provider, agent_type, model, duration_ms,"
            " created_at) SELECT n, 'p', 'a', 'm' || n, 0, '2026-01-31 10:00:00' FROM k"
        )
        db.set_progress_handler(count, 100)
        ensure_opened(db)
        db.set_progress_handler(None)
        assert inconsistencies(db) == []
    return hundreds


def test_opening_takes_as_long_as_there_are_keys_for_everybody_waits_meanwhile() -> None:
    assert _steps_to_open(4_000) < 6 * _steps_to_open(1_000)


def test_what_migrated_sums_hold_beyond_their_usage_stays_the_opening_balance(
    db: Connection,
) -> None:
    db.execute(
        "INSERT INTO cost_analytics (date, platform, model, total_requests, total_cost_usd)"
        " VALUES ('2026-01-31', 'p', 'm', 10, 0.1 + 0.2)"
    )
    db.execute(
        "INSERT INTO synthetic_usage (id, provider, agent_type, model, duration_ms, cost_usd,"
        " created_at) VALUES ('old', 'p', 'a', 'm', 0, 0.25, '2026-01-31 10:00:00')"
    )
    ensure_opened(db)
    untouched = _row(db, platform="p")
    assert untouched["total_cost_usd"] == 0.1 + 0.2, "a migrated row stands to the last digit"
    sums = one(db, "SELECT * FROM cost_sums")
    assert sums and (sums["opening_requests"], sums["opening_cost_nanousd"]) == (9, 50_000_000)
    record_usage(db, _usage(cost_usd=0.7))
    ensure_opened(db)
    row = _row(db, platform="p")
    assert (row["total_requests"], row["total_cost_usd"]) == (11, 1.0)
    assert inconsistencies(db) == []


def test_migrated_usage_without_a_sum_gets_one(migrated_once: dict[str, Path], tmp_path: Path
                                               ) -> None:  # fmt: skip
    path = Path(shutil.copyfile(migrated_once["as-planned"], tmp_path / "devflow.sqlite"))
    with Store(path) as store:
        before = store.read_now(lambda c: rows(c, "SELECT * FROM cost_analytics ORDER BY seq"))
        store.write_now(ensure_opened)
        after = store.read_now(lambda c: rows(c, "SELECT * FROM cost_analytics ORDER BY seq"))
        used = store.read_now(lambda c: rows(c, "SELECT * FROM synthetic_usage"))
        assert used and before and after[: len(before)] == before
        keys = {(u["created_at"][:10], u["provider"], u["model"] or "") for u in used}
        assert keys <= {(row["date"], row["platform"], row["model"]) for row in after}
        assert store.read_now(inconsistencies) == []


def test_usage_is_counted_even_where_the_costs_service_never_ran(db: Connection) -> None:
    record_usage(db, _usage(cost_usd=1.0))
    assert one(db, "SELECT count(*) AS n FROM cost_state") == {"n": 1}
    assert _row(db, platform="p")["total_cost_usd"] == 1.0


def test_a_rolled_back_write_leaves_no_sum(db: Connection) -> None:
    ensure_opened(db)
    db.execute("BEGIN")
    record_usage(db, _usage(cost_usd=1.0))
    db.execute("ROLLBACK")
    assert rows(db, "SELECT * FROM cost_analytics") == rows(db, "SELECT * FROM cost_sums") == []


# The checker -------------------------------------------------------------------------------------

_BREACHES = {
    "UPDATE cost_analytics SET total_requests = total_requests + 1": "does not show the sums",
    "UPDATE cost_analytics SET total_cost_usd = total_cost_usd + 1e-9": "does not show the sums",
    "UPDATE cost_analytics SET cost_per_token = 1": "does not show the sums",
    "UPDATE cost_sums SET computed = 0, cost_nanousd = cost_nanousd + 1": "opening balance",
    "DELETE FROM cost_analytics": "no row in cost_analytics",
    "DELETE FROM cost_sums": "has no sums",
    "INSERT INTO cost_analytics (date, platform, model) VALUES ('d', 'q', '')": "without sums",
    "DROP TRIGGER synthetic_usage_counts_delete; DELETE FROM synthetic_usage": "opening balance",
}


@pytest.mark.parametrize("breach", _BREACHES)
def test_the_rule_tells_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], breach: str
) -> None:
    path = tmp_path / "devflow.sqlite"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute(script()).fetchall()
        record_usage(connection, _usage(tokens_in=5, cost_usd=0.5))
        assert consistency.main([str(path)]) == 0
        connection.execute(breach).fetchall()
    assert consistency.main([str(path)]) == 1
    assert _BREACHES[breach] in capsys.readouterr().out


def test_the_rule_needs_a_unified_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert consistency.main([]) == 2
    assert consistency.main([str(tmp_path / "missing")]) == 2
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert consistency.main([str(empty)]) == 2
    assert "is no unified database" in capsys.readouterr().err
