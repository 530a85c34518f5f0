"""Status and choice as pure functions, and histograms that add up."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devflow.services.model_registry.checking import due
from devflow.services.model_registry.latency import (
    added,
    bucket_of,
    merged,
    percentile_ms,
    read_histogram,
)
from devflow.services.model_registry.standing import (
    DOWN_AFTER,
    UP_AFTER,
    Candidate,
    Standing,
    after_check,
    chosen,
)

CHECKS = st.lists(st.booleans(), max_size=40)
STATUSES = st.sampled_from(["healthy", "unhealthy", "unknown"])
CANDIDATES = st.lists(
    st.builds(Candidate, st.sampled_from("abcd"), STATUSES),
    max_size=4,
    unique_by=lambda candidate: candidate.name,
)  # fmt: skip


def played(checks: list[bool], standing: Standing | None = None) -> list[Standing]:
    found = [standing or Standing()]
    for healthy in checks:
        found.append(after_check(found[-1], healthy=healthy))
    return found


@given(CHECKS)
def test_status_turns_only_after_as_many_alike_checks_as_it_takes(checks: list[bool]) -> None:
    for number, (before, after) in enumerate(itertools.pairwise(played(checks))):
        if before.status in ("unknown", after.status):
            continue
        needed = UP_AFTER if after.status == "healthy" else DOWN_AFTER
        last = checks[number + 1 - needed : number + 1]
        assert last == [after.status == "healthy"] * needed


@given(CHECKS.filter(bool))
def test_the_first_check_of_all_decides(checks: list[bool]) -> None:
    assert played(checks)[1].status == ("healthy" if checks[0] else "unhealthy")


@given(CHECKS, st.integers(0, 40))
def test_a_standing_that_was_stored_goes_on_where_it_was(checks: list[bool], cut: int) -> None:
    stored = played(checks[:cut])[-1]
    again = Standing(stored.status, stored.failures, stored.successes)
    assert played(checks[cut:], again)[-1] == played(checks)[-1]


@given(CANDIDATES, st.sampled_from([None, *"abcde"]))
def test_what_is_chosen_is_never_an_unhealthy_one(found: list[Candidate], now: str | None) -> None:
    best, why = chosen(found, now)
    status = {candidate.name: candidate.status for candidate in found}
    assert best is None or status[best] != "unhealthy"
    assert why
    if any(candidate.status == "healthy" for candidate in found):
        assert best is not None


@given(CANDIDATES, st.sampled_from([None, *"abcde"]))
def test_a_choice_stands_until_something_changes(found: list[Candidate], now: str | None) -> None:
    best, _ = chosen(found, now)
    assert chosen(found, best)[0] == best


@pytest.mark.parametrize(
    ("last", "is_due"),
    [
        ("2026-01-31T08:14:00.000Z", False),
        ("2026-01-31T08:09:00.000Z", True),
        ("2026-01-31T09:15:00.000Z", True),  # the clock was set back by an hour since
        (None, True),
    ],
)
def test_a_check_is_due_after_an_interval_and_when_the_clock_was_set_back(
    last: str | None, is_due: bool
) -> None:
    now = dt.datetime(2026, 1, 31, 8, 15, tzinfo=dt.UTC)
    provider = {"last_checked": last}
    assert (due([provider], interval_s=300.0, now=now) == [provider]) is is_due


# Histograms --------------------------------------------------------------------------------------

DURATIONS = st.lists(st.floats(0, 1e6), max_size=60)


def histogram(durations: list[float]) -> dict[int, int]:
    text = "{}"
    for duration in durations:
        text = added(text, duration)
    return read_histogram(text)


@given(DURATIONS, DURATIONS)
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    assert merged([histogram(one), histogram(other)]) == histogram(one + other)


@given(st.lists(st.floats(0.02, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_right_within_five_per_cent(durations: list[float], share: float) -> None:
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
    found = percentile_ms(histogram(durations), share)
    assert found is not None
    assert abs(math.log(found / exact)) <= math.log(1.1) / 2 + 1e-3


def test_what_is_no_histogram_counts_nothing() -> None:
    for text in (None, "", "[]", "no", json.dumps({"a": 1}), json.dumps({"1": "x"}), b"{}"):
        assert read_histogram(text) == {}
    assert percentile_ms({}, 0.5) is None
    assert bucket_of(math.inf) == bucket_of(1e300)
