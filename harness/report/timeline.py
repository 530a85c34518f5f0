"""Draws what clients felt over time as inline SVG: phases as bands, throughput, latency, failures.

A drawing is made from the figures in the report alone, and needs no script; its colours are those
of the page, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup, escape

__all__ = ["draw_timeline"]

_WIDTH: Final = 1000.0
_LEFT: Final = 74.0
_RIGHT: Final = 58.0
_ROW: Final = 15.0
_ROWS_MAX: Final = 4
_RATE_H: Final = 92.0
_LATENCY_H: Final = 116.0
_FAILED_H: Final = 16.0
_GAP: Final = 28.0
_LETTER: Final = 6.4
_TONES: Final = 8
_LINES: Final = (("p50_ms", "median"), ("p99_ms", "p99"))


@dataclass(frozen=True, slots=True)
class _Panel:
    """A part of the drawing: where it stands, and which values its height is."""

    top: float
    height: float
    low: float
    high: float
    log: bool = False

    def y(self, value: float) -> float:
        """Return where a value stands."""
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            share = (math.log10(max(value, self.low)) - low) / (high - low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.top + self.height * (1 - min(1.0, max(0.0, share)))


@dataclass(frozen=True, slots=True)
class _Time:
    """The axis that all parts share."""

    from_ms: float
    until_ms: float

    def x(self, at_ms: float) -> float:
        """Return where a moment stands."""
        share = (at_ms - self.from_ms) / (self.until_ms - self.from_ms)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, share))


def draw_timeline(timeline: Mapping[str, Any], name: str = "timeline") -> list[Markup]:
    """Return each chart of a downtime check's `timeline` as SVG; `name` begins their ids."""
    marks = timeline.get("marks", ())
    charts = timeline.get("charts", ())
    return [_chart(chart, marks, f"{name}-{number}") for number, chart in enumerate(charts)]


def _chart(chart: Mapping[str, Any], marks: Sequence[Mapping[str, Any]], name: str) -> Markup:
    bin_ms, bins = float(chart["bin_ms"]), len(chart["answered"])
    time = _Time(float(chart["from_ms"]), float(chart["from_ms"]) + bin_ms * bins)
    bands = list(_bands(marks, time))
    rows, labels = _labels(bands, time)
    top = 6.0 + _ROW * max(1, rows)
    rates = [number * 1_000 / bin_ms for number in chart["answered"]]
    rate = _Panel(top, _RATE_H, 0, _ceiling(max(rates, default=0)))
    known = [value for value in chart["max_ms"] if value is not None]
    lows = [value for value in chart["p50_ms"] if value]
    latency = _Panel(
        rate.top + _RATE_H + _GAP,
        _LATENCY_H,
        10.0 ** math.floor(math.log10(min(lows, default=1.0))),
        10.0 ** max(1, math.ceil(math.log10(max([*known, 1.0])))),
        log=True,
    )
    failed_top = latency.top + _LATENCY_H + _GAP / 2
    bottom = failed_top + _FAILED_H
    parts = [
        f'<svg class="timeline" viewBox="0 0 {_WIDTH:g} {bottom + 24:g}" role="img"'
        f' aria-labelledby="{name}-title {name}-desc" focusable="false">',
        f'<title id="{name}-title">{escape(chart["title"])}</title>',
        f'<desc id="{name}-desc">{escape(_description(chart, bands, rates))}</desc>',
        *_drawn_bands(bands, time, top, bottom),
        *labels,
        *_axis(rate, "answers/s", _linear_ticks(rate.high)),
        *_bars(rates, bin_ms, time, rate),
        *_axis(latency, "ms", _decades(latency)),
        *_latencies(chart, time, latency),
        *_failures(chart["failed"], bin_ms, time, failed_top),
        *_times(time, bottom),
        "</svg>",
    ]
    return Markup("".join(parts))  # noqa: S704 - each text in it was escaped


def _bands(marks: Iterable[Mapping[str, Any]], time: _Time) -> Iterator[dict[str, Any]]:
    """Yield a band for each mark, up to the next one, where it can be seen."""
    ordered = sorted(marks, key=lambda mark: mark["at_ms"])
    tones: dict[str, int] = {}
    for at, mark in enumerate(ordered):
        tone = tones.setdefault(mark["mark"], len(tones) % _TONES)
        until = ordered[at + 1]["at_ms"] if at + 1 < len(ordered) else time.until_ms
        if until >= time.from_ms and mark["at_ms"] <= time.until_ms:
            yield {**mark, "tone": tone, "until": until}


def _drawn_bands(
    bands: Iterable[Mapping[str, Any]], time: _Time, top: float, bottom: float
) -> Iterator[str]:
    for band in bands:
        x, end = time.x(band["at_ms"]), time.x(band["until"])
        yield (
            f'<rect class="band t{band["tone"]}" x="{x:.1f}" y="{top:g}"'
            f' width="{max(1.0, end - x):.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(_named(band))}</title></rect>"
        )


def _named(band: Mapping[str, Any]) -> str:
    note = f" ({band['note']})" if band.get("note") else ""
    return f"{band['mark']}{note} at {band['at_ms'] / 1e3:.3f} s"


def _labels(bands: Sequence[Mapping[str, Any]], time: _Time) -> tuple[int, list[str]]:
    """Return how many rows the names of the bands take, and those that have room in them."""
    ends: list[float] = []
    placed: list[tuple[int, float, Mapping[str, Any]]] = []
    for band in bands:
        x = time.x(max(band["at_ms"], time.from_ms))
        width = _LETTER * len(band["mark"]) + 14
        row = next((n for n, end in enumerate(ends) if end <= x), len(ends))
        if row >= _ROWS_MAX or x + width > _WIDTH:
            continue
        ends[row:] = [x + width, *ends[row + 1 :]]
        placed.append((row, x, band))
    rows, drawn = len(ends), []
    for row, x, band in placed:
        y, foot = 4 + _ROW * (row + 1) - 4, 6 + _ROW * rows
        drawn.append(
            f'<path class="lead t{band["tone"]}" d="M{x:.1f} {y - 8:.1f}V{foot:.1f}"/>'
            f'<text class="phase" x="{x + 4:.1f}" y="{y:.1f}">{escape(band["mark"])}</text>'
        )
    return rows, drawn


def _axis(panel: _Panel, unit: str, ticks: Iterable[float]) -> Iterator[str]:
    yield f'<text class="unit end" x="{_LEFT - 7:g}" y="{panel.top - 10:.1f}">{unit}</text>'
    for tick in ticks:
        y = panel.y(tick)
        yield (
            f'<path class="rule" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
            f'<text class="tick end" x="{_LEFT - 7:g}" y="{y + 4:.1f}">{tick:,g}</text>'
        )


def _bars(rates: Sequence[float], bin_ms: float, time: _Time, panel: _Panel) -> Iterator[str]:
    """Yield the throughput as one area with steps, down to the ground where nothing is."""
    ground = panel.top + panel.height
    path = [f"M{_LEFT:g} {ground:.1f}"]
    for at, rate in enumerate(rates):
        x, y = time.x(time.from_ms + at * bin_ms), panel.y(rate)
        path.append(f"L{x:.1f} {y:.1f}H{time.x(time.from_ms + (at + 1) * bin_ms):.1f}")
    yield f'<path class="answered" d="{"".join(path)}V{ground:.1f}Z"/>'


def _latencies(chart: Mapping[str, Any], time: _Time, panel: _Panel) -> Iterator[str]:
    bin_ms = float(chart["bin_ms"])

    def x(at: int) -> float:
        return time.x(time.from_ms + (at + 0.5) * bin_ms)

    dots = [
        f"M{x(at):.1f} {panel.y(value):.1f}h0"
        for at, value in enumerate(chart["max_ms"])
        if value is not None
    ]
    taken: list[float] = []
    for key, label in (("max_ms", "longest"), *reversed(_LINES)):
        values = [(at, value) for at, value in enumerate(chart[key]) if value is not None]
        if not values:
            continue
        if key != "max_ms":
            yield f'<path class="{label}" d="{_broken(values, x, panel)}"/>'
        y = panel.y(values[-1][1])
        while any(abs(y - other) < 12 for other in taken):
            y += 3
        taken.append(y)
        place = f'x="{_WIDTH - _RIGHT + 5:g}" y="{y + 4:.1f}"'
        yield f'<text class="line {label}" {place}>{label}</text>'
    yield f'<path class="longest" d="{"".join(dots)}"/>'


def _broken(values: Sequence[tuple[int, float]], x: Any, panel: _Panel) -> str:
    """Return a line that is broken where a bin has no value."""
    path, before = [], -2
    for at, value in values:
        path.append(f"{'L' if at == before + 1 else 'M'}{x(at):.1f} {panel.y(value):.1f}")
        before = at
    return "".join(path) + "h0.1"


def _failures(failed: Sequence[int], bin_ms: float, time: _Time, top: float) -> Iterator[str]:
    yield (
        f'<rect class="track" x="{_LEFT:g}" y="{top:.1f}" width="{_WIDTH - _LEFT - _RIGHT:g}"'
        f' height="{_FAILED_H:g}"/>'
        f'<text class="unit end" x="{_LEFT - 7:g}" y="{top + 12:.1f}">failed</text>'
        f'<text class="unit" x="{_WIDTH - _RIGHT + 5:g}" y="{top + 12:.1f}">{sum(failed):,}</text>'
    )
    for at, number in enumerate(failed):
        if number:
            begin = time.from_ms + at * bin_ms
            x = time.x(begin)
            yield (
                f'<rect class="failed" x="{x:.1f}" y="{top:.1f}"'
                f' width="{max(2.0, time.x(begin + bin_ms) - x):.1f}" height="{_FAILED_H:g}">'
                f"<title>{number:,} failed at {begin / 1e3:.2f} s</title></rect>"
            )


def _times(time: _Time, bottom: float) -> Iterator[str]:
    step = _step((time.until_ms - time.from_ms) / 8)
    at = math.ceil(time.from_ms / step) * step
    digits = 0 if step >= 1_000 else 1 if step >= 100 else 2
    while at <= time.until_ms:
        x, told = time.x(at), f"{at / 1e3:.{digits}f} s"
        yield (
            f'<path class="rule" d="M{x:.1f} {bottom:.1f}v4"/>'
            f'<text class="tick mid" x="{x:.1f}" y="{bottom + 17:.1f}">{told}</text>'
        )
        at += step


def _step(wanted: float) -> float:
    """Return the next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(wanted, 1e-9)))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= wanted)


def _ceiling(value: float) -> float:
    step = _step(max(value, 1.0) / 4)
    return step * math.ceil(max(value, 1.0) / step)


def _linear_ticks(high: float) -> list[float]:
    step = _step(high / 4)
    return [step * n for n in range(int(high / step) + 1)]


def _decades(panel: _Panel) -> list[float]:
    low, high = round(math.log10(panel.low)), round(math.log10(panel.high))
    return [10.0**power for power in range(low, high + 1)]


def _description(
    chart: Mapping[str, Any], bands: Sequence[Mapping[str, Any]], rates: Sequence[float]
) -> str:
    from_s = chart["from_ms"] / 1e3
    until_s = from_s + chart["bin_ms"] * len(chart["answered"]) / 1e3
    known = [value for value in chart["max_ms"] if value is not None]
    told = ", ".join(map(_named, bands[:20])) or "none"
    more = f" and {len(bands) - 20} more" if len(bands) > 20 else ""
    return (
        f"From {from_s:.1f} s to {until_s:.1f} s in bins of {chart['bin_ms']:g} ms:"
        f" {sum(chart['answered']):,} answers, at most {max(rates, default=0):,.0f} a second,"
        f" {sum(chart['failed']):,} failures; the longest answer took"
        f" {max(known, default=0):,.1f} ms. Marks: {told}{more}."
    )
