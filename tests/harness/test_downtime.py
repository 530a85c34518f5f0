"""The downtime checker on histories written by hand: failures, gaps, holds, and what is drawn."""

from __future__ import annotations

import json

import pytest
from told_histories import SERVICE, written

from harness.checkers.downtime import Limits, check
from harness.checkers.series import Window, gaps, percentile, quiet_windows, series, windows
from harness.history import History, Mark
from harness.model import Verdict

MS = 1_000_000


def rules(history: History, limits: Limits, **given: object) -> set[str]:
    result = check(history, limits, **given)  # type: ignore[arg-type]
    return {finding.rule.removeprefix("downtime/") for finding in result.findings}


def longest(history: History) -> float:
    return max(gap.ms for gap in gaps(history)[SERVICE])


def marked(name: str, at_ms: float, note: str | None = None) -> Mark:
    return Mark(name, int(at_ms * MS), note)


QUIET = ["1 read a=- 0-2", "2 read a=- 1-3", "1 read a=- 5-9"]
HELD = (marked("hold", 10), marked("release", 30))
THROUGH = [*QUIET, "1 read a=- 9-30", "2 read a=- 31-33"]


def test_requests_that_all_succeed_are_valid_without_a_finding() -> None:
    result = check(written(*QUIET))
    assert (result.findings, result.verdict) == ((), Verdict.VALID)
    assert dict(result.examined) == {
        f"{SERVICE} requests": 3,
        "times that requests were held": 0,
    }


def test_a_history_without_a_request_is_unknown() -> None:
    assert check(written()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("came", ["fail", "info", ""])
def test_a_request_without_a_right_answer_is_a_failure(came: str) -> None:
    when = "6-8" if came else "6-"
    history = written(*QUIET, f"2 read a=- {when} {came}".strip())
    assert rules(history, Limits()) == {"request-failed"}
    assert rules(history, Limits(failed_max=1)) == set()


def test_a_failure_says_when_it_was_after_the_last_mark() -> None:
    history = written(*QUIET, "2 update a=v 6-8 fail", marks=(marked("switch", 4),))
    (found,) = check(history).findings
    assert "the first, the update of client 2, was sent at 0.006 s" in found.cause
    assert "2 ms after the mark switch" in found.cause


def test_a_failure_in_an_excused_window_is_counted_and_no_finding() -> None:
    kill = (marked("kill", 5), marked("back", 9))
    history = written(*QUIET, "2 read a=- 6-8 fail", marks=kill)
    result = check(history, excused={"kill": ("back",)})
    assert (result.findings, result.details["failed and excused"]) == ((), 1)
    late = written(*QUIET, "2 read a=- 6-8 fail", "2 read a=- 10-11 fail", marks=kill)
    assert rules(late, Limits(), excused={"kill": ("back",)}) == {"request-failed"}


def test_a_gap_is_a_time_in_which_somebody_waits_and_nobody_is_answered() -> None:
    assert longest(written("1 read a=- 0-2", "1 read a=- 100-102")) == 2
    assert longest(written("1 read a=- 0-2", "2 read a=- 1-60", "1 read a=- 3-7")) == 53
    assert longest(written("1 read a=- 0-40", "2 read a=- 30-50")) == 40


def test_a_refused_request_does_not_end_a_gap() -> None:
    assert (
        longest(written("1 read a=- 0-1 fail", "1 read a=- 20-21 fail", "1 read a=- 40-45")) == 45
    )


def test_a_gap_that_nobody_ends_lasts_to_the_end_of_the_history() -> None:
    assert longest(written("1 read a=- 10-", marks=(marked("end", 70),))) == 60


def test_a_gap_beyond_the_limit_is_a_finding_and_one_at_it_is_none() -> None:
    history = written("1 read a=- 0-20")
    assert rules(history, Limits(gap_ms_max=19.9)) == {"gap-too-long"}
    assert rules(history, Limits(gap_ms_max=20)) == set()
    (found,) = check(history, Limits(gap_ms_max=10)).findings
    assert (found.expected, found.actual) == ("at most 10 ms", "20.0 ms")


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (Limits(held_gap_ms_median_max=20), "gap-median-too-long"),
        (Limits(held_gap_ms_p99_max=20), "gap-p99-too-long"),
        (Limits(latency_ms_p99_max=20), "latency-too-long"),
    ],
)
def test_what_is_felt_around_holds_has_limits_of_its_own(limits: Limits, rule: str) -> None:
    assert rules(written(*THROUGH, marks=HELD), limits) == {rule}
    loose = Limits(held_gap_ms_median_max=21, held_gap_ms_p99_max=21, latency_ms_p99_max=21)
    assert rules(written(*THROUGH, marks=HELD), loose) == set()


def test_limits_of_holds_without_a_hold_are_no_success() -> None:
    assert rules(written(*THROUGH), Limits(held_gap_ms_p99_max=100)) == {"nothing-held"}


def test_latencies_are_told_before_during_and_after_holds() -> None:
    result = check(written(*THROUGH, marks=HELD))
    told = {row["when"]: row["answered"] for row in result.details["latency"]}
    assert told == {"whole": 5, "before": 3, "during": 1, "between": 0, "after": 1}
    assert result.details["holds"] == [
        {"hold": "hold", "at_s": 0.01, "held_ms": 20.0, "gap_ms": 21}
    ]


def test_windows_pair_marks_of_one_note() -> None:
    marks = (
        marked("hold", 1, "a"), marked("hold", 2, "b"), marked("release", 3, "b"),
        marked("back-out", 4, "a"), marked("hold", 5),
    )  # fmt: skip
    found = windows(written("1 read a=- 0-9", marks=marks), {"hold": ("release", "back-out")})
    assert found == (
        Window("hold", "a", 1 * MS, 4 * MS),
        Window("hold", "b", 2 * MS, 3 * MS),
        Window("hold", None, 5 * MS, 9 * MS),
    )


def test_what_is_felt_when_nothing_is_held_is_told_beside_it() -> None:
    lines = [f"1 read a=- {n * 4}-{n * 4 + 3}" for n in range(25)]
    result = check(written(*lines, "2 read a=- 101-140", marks=(marked("hold", 110),)))
    assert result.details["held"]["gap_ms_median"] == 39
    assert result.details["held"]["quiet_gap_ms_median"] == 3


def test_how_long_databases_were_locked_is_told_as_the_candidate_says_it() -> None:
    history = written("1 read a=- 0-9", marks=(marked("hold", 1), marked("release", 2)))
    held = check(history, locked_ms=(4.0, 2.5, 9.25)).details["held"]
    assert (held["locked_ms_median"], held["locked_ms_max"]) == (4.0, 9.25)
    assert "locked_ms_median" not in check(history).details["held"]


def test_a_quiet_window_lies_between_two_holds_and_touches_none() -> None:
    held = (Window("hold", None, 100, 110), Window("hold", None, 112, 120))
    assert quiet_windows(held) == (Window("quiet", None, 45, 55),)


def test_bins_count_what_ended_in_them() -> None:
    drawn = series(written(*THROUGH, "2 read a=- 33-34 fail"), bin_ms=10)
    assert drawn.answered == (3, 0, 0, 2)
    assert drawn.failed == (0, 0, 0, 1)
    assert drawn.max_ms == (4.0, None, None, 21.0)
    assert drawn.p50_ms == (2.0, None, None, 2.0)


def test_a_percentile_is_the_nearest_rank() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]


def test_a_close_up_shows_the_held_service_alone() -> None:
    history = written(*QUIET, marks=(marked("hold", 1, SERVICE), marked("release", 2, SERVICE)))
    other = history.calls[0]._replace(number=9, service="vector-memory")
    both = History(start=history.start, calls=(*history.calls, other), marks=history.marks)
    whole, close = check(both).details["timeline"]["charts"]
    assert sum(whole["answered"]) == 4
    assert sum(close["answered"]) == 3
    assert close["title"] == f"Around the hold at 0.0 s, {SERVICE} alone"


def test_what_a_report_draws_is_json_and_of_a_bounded_size() -> None:
    lines = [f"1 read a=- {n * 100}-{n * 100 + 1}" for n in range(1_000)]
    marks = tuple(marked("hold" if n % 2 else "release", n * 100) for n in range(50))
    told = check(written(*lines, marks=marks)).details["timeline"]
    assert len(json.dumps(told)) < 100_000
    assert len(told["charts"]) == 4
    assert all(len(chart["answered"]) <= 401 for chart in told["charts"])
