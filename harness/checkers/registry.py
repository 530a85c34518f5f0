"""The registry's log in the unified database: its lines byte for byte, and what they tell.

What the lines tell is read here again, from the source's log alone: each health check of each
provider, each change of the active provider from one check to the next, what that makes of each
provider, and the sums of each day.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import apsw

from harness.checkers.evidence import Evidence
from harness.checkers.values import render
from harness.mapping import RegistryMapping
from harness.model import Finding

__all__ = ["Told", "check_lines", "check_told", "read_log"]

_LISTED_MAX = 25
_CHECKED = "Health check completed"
_FAILED = " health check failed"
_Rows = Counter[tuple[Any, ...]]


class Told:
    """What the log's lines tell, as rows of the mapping's queries."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self.health: _Rows = Counter()
        self.failed: set[tuple[Any, ...]] = set()
        self.failovers: _Rows = Counter()
        self.hosts: set[str] = set()
        self.days: dict[tuple[str, str], list[int]] = {}
        self._latest: dict[str, tuple[int, str | None] | None] = {}
        self._active: str | None = None

    @property
    def providers(self) -> _Rows:
        """Each provider's name."""
        return Counter((name,) for name in self._latest)

    @property
    def states(self) -> _Rows:
        """Each provider's name, status, whether it is active, and when it was last checked."""
        rows: _Rows = Counter()
        for name, latest in self._latest.items():
            status = "unknown" if latest is None else "healthy" if latest[0] else "unhealthy"
            checked_at = None if latest is None else latest[1]
            rows[name, status, int(name == self._active), checked_at] += 1
        return rows

    @property
    def sums(self) -> _Rows:
        """Each provider's day, with how many checks it had and how many of them were well."""
        return Counter((*place, *sums) for place, sums in self.days.items())

    def read(self, number: int, line: bytes) -> None:
        """Take in one line; one that is cut off or no JSON tells nothing."""
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(entry, dict):
            return
        message = entry.get("message")
        at = _clean(entry["timestamp"]) if isinstance(entry.get("timestamp"), str) else None
        for key in entry:
            if key.endswith("Host"):
                self.hosts.add(_clean(key.removesuffix("Host")))
        if isinstance(message, str) and message.endswith(_FAILED):
            self.failed.add((number, _clean(message.removesuffix(_FAILED)).lower(), 0))
        if message != _CHECKED:
            return
        for key, healthy in entry.items():
            if isinstance(healthy, bool):
                self._check(number, _clean(key), int(healthy), at)
        active = entry.get("active")
        if isinstance(active, str):
            active = _clean(active)
            self._latest.setdefault(active, None)
            if self._active is not None and self._active != active:
                was = self._latest[self._active]
                unhealthy = int(was is not None and not was[0])
                self.failovers[number, self._active, active, at, unhealthy] += 1
            self._active = active

    def _check(self, number: int, provider: str, healthy: int, at: str | None) -> None:
        self.health[number, provider, healthy, at] += 1
        self._latest[provider] = (healthy, at)
        if at is not None:
            day = at.partition("\0")[0][:10]  # SQLite's functions on texts end at a NUL
            sums = self.days.setdefault((provider, day), [0, 0])
            sums[0] += 1
            sums[1] += healthy


def _clean(text: str) -> str:
    """Return text that SQLite can hold: a lone surrogate of JSON cannot be UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_log(lines: Iterable[bytes]) -> Told:
    """Return what the lines of a log tell."""
    told = Told()
    for number, line in enumerate(lines, start=1):
        told.read(number, line)
    return told


def check_told(evidence: Evidence, unified: apsw.Connection) -> Iterator[Finding]:
    """Compare what the log tells with the tables that hold it. Raises apsw.Error.

    The first columns of a row name it, and have to be there; how many more there are, a query says.
    """
    registry = evidence.mapping.registry
    if registry is None:
        return
    told = read_log(evidence.before.log_lines())
    asked: tuple[tuple[str, str | None, _Rows, set[Any], bool], ...] = (
        ("health", registry.health, told.health, told.failed, True),
        ("failovers", registry.failovers, told.failovers, set(), True),
        ("providers", registry.providers, told.providers, told.hosts, True),
        # What a service has checked since is its own, and the query leaves it out.
        ("states", registry.states, told.states, set(), False),
        ("days", registry.days, told.sums, set(), True),
    )
    for table, sql, whole, allowed, all_of_it in asked:
        if sql is None:
            continue
        given: _Rows = Counter(unified.execute(sql).fetchall())
        width = max(map(len, given), default=None)
        expected: _Rows = Counter(row[:width] for row in whole.elements())
        if all_of_it:
            yield from _listed(table, expected - given, "missing", "the log tells it, no row does")
        invented: _Rows = Counter(
            {row: n for row, n in (given - expected).items() if not {row[:3], row[0]} & allowed}
        )
        yield from _listed(table, invented, "invented", "a row tells it, the log does not")


def _listed(table: str, rows: _Rows, what: str, cause: str) -> Iterator[Finding]:
    for place, row in enumerate(sorted(rows.elements(), key=repr)):
        if place == _LISTED_MAX:
            cause = f"{rows.total() - _LISTED_MAX} more rows are {what} and not listed"
        text = ", ".join(render(value) for value in row)
        yield Finding(
            rule=f"rows/registry-{what}",
            cause=cause,
            database="registry",
            table=table,
            key=render(row[0]),
            expected=text if what == "missing" else None,
            actual=None if what == "missing" else text,
        )
        if place == _LISTED_MAX:
            return


def check_lines(
    evidence: Evidence, unified: apsw.Connection, registry: RegistryMapping
) -> tuple[int, list[Finding]]:
    """Compare the log line by line; return how many there are, and what differs.

    Raises apsw.Error.
    """
    before = evidence.before
    findings: list[Finding] = []
    lines = differing = 0
    kept = _unified_lines(unified, registry.lines)
    for number, (line, other) in enumerate(zip_longest(before.log_lines(), kept), start=1):
        lines += line is not None
        if line != other:
            differing += 1
            if differing <= _LISTED_MAX:
                findings.append(_line_finding(number, line, other))
    if differing > _LISTED_MAX:
        findings.append(
            Finding(
                rule="rows/not-listed",
                cause=f"{differing - _LISTED_MAX} more lines of the log differ",
                database="registry",
            )
        )
    if before.state("registry") == "file":
        findings += _last_newline(evidence, unified, registry.last_newline)
    return lines, findings


def _unified_lines(unified: apsw.Connection, sql: str) -> Iterator[bytes | None]:
    lines = f"WITH given(number, line) AS ({sql}) SELECT CAST(line AS BLOB) FROM given"
    for (line,) in unified.execute(f"{lines} ORDER BY number"):
        yield b"" if line is None else bytes(line)


def _line_finding(number: int, line: bytes | None, other: bytes | None) -> Finding:
    if line is None:
        rule, cause = "rows/row-invented", "the log never had this line"
    elif other is None:
        rule, cause = "rows/row-missing", "the line cannot be given back"
    else:
        rule, cause = "rows/value-changed", "the line is another"
    return Finding(
        rule=rule,
        cause=cause,
        database="registry",
        key=str(number),
        expected=None if line is None else render(line.decode("utf-8", "surrogateescape")),
        actual=None if other is None else render(other.decode("utf-8", "surrogateescape")),
    )


def _last_newline(
    evidence: Evidence, unified: apsw.Connection, sql: str | None
) -> Iterator[Finding]:
    with evidence.before.path("registry").open("rb") as stream:
        stream.seek(-1, 2)
        ended = stream.read(1) == b"\n"
    told = [row[0] for row in unified.execute(sql)] if sql else [1]
    if bool(told and told[0]) != ended:
        yield Finding(
            rule="rows/value-changed",
            cause="whether the log ends with a newline is not kept",
            database="registry",
            expected=str(int(ended)),
            actual=str(told[0]) if told else "no row",
        )
