"""The vectors of one model and one size, as a search goes through them in memory.

A group grows at its end. Whoever holds a `View` of it sees what it held when the view was made:
arrays are written beyond a view's length only, and a vector that goes is struck out in a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from devflow.services.vector_memory.codes import Codes, encoded, nearest
from devflow.services.vector_memory.vectors import Floats

__all__ = ["Group", "Likely", "View"]

Seqs = npt.NDArray[np.int64]
_PLAIN_MAX = 1_024
_SLACK = 1e-5


@dataclass(frozen=True, slots=True)
class Likely:
    """Rows that may be among the nearest, by seq, and the most that each cosine can be.

    Best first; `rest` is the most that any other row's can be, None where there is no other.
    """

    seqs: Seqs
    most: Floats
    rest: float | None


@dataclass(frozen=True, slots=True)
class View:
    """What a group held at one moment: codes around a mean, or a few vectors as they are."""

    seqs: Seqs
    alive: npt.NDArray[np.bool_]
    vectors: Floats | None
    codes: Codes | None
    mean: Floats | None

    def __len__(self) -> int:
        """Return how many vectors are alive."""
        return int(self.alive.sum())

    def nearest(self, unit: Floats, wanted: int) -> Likely:
        """Return what may be among the `wanted` nearest to a query of length one."""
        if self.codes is None or self.mean is None:
            assert self.vectors is not None  # noqa: S101 - a view has one or the other
            return self._of_plain(unit, wanted)
        near = nearest(self.codes, self.alive, unit=unit, mean=self.mean, wanted=wanted)
        return Likely(self.seqs[near.places], near.most, near.rest)

    def _of_plain(self, unit: Floats, wanted: int) -> Likely:
        assert self.vectors is not None  # noqa: S101
        places = np.flatnonzero(self.alive)
        whole = len(places) == len(self.alive)  # then nothing needs to be copied first
        cosine = (self.vectors if whole else self.vectors[places]) @ unit
        rest: float | None = None
        if len(places) > wanted:
            rest = float(np.partition(cosine, len(places) - wanted)[len(places) - wanted]) - _SLACK
            kept = cosine >= rest - _SLACK
            places, cosine = places[kept], cosine[kept]
        order = np.argsort(-cosine, kind="stable")
        return Likely(self.seqs[places[order]], cosine[order] + np.float32(_SLACK), rest)


class Group:
    """One group, as its only writer grows it."""

    def __init__(self, dimensions: int) -> None:
        """Begin without vectors."""
        self.dimensions = dimensions
        self._length = 0
        self._seqs = np.empty(0, dtype=np.int64)
        self._alive = np.empty(0, dtype=np.bool_)
        self._vectors: Floats | None = np.empty((0, dimensions), dtype=np.float32)
        self._codes: Codes | None = None
        self._mean: Floats | None = None

    def view(self) -> View:
        """Return what the group holds now."""
        length = self._length
        return View(
            seqs=self._seqs[:length],
            alive=self._alive[:length],
            vectors=None if self._vectors is None else self._vectors[:length],
            codes=None if self._codes is None else self._codes.first(length),
            mean=self._mean,
        )

    def strike(self, seqs: list[int]) -> None:
        """Let go of the rows of these seqs, where they are here."""
        gone = np.isin(self._seqs[: self._length], np.array(seqs, dtype=np.int64))
        if gone.any():
            alive = self._alive.copy()
            alive[: self._length][gone] = False
            self._alive = alive

    def add(self, seqs: list[int], units: Floats) -> None:
        """Add rows with their vectors of length one."""
        number = len(seqs)
        if not number:
            return
        if self._vectors is not None and self._length + number > _PLAIN_MAX:
            self._encode_all(units)
        self._seqs = _grown(self._seqs, self._length, number)
        self._alive = _grown(self._alive, self._length, number)
        place = slice(self._length, self._length + number)
        self._seqs[place] = seqs
        self._alive[place] = True
        if self._vectors is not None:
            self._vectors = _grown(self._vectors, self._length, number)
            self._vectors[place] = units
        else:
            assert self._mean is not None  # noqa: S101 - codes have a mean
            self._append(encoded(units, self._mean))
        self._length += number

    def wasteful(self) -> bool:
        """Tell whether more than a quarter of a large group is struck out."""
        struck = self._length - int(self._alive[: self._length].sum())
        return struck > _PLAIN_MAX and 4 * struck > self._length

    def _encode_all(self, units: Floats) -> None:
        """Go over to codes, around the mean of what is here and of what comes."""
        assert self._vectors is not None  # noqa: S101 - called once, while vectors are plain
        here = self._vectors[: self._length]
        self._mean = np.concatenate([here, units]).mean(axis=0, dtype=np.float64).astype(np.float32)
        self._codes = encoded(here, self._mean)
        self._vectors = None

    def _append(self, more: Codes) -> None:
        assert self._codes is not None  # noqa: S101 - called with codes only
        grown: dict[str, Any] = {}
        for field in fields(Codes):
            axis = 1 if field.name == "bits" else 0
            old, new = getattr(self._codes, field.name), getattr(more, field.name)
            array = _grown(old, self._length, len(more), axis=axis)
            place = slice(self._length, self._length + len(more))
            array[(slice(None), place) if axis else place] = new
            grown[field.name] = array
        self._codes = Codes(**grown)


def _grown(array: Any, length: int, number: int, *, axis: int = 0) -> Any:
    """Return the array, or a copy with more room where so many more do not fit."""
    if array.shape[axis] >= length + number:
        return array
    shape = list(array.shape)
    shape[axis] = max(length + number, length * 3 // 2)
    roomy = np.empty(shape, dtype=array.dtype)
    held = (slice(None), slice(length)) if axis else slice(length)
    roomy[held] = array[held]
    return roomy
