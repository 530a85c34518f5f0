"""Which differing row of one side belongs to which of the other: by key, else by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.checkers.values import Row, encode

__all__ = ["Difference", "pair_rows"]

_LIKENESS_PAIRS_MAX = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A row that is not the same on both sides; None where the side has no such row."""

    expected: Row | None
    actual: Row | None


def pair_rows(left: list[Row], right: list[Row], key: Sequence[int]) -> list[Difference]:
    """Pair the rows that only one side has; what finds no partner stands alone.

    Rows of one whole key belong together. Among the rest, rows that agree in everything but the
    key do; so do, where there is no key to go by, rows that agree in most columns.
    """
    pairs: list[Difference] = []
    groups: dict[bytes, tuple[list[Row], list[Row]]] = {}
    loose: tuple[list[Row], list[Row]] = ([], [])
    for side, rows in enumerate((left, right)):
        for row in rows:
            values = tuple(row[n] for n in key)
            if not values or None in values:
                loose[side].append(row)
            else:
                groups.setdefault(encode(values), ([], []))[side].append(row)
    for ours, theirs in groups.values():
        both = min(len(ours), len(theirs))
        pairs += [Difference(expected=a, actual=b) for a, b in zip(ours, theirs, strict=False)]
        loose[0].extend(ours[both:])
        loose[1].extend(theirs[both:])
    pairs += _pair_by_likeness(loose[0], loose[1], key)
    return pairs


def _pair_by_likeness(left: list[Row], right: list[Row], key: Sequence[int]) -> list[Difference]:
    pairs: list[Difference] = []
    free = list(right)
    for row in left:
        best = None
        if free and len(left) * len(right) <= _LIKENESS_PAIRS_MAX:
            best = max(range(len(free)), key=lambda n: _likeness(row, free[n], key))
            if _likeness(row, free[best], key) <= 0:
                best = None
        pairs.append(Difference(expected=row, actual=None if best is None else free.pop(best)))
    return pairs + [Difference(expected=None, actual=row) for row in free]


def _likeness(left: Row, right: Row, key: Sequence[int]) -> float:
    """Return the share of equal columns, or 0 where it is too small to call it the same row."""
    others = [n for n in range(len(left)) if n not in key]
    equal = sum(encode((left[n],)) == encode((right[n],)) for n in others)
    if not others:
        return 0.0
    share = equal / len(others)
    keyed = all(row[n] is not None for row in (left, right) for n in key) and bool(key)
    return share if share == 1.0 or (not keyed and share > 0.5) else 0.0
