"""The downtime checker: what clients felt, in failed requests, gaps and latency around marks."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.checkers.series import (
    Gap,
    Series,
    Spans,
    Window,
    gaps,
    latency_ms,
    percentile,
    quiet_windows,
    series,
    windows,
)
from harness.history import Call, History
from harness.model import CheckResult, Finding

__all__ = ["HOLDS", "Limits", "check"]

HOLDS: Final[Mapping[str, Sequence[str]]] = {"hold": ("release", "back-out")}
"""Marks between which a service's requests are held, and what ends that."""

_VERIFIES: Final = (
    "Every request of the load is answered as it should be, and nobody waits for longer than the"
    " limits say: the longest time in which a service answered nobody though somebody waited, over"
    " all and around each time that requests were held, and how long answers took."
)
_DOES_NOT_VERIFY: Final = (
    "What is right in an answer, which is the check `history`. Waiting includes the clients' own"
    " time and the machine's: other work on it counts as the services'. How long databases were"
    " locked is told as the candidate says it."
)
_SHOWN: Final = 10
_BINS: Final = 400
_CLOSE_UPS: Final = 3
_CLOSE_BIN_MS: Final = 10.0
_AROUND_NS: Final = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may feel; None is no limit. Gaps are a service's longest.

    `gap_ms_max` holds at any time; `held_gap_ms_median_max` and `held_gap_ms_p99_max` are over the
    times at which requests were held, the longest gap of each; `latency_ms_p99_max` is over what
    was answered around those.
    """

    failed_max: int = 0
    gap_ms_max: float | None = None
    held_gap_ms_median_max: float | None = None
    held_gap_ms_p99_max: float | None = None
    latency_ms_p99_max: float | None = None

    @property
    def of_holds(self) -> bool:
        """Whether there is a limit that needs requests to have been held."""
        limits = (self.held_gap_ms_median_max, self.held_gap_ms_p99_max, self.latency_ms_p99_max)
        return any(limit is not None for limit in limits)


def check(
    history: History,
    limits: Limits = Limits(),
    *,
    held: Mapping[str, Sequence[str]] = HOLDS,
    excused: Mapping[str, Sequence[str]] | None = None,
    locked_ms: Sequence[float] = (),
) -> CheckResult:
    """Judge a history by `limits`.

    `held` and `excused` name marks, and those that end them. Failures and gaps that touch an
    excused window, such as that of a kill, are counted and are no findings. `locked_ms` is for how
    long the candidate says that it kept all others from writing, each time: it is only told.
    """
    spans = Spans(windows(history, excused or {}))
    felt = _Felt(history, limits, windows(history, held), spans, locked_ms)
    findings = [*felt.failures(), *felt.gaps(), *felt.holds()]
    return CheckResult.judged(
        "downtime",
        findings,
        felt.examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details=felt.details(),
    )


class _Felt:
    """What the clients of one history felt."""

    def __init__(
        self,
        history: History,
        limits: Limits,
        held: tuple[Window, ...],
        excused: Spans,
        locked_ms: Sequence[float],
    ) -> None:
        self._locked_ms = locked_ms
        self.history, self.limits, self.held, self.excused = history, limits, held, excused
        self._spans = Spans(held)
        self._gaps = gaps(history)
        failed = [call for call in history.calls if call.type != "ok"]
        self._excused = [call for call in failed if self._is_excused(call)]
        self._failed = [call for call in failed if not self._is_excused(call)]
        self._held_gaps = [self._longest(window) for window in held]
        self._quiet_gaps = [self._longest(window) for window in quiet_windows(held)]
        self._latencies = self._sorted()
        self.examined = Counter(f"{call.service} requests" for call in history.calls)
        if self.examined:
            self.examined["times that requests were held"] = len(held)

    def failures(self) -> Iterator[Finding]:
        """Yield what failed, each reason of a service once."""
        if len(self._failed) <= self.limits.failed_max:
            return
        alike: dict[tuple[str, str], list[Call]] = {}
        for call in self._failed:
            reason = f"status {call.status}" if call.status else (call.error or "").split(":")[0]
            alike.setdefault((call.service, reason), []).append(call)
        groups = sorted(alike.items(), key=lambda group: -len(group[1]))
        for (service, _), calls in groups[:_SHOWN]:
            first = min(calls, key=lambda call: call.began_ns)
            yield Finding(
                rule="downtime/request-failed",
                database=service,
                cause=f"{len(calls):,} requests failed: {first.error}; the first, the"
                f" {first.kind} of client {first.client}, was sent at"
                f" {first.began_ns / 1e9:.3f} s{self._near(first)}",
                expected=f"at most {self.limits.failed_max} of all requests",
                actual=f"{len(self._failed):,} of all requests",
            )
        if len(groups) > _SHOWN:
            cause = f"{len(groups) - _SHOWN} more reasons are not listed"
            yield Finding(rule="downtime/request-failed", cause=cause)

    def gaps(self) -> Iterator[Finding]:
        """Yield the gaps beyond the limit, the longest first."""
        limit = self.limits.gap_ms_max
        if limit is None:
            return
        long = [
            gap
            for found in self._gaps.values()
            for gap in found
            if gap.ms > limit and not self.excused.touch(gap.began_ns, gap.ended_ns)
        ]
        long.sort(key=lambda gap: -gap.ms)
        for gap in long[:_SHOWN]:
            yield Finding(
                rule="downtime/gap-too-long",
                database=gap.service,
                cause=f"{gap.service} answered nobody from {gap.began_ns / 1e9:.3f} s on, though"
                f" somebody waited{self._near(gap)}",
                expected=f"at most {limit:g} ms",
                actual=f"{gap.ms:.1f} ms",
            )
        if len(long) > _SHOWN:
            cause = f"{len(long) - _SHOWN} more gaps are not listed"
            yield Finding(rule="downtime/gap-too-long", cause=cause)

    def holds(self) -> Iterator[Finding]:
        """Yield where the gaps or latencies around holds are beyond the limits."""
        if not self.held:
            if self.limits.of_holds:
                cause = (
                    "there are limits for when requests are held, and no mark says that any were"
                )
                yield Finding(rule="downtime/nothing-held", cause=cause)
            return
        ordered = sorted(gap.ms for gap in self._held_gaps if gap is not None)
        during = self._latencies["during"]
        for rule, limit, values, share, what in (
            ("gap-median-too-long", self.limits.held_gap_ms_median_max, ordered, 0.5, "median gap"),
            ("gap-p99-too-long", self.limits.held_gap_ms_p99_max, ordered, 0.99, "p99 of the gaps"),
            ("latency-too-long", self.limits.latency_ms_p99_max, during, 0.99, "p99 of latencies"),
        ):
            if limit is None:
                continue
            actual = percentile(values, share) if values else None
            if actual is None or actual > limit:
                yield Finding(
                    rule=f"downtime/{rule}",
                    cause=f"the {what} around {len(self.held)} times that requests were held is"
                    " beyond the limit",
                    expected=f"at most {limit:g} ms",
                    actual="nothing was answered" if actual is None else f"{actual:.1f} ms",
                )

    def details(self) -> dict[str, Any]:
        """Return the figures, and what a drawing needs."""
        return {
            "failed": len(self._failed),
            "failed and excused": len(self._excused),
            "latency": [
                {"when": when, **_latency(ordered)} for when, ordered in self._latencies.items()
            ],
            "longest gap": [
                {"service": service, **_longest(found)} for service, found in self._gaps.items()
            ],
            "held": self._held_figures(),
            "holds": [
                {
                    "hold": window.note or window.name,
                    "at_s": round(window.began_ns / 1e9, 3),
                    "held_ms": round((window.ended_ns - window.began_ns) / 1e6, 2),
                    "gap_ms": None if gap is None else round(gap.ms, 2),
                }
                for window, gap in zip(self.held, self._held_gaps, strict=True)
            ],
            "timeline": self._timeline(),
        }

    def _held_figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for name, found in (
            ("gap_ms", [gap.ms for gap in self._held_gaps if gap is not None]),
            ("quiet_gap_ms", [gap.ms for gap in self._quiet_gaps if gap is not None]),
            ("locked_ms", self._locked_ms),
        ):
            ordered = sorted(found)
            if ordered:
                for what, share in (("median", 0.5), ("p99", 0.99), ("max", 1.0)):
                    figures[f"{name}_{what}"] = round(percentile(ordered, share), 2)
        return {"holds": len(self.held), **figures} if figures else {}

    def _timeline(self) -> dict[str, Any]:
        if not self.history.calls:
            return {}
        whole = series(self.history, title="The whole history")
        bins = len(whole.answered)
        if bins > _BINS:
            bin_ms = whole.bin_ms * -(-bins // _BINS)
            whole = series(self.history, title=whole.title, bin_ms=bin_ms)
        close = [self._close_up(window) for window in self.held[:_CLOSE_UPS]]
        return {
            "marks": [
                {"mark": mark.mark, "at_ms": round(mark.at_ns / 1e6, 3), "note": mark.note}
                for mark in self.history.marks
            ],
            "charts": [each.as_json() for each in (whole, *close)],
        }

    def _close_up(self, window: Window) -> Series:
        """Return what was felt around a hold: of its service, where its note is one."""
        service = window.note if window.note in self._gaps else None
        at = f"at {window.began_ns / 1e9:.1f} s{f', {service} alone' if service else ''}"
        return series(
            self.history,
            title=f"Around the {window.name} {at}",
            service=service,
            from_ns=max(0, window.began_ns - _AROUND_NS),
            until_ns=min(window.ended_ns, window.began_ns + 4 * _AROUND_NS) + _AROUND_NS,
            bin_ms=_CLOSE_BIN_MS,
        )

    def _is_excused(self, call: Call) -> bool:
        ended = call.ended_ns
        return self.excused.touch(call.began_ns, call.began_ns if ended is None else ended)

    def _longest(self, window: Window) -> Gap | None:
        """Return the longest gap that touches a window: of its service, where its note is one."""
        mine = [window.note] if window.note in self._gaps else list(self._gaps)
        found = []
        for service in mine:
            every = self._gaps[service or ""]
            at = bisect_left(every, window.began_ns, key=lambda gap: gap.ended_ns)
            while at < len(every) and every[at].began_ns < window.ended_ns:
                found.append(every[at])
                at += 1
        return max(found, key=lambda gap: gap.ms, default=None)

    def _sorted(self) -> dict[str, list[float]]:
        """Return latencies of what was answered: of all, before, during, between and after."""
        found: dict[str, list[float]] = {"whole": [], "before": [], "during": []}
        found |= {"between": [], "after": []}
        first = self.held[0].began_ns if self.held else None
        last = max((window.ended_ns for window in self.held), default=0)
        for call in self.history.calls:
            if call.type != "ok" or call.ended_ns is None:
                continue
            took = latency_ms(call)
            found["whole"].append(took)
            if first is None:
                continue
            when = "between"
            if self._spans.touch(call.began_ns, call.ended_ns):
                when = "during"
            elif call.ended_ns < first:
                when = "before"
            elif call.began_ns > last:
                when = "after"
            found[when].append(took)
        for each in found.values():
            each.sort()
        return found

    def _near(self, what: Call | Gap) -> str:
        before = [mark for mark in self.history.marks if mark.at_ns <= what.began_ns]
        if not before:
            return ""
        mark = before[-1]
        return f", {(what.began_ns - mark.at_ns) / 1e6:.0f} ms after the mark {mark.mark}"


def _latency(ordered: Sequence[float]) -> dict[str, Any]:
    if not ordered:
        return {"answered": 0}
    return {
        "answered": len(ordered),
        "median_ms": round(percentile(ordered, 0.5), 2),
        "p99_ms": round(percentile(ordered, 0.99), 2),
        "max_ms": round(ordered[-1], 2),
    }


def _longest(found: Sequence[Gap]) -> dict[str, Any]:
    longest = max(found, key=lambda gap: gap.ms, default=None)
    if longest is None:
        return {"gap_ms": None}
    return {"gap_ms": round(longest.ms, 2), "at_s": round(longest.began_ns / 1e9, 3)}
