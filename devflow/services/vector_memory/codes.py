"""Vectors in few bits, and how near they can be: what a search looks at first.

Every vector is scaled to length one, moved so that the mean of its group is the origin, and turned
by a fixed random rotation, which spreads what sparse vectors hold in few places. Then it is kept
twice: as one bit a dimension, the sign, and as one byte a dimension.

The bits give an unbiased estimate of the cosine with a known spread (Gao and Long, RaBitQ, 2024);
the query is not cut down to bits but to 16 steps, so that `and` and a count of bits are all that
a scan does. The bytes give the cosine within a hard bound, since each vector knows the length of
what rounding took from it. What neither can rule out is measured exactly by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from devflow.services.vector_memory.vectors import Floats

__all__ = ["Codes", "Near", "encoded", "nearest", "rotated"]

_BLOCK = 1_024
_PLANES = 4
_SPREADS = 4.0
"""How many standard deviations above its estimate a vector is still thought possible."""
_FLOAT_ERROR = 1e-5
_FIRST = 256
_TOGETHER = 4_096


@dataclass(frozen=True, slots=True)
class Codes:
    """`n` encoded vectors. Bits lie transposed, (words, n), so that a scan is a few long passes."""

    bits: npt.NDArray[np.uint64]
    count: Floats
    """Of each vector: how many of its bits are set."""
    steps: npt.NDArray[np.int8]
    """(n, dimensions): the vector in steps of `scale`."""
    scale: Floats
    lost: Floats
    """The length of what rounding to steps took away."""
    factor: Floats
    """What turns the product with the signs into an estimate of the product."""
    spread: Floats
    """The standard deviation of that estimate, for a query of length one."""
    level: Floats
    """The product with the mean, which the codes leave out."""

    def __len__(self) -> int:
        """Return how many vectors there are."""
        return len(self.scale)

    def first(self, number: int) -> Codes:
        """Return a view of the first so many vectors."""
        cut = {f.name: getattr(self, f.name)[:number] for f in fields(self) if f.name != "bits"}
        return replace(self, bits=self.bits[:, :number], **cut)


@dataclass(frozen=True, slots=True)
class Near:
    """Places of vectors in their codes, and the most that each one's cosine can be, best first.

    `rest` is the most that the cosine of any other can be, None where there is no other.
    """

    places: npt.NDArray[np.intp]
    most: Floats
    rest: float | None


@lru_cache(maxsize=64)
def _rotation(size: int) -> Floats:
    matrix = np.random.default_rng(size).standard_normal((size, size))
    turned, triangle = np.linalg.qr(matrix)
    return np.ascontiguousarray(turned * np.sign(np.diag(triangle)), dtype=np.float32)


@lru_cache(maxsize=64)
def _shuffled(dimensions: int) -> npt.NDArray[np.intp]:
    return np.random.default_rng(dimensions).permutation(dimensions)


def rotated(vectors: Floats) -> Floats:
    """Turn the rows by the rotation of their dimensions; beyond 1,024, in shuffled blocks."""
    dimensions = vectors.shape[1]
    if dimensions <= _BLOCK:
        return vectors @ _rotation(dimensions)
    mixed = vectors[:, _shuffled(dimensions)]
    parts = np.array_split(mixed, -(-dimensions // _BLOCK), axis=1)
    return np.concatenate([part @ _rotation(part.shape[1]) for part in parts], axis=1)


def encoded(units: Floats, mean: Floats) -> Codes:
    """Encode vectors of length one, (n, dimensions), around the mean of their group."""
    turned = rotated(units - mean)
    dimensions = turned.shape[1]
    rows = np.zeros((len(turned), -(-dimensions // 64) * 64), dtype=np.bool_)
    rows[:, :dimensions] = turned > 0
    bits = np.packbits(rows, axis=1, bitorder="little").view(np.uint64)
    length = np.maximum(np.linalg.norm(turned, axis=1), 1e-12)
    sum_of_sizes = np.maximum(np.abs(turned).sum(axis=1), 1e-12)
    aligned = np.clip(sum_of_sizes / (length * np.sqrt(dimensions)), 1e-3, 1.0)
    scale = np.maximum(np.abs(turned).max(axis=1), 1e-12) / 127.0
    steps = np.rint(turned / scale[:, None])
    lost = np.linalg.norm(turned - steps * scale[:, None], axis=1)
    off = np.sqrt((1.0 - aligned**2) / (aligned**2 * max(dimensions - 1, 1)))
    return Codes(
        bits=np.ascontiguousarray(bits.T),
        count=rows.sum(axis=1).astype(np.float32),
        steps=steps.astype(np.int8),
        scale=scale.astype(np.float32),
        lost=lost.astype(np.float32),
        factor=(length**2 / sum_of_sizes).astype(np.float32),
        spread=(length * off).astype(np.float32),
        level=(units @ mean).astype(np.float32),
    )


def nearest(
    codes: Codes, alive: npt.NDArray[np.bool_], *, unit: Floats, mean: Floats, wanted: int
) -> Near:
    """Return what may be among the `wanted` vectors nearest to a query of length one.

    Of the vectors that are alive; those of equal codes are in or out together.
    """
    moved = unit - mean
    turned = rotated(moved[None, :])[0]
    length = float(np.linalg.norm(moved))
    base = float(moved @ mean)
    if len(codes) <= 2 * max(wanted, _FIRST):
        return _by_bytes(codes, np.flatnonzero(alive), turned, length, base, wanted)
    estimate = _by_bits(codes, turned) + (codes.level + np.float32(base))
    estimate[~alive] = -np.inf
    possible = estimate + np.float32(_SPREADS * length) * codes.spread
    first = np.argpartition(estimate, len(estimate) - max(2 * wanted, _FIRST))
    best = first[len(first) - max(2 * wanted, _FIRST) :]
    best = best[alive[best]]
    if len(best) < wanted:
        return _by_bytes(codes, np.flatnonzero(alive), turned, length, base, wanted)
    sample = _by_bytes(codes, best, turned, length, base, wanted)
    unsure = length * float(codes.lost.max()) + _FLOAT_ERROR
    floor = float(sample.most[wanted - 1]) - 2 * unsure
    near = _by_bytes(codes, np.flatnonzero(possible >= floor), turned, length, base, wanted)
    return replace(near, rest=floor if near.rest is None else max(floor, near.rest))


def _by_bits(codes: Codes, turned: Floats) -> Floats:
    """Estimate the product of each vector with the query from their signs."""
    low, high = float(turned.min()), float(turned.max())
    step = max((high - low) / (2**_PLANES - 1), 1e-12)
    wholes = np.rint((turned - low) / step).astype(np.uint8)
    padded = np.zeros(codes.bits.shape[0] * 64, dtype=np.uint8)
    padded[: len(wholes)] = wholes
    masks = [
        np.packbits((padded >> plane) & 1, bitorder="little").view(np.uint64)
        for plane in range(_PLANES)
    ]
    number = codes.bits.shape[1]
    total = np.zeros(number, dtype=np.int32)
    both = np.empty(number, dtype=np.uint64)
    counted = np.empty(number, dtype=np.uint8)
    of_plane = np.empty(number, dtype=np.uint16)
    for plane, mask in enumerate(masks):
        of_plane[:] = 0
        for word, bits in zip(mask, codes.bits, strict=True):
            np.bitwise_and(bits, word, out=both)
            np.bitwise_count(both, out=counted)
            of_plane += counted
        total += of_plane.astype(np.int32) << plane
    of_set_bits = total * np.float32(step) + codes.count * np.float32(low)
    product: Floats = (2 * of_set_bits - np.float32(turned.sum())) * codes.factor
    return product


def _by_bytes(
    codes: Codes,
    places: npt.NDArray[np.intp],
    turned: Floats,
    length: float,
    base: float,
    wanted: int,
) -> Near:
    """Measure the vectors at these places, and leave out what cannot be among the wanted."""
    product = np.empty(len(places), dtype=np.float32)
    for start in range(0, len(places), _TOGETHER):
        part = places[start : start + _TOGETHER]
        product[start : start + len(part)] = codes.steps[part].astype(np.float32) @ turned
    cosine = product * codes.scale[places] + codes.level[places] + np.float32(base)
    unsure = codes.lost[places] * np.float32(length) + np.float32(_FLOAT_ERROR)
    most, least = cosine + unsure, cosine - unsure
    rest: float | None = None
    if len(places) > wanted:
        rest = float(np.partition(least, len(least) - wanted)[len(least) - wanted])
        kept = most >= rest
        places, most = places[kept], most[kept]
    order = np.argsort(-most, kind="stable")
    return Near(places=places[order], most=most[order], rest=rest)
