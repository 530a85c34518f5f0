"""A history over time: windows between marks, gaps without an answer, and bins for a drawing."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from harness.history import Call, History, Mark

__all__ = [
    "Gap",
    "Series",
    "Spans",
    "Window",
    "gaps",
    "percentile",
    "quiet_windows",
    "series",
    "windows",
]


class Window(NamedTuple):
    """What lies between two marks: named after the first, with its note."""

    name: str
    note: str | None
    began_ns: int
    ended_ns: int


class Gap(NamedTuple):
    """A time in which somebody waited for a service and nobody was answered."""

    service: str
    began_ns: int
    ended_ns: int

    @property
    def ms(self) -> float:
        """Its length."""
        return (self.ended_ns - self.began_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What ended in each bin of time: how much was answered and failed, and how long that took.

    Bin n begins at `from_ms + n * bin_ms`. Latencies are those of what was answered, None in a bin
    without any.
    """

    title: str
    from_ms: float
    bin_ms: float
    answered: tuple[int, ...]
    failed: tuple[int, ...]
    p50_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]
    max_ms: tuple[float | None, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class Spans:
    """Times of windows, to ask which calls and gaps touch them."""

    def __init__(self, found: Iterable[Window]) -> None:
        """Windows that overlap count as one."""
        self.begins: list[int] = []
        self.ends: list[int] = []
        for window in sorted(found, key=lambda window: window.began_ns):
            if self.ends and window.began_ns <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], window.ended_ns)
            else:
                self.begins.append(window.began_ns)
                self.ends.append(window.ended_ns)

    def touch(self, began_ns: int, ended_ns: int) -> bool:
        """Whether a time overlaps any of them."""
        at = bisect_right(self.begins, ended_ns) - 1
        return at >= 0 and self.ends[at] >= began_ns


def windows(history: History, pairs: Mapping[str, Sequence[str]]) -> tuple[Window, ...]:
    """Return what lies between each mark that `pairs` names and the next of those that close it.

    Where both have a note, the notes must be equal. What is never closed lasts to the end.
    """
    end_ns = _last(history)
    return tuple(
        Window(mark.mark, mark.note, mark.at_ns, _closed(history.marks[at:], pairs, end_ns))
        for at, mark in enumerate(history.marks)
        if mark.mark in pairs
    )


def quiet_windows(held: Sequence[Window]) -> tuple[Window, ...]:
    """Return for each window one as long halfway between it and the one before, where it fits.

    What is felt there is the machine's and the services' own, to be told beside what is felt in
    the others.
    """
    found, free_ns = [], 0
    for window in sorted(held, key=lambda window: window.began_ns):
        length = window.ended_ns - window.began_ns
        began_ns = (free_ns + window.began_ns - length) // 2
        if began_ns >= free_ns and began_ns + length < window.began_ns:
            quiet = window._replace(name="quiet", began_ns=began_ns, ended_ns=began_ns + length)
            found.append(quiet)
        free_ns = max(free_ns, window.ended_ns)
    return tuple(found)


def _closed(marks: Sequence[Mark], pairs: Mapping[str, Sequence[str]], end_ns: int) -> int:
    opened, *later = marks
    for mark in later:
        fits = mark.note is None or opened.note is None or mark.note == opened.note
        if mark.mark in pairs[opened.mark] and fits:
            return mark.at_ns
    return max(end_ns, opened.at_ns)


def _last(history: History) -> int:
    ends = [call.began_ns if call.ended_ns is None else call.ended_ns for call in history.calls]
    return max([*ends, *(mark.at_ns for mark in history.marks)], default=0)


def gaps(history: History) -> dict[str, list[Gap]]:
    """Return each service's gaps in their order, the short ones too.

    A gap begins where somebody begins to wait and nobody else does, or where an answer leaves
    others waiting; the next answer ends it. A request that failed is still unanswered; the end of
    the history ends what is open.
    """
    events: dict[str, list[tuple[int, int]]] = {}
    for call in history.calls:
        mine = events.setdefault(call.service, [])
        mine.append((call.began_ns, 1))
        if call.ended_ns is not None:
            mine.append((call.ended_ns, 0 if call.type == "ok" else 2))
    last = _last(history)
    return {service: list(_gaps(service, sorted(mine), last)) for service, mine in events.items()}


def _gaps(service: str, events: Sequence[tuple[int, int]], last: int) -> Iterator[Gap]:
    waiting, since = 0, None
    for at_ns, what in events:
        if what == 1:
            waiting += 1
            since = at_ns if since is None else since
            continue
        waiting -= 1
        if what == 0:
            if since is not None:
                yield Gap(service, since, at_ns)
            since = at_ns if waiting else None
    if since is not None and last > since:
        yield Gap(service, since, last)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value at a share of ordered ones, by the nearest rank."""
    rank = math.ceil(share * len(ordered) - 1e-9)
    return ordered[max(1, rank) - 1]


def series(
    history: History,
    *,
    title: str = "",
    service: str | None = None,
    from_ns: int = 0,
    until_ns: int | None = None,
    bin_ms: float = 10.0,
) -> Series:
    """Sort what ended between two times into bins: of one service, of all where it is None."""
    until = _last(history) if until_ns is None else until_ns
    number = max(1, int((until - from_ns) / 1e6 / bin_ms) + 1)
    answered: list[list[float]] = [[] for _ in range(number)]
    failed = [0] * number
    for call in history.calls:
        ended_ns = call.ended_ns
        if ended_ns is None or not from_ns <= ended_ns <= until:
            continue
        if service is not None and call.service != service:
            continue
        at = min(number - 1, int((ended_ns - from_ns) / 1e6 / bin_ms))
        if call.type == "ok":
            answered[at].append(latency_ms(call))
        else:
            failed[at] += 1
    for each in answered:
        each.sort()
    return Series(
        title=title,
        from_ms=from_ns / 1e6,
        bin_ms=bin_ms,
        answered=tuple(map(len, answered)),
        failed=tuple(failed),
        p50_ms=tuple(_rounded(each, 0.5) for each in answered),
        p99_ms=tuple(_rounded(each, 0.99) for each in answered),
        max_ms=tuple(_rounded(each, 1.0) for each in answered),
    )


def latency_ms(call: Call) -> float:
    """Return how long a call took that has an end."""
    return ((call.ended_ns or call.began_ns) - call.began_ns) / 1e6


def _rounded(ordered: Sequence[float], share: float) -> float | None:
    return round(percentile(ordered, share), 3) if ordered else None
