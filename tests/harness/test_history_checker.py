"""The history checker on histories written by hand: each rule caught, and its near miss not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from told_histories import SERVICE, held, written

from harness.checkers.history import check
from harness.checkers.holdings import Holding
from harness.errors import BadInputError
from harness.history import History
from harness.model import Verdict


def rules(history: History, final: Mapping[str, Holding]) -> set[str]:
    return {finding.rule.removeprefix("history/") for finding in check(history, final).findings}


CREATED = "1 create a=v1 0-5"
UPDATED = "1 update a=v2 10-15"

CAUGHT = {
    "a created row is gone": ("write-lost", [CREATED], []),
    "an update is gone": ("write-lost", [CREATED, UPDATED], ["a=v1"]),
    "an update by a late reader is gone": (
        "write-lost",
        [CREATED, "1 update a=v2 10-", "2 read a=v2 20-21"],
        ["a=v1"],
    ),
    "a deleted row is back": ("delete-undone", [CREATED, "1 delete a 10-15"], ["a=v1"]),
    "a row stands there twice": ("write-doubled", [CREATED], ["a=v1", "a=v1"]),
    "a value stands under another key too": ("write-doubled", [CREATED], ["a=v1", "b=v1"]),
    "an answer lists a key twice": (
        "write-doubled",
        [CREATED, "2 list a=v1,a=v1 10-11"],
        ["a=v1"],
    ),
    "an answer lists a value under another key": (
        "write-doubled",
        [CREATED, "2 list a=v1,b=v1 10-11"],
        ["a=v1"],
    ),
    "a session does not see what it wrote": (
        "stale-read",
        [CREATED, UPDATED, "1 read a=v1 20-21"],
        ["a=v2"],
    ),
    "a session does not see its new key": ("stale-read", [CREATED, "1 read a=- 6-7"], ["a=v1"]),
    "a session goes back behind what it saw": (
        "stale-read",
        [CREATED, "1 update a=v2 10-40", "2 read a=v2 20-21", "2 read a=v1 30-31"],
        ["a=v2"],
    ),
    "another session reads behind an acknowledged write": (
        "stale-read",
        [CREATED, UPDATED, "2 read a=v1 16-17"],
        ["a=v2"],
    ),
    "another session reads behind what one has seen": (
        "stale-read",
        [CREATED, "1 update a=v2 10-40", "2 read a=v2 20-21", "3 read a=v1 22-23"],
        ["a=v2"],
    ),
    "a deleted key is seen again": (
        "stale-read",
        [CREATED, "1 delete a 10-15", "2 read a=v1 16-17"],
        [],
    ),
    "a list shows an old value": (
        "stale-read",
        [CREATED, UPDATED, "2 list a=v1 16-17"],
        ["a=v2"],
    ),
    "an update finds no row": ("stale-read", [CREATED, "1 update a=v2 10-15 404"], ["a=v1"]),
    "an indefinite write was seen, and is then not": (
        "stale-read",
        [CREATED, "1 update a=v2 10-15 info", "2 read a=v2 20-21", "2 read a=v1 22-23"],
        ["a=v2"],
    ),
    "a value was read that nobody wrote": (
        "read-from-nowhere",
        [CREATED, "2 read a=v9 10-11"],
        ["a=v1"],
    ),
    "a value was read before it was sent": (
        "read-from-nowhere",
        [CREATED, "2 read a=v2 6-7", UPDATED],
        ["a=v2"],
    ),
    "a refused write was read": (
        "read-from-nowhere",
        [CREATED, "1 update a=v2 10-15 fail", "2 read a=v2 20-21"],
        ["a=v1"],
    ),
    "a refused write was kept": (
        "refused-write-kept",
        [CREATED, "1 update a=v2 10-15 fail"],
        ["a=v2"],
    ),
    "a value was kept that nobody wrote": ("value-from-nowhere", [CREATED], ["a=v9"]),
    "a row is there that nobody wrote": ("value-from-nowhere", [CREATED], ["a=v1", "b=v9"]),
}

FITTING = {
    "what was acknowledged is there": ([CREATED, UPDATED], ["a=v2"]),
    "a deleted key is gone": ([CREATED, "1 delete a 10-15"], []),
    "an indefinite write did not happen": ([CREATED, "1 update a=v2 10-15 info"], ["a=v1"]),
    "an indefinite write happened": ([CREATED, "1 update a=v2 10-15 info"], ["a=v2"]),
    "an indefinite delete happened": ([CREATED, "1 delete a 10-15 info"], []),
    "an indefinite create did not happen": ([CREATED, "1 create b=w1 10-"], ["a=v1"]),
    "a read beside an update sees the old value": (
        [CREATED, "1 update a=v2 10-15", "2 read a=v1 14-17"],
        ["a=v2"],
    ),
    "a read beside an update sees the new value": (
        [CREATED, "1 update a=v2 10-15", "2 read a=v2 11-12"],
        ["a=v2"],
    ),
    "two reads beside each other see an update in either order": (
        [CREATED, "1 update a=v2 10-40", "2 read a=v2 20-30", "3 read a=v1 21-22"],
        ["a=v2"],
    ),
    "an indefinite write is seen late": (
        [CREATED, "1 update a=v2 10-15 info", "2 read a=v1 20-21", "2 read a=v2 22-23"],
        ["a=v2"],
    ),
    "a key is absent before it is made": ([CREATED, "2 read a=- 1-3"], ["a=v1"]),
    "a list shows some of the keys": ([CREATED, "1 create b=w1 6-7", "2 list b=w1 8-9"], "ab"),
    "a refused write did not happen": ([CREATED, "1 update a=v2 10-15 fail"], ["a=v1"]),
    "an update after a delete finds nothing": (
        [CREATED, "1 delete a 6-7", "1 update a=v2 10-15 404"],
        [],
    ),
    "an indefinite write comes after the next one": (
        [CREATED, "1 update a=v2 6-7 info", "1 update a=v3 8-9", "2 read a=v3 10-11",
         "2 read a=v2 12-13"],
        ["a=v2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CAUGHT)
def test_what_is_wrong_is_caught_by_its_rule(case: str) -> None:
    rule, lines, rows = CAUGHT[case]
    assert rules(written(*lines), held(*rows)) == {rule}


@pytest.mark.parametrize("case", FITTING)
def test_what_may_be_is_no_finding(case: str) -> None:
    lines, rows = FITTING[case]
    kept = ["a=v1", "b=w1"] if rows == "ab" else rows
    result = check(written(*lines), held(*kept))
    assert (result.findings, result.verdict) == ((), Verdict.VALID)


def test_a_finding_says_who_was_told_of_what_and_what_is_there() -> None:
    history = written(CREATED, UPDATED)
    elsewhere = [Holding(place="unified", rows={"task": (("a", "v2"),)})]
    (found,) = check(history, held("a=v1"), elsewhere).findings
    assert (found.database, found.table, found.key) == (SERVICE, "task", "a")
    assert (found.expected, found.actual) == ("'v2'", "'v1'")
    assert "client 1 was told of it at 0.015000 s (update, operation 1)" in found.cause
    assert "it stands in unified, which does not speak for database-manager" in found.cause


def test_a_history_without_an_acknowledged_write_is_unknown() -> None:
    result = check(written("1 create a=v1 0-5 fail", "2 read a=- 6-7"), held())
    assert (result.verdict, dict(result.examined)) == (Verdict.UNKNOWN, {})


def test_what_was_written_and_is_not_looked_for_is_a_finding() -> None:
    assert rules(written(CREATED), {}) == {"place-missing"}


def test_an_acknowledged_key_that_is_another_one_is_a_finding() -> None:
    history = written(CREATED)
    other = history.calls[0]._replace(acknowledged="b")
    changed = History(start=history.start, calls=(other,))
    assert rules(changed, held("a=v1")) == {"other-key"}


def test_many_findings_of_a_rule_are_counted_and_not_all_listed() -> None:
    history = written(*(f"1 create k{n}=v{n} {n * 10}-{n * 10 + 5}" for n in range(50)))
    result = check(history, held())
    assert len(result.findings) == 21
    assert result.findings[-1].cause == "30 more of this rule are not listed"
    assert result.details["findings by rule"] == {"history/write-lost": 50}


def test_two_clients_that_write_one_key_are_one_sentence() -> None:
    with pytest.raises(BadInputError, match="let each key be written by one client"):
        check(written(CREATED, "2 update a=v2 10-15"), held("a=v2"))
