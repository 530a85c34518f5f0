"""Vectors as they stand in the database, and the exact measure between them.

An embedding is a blob of little-endian float32, four bytes a dimension. Similarity is the cosine,
computed in float64. A vector without a direction (of length zero, or with a NaN or an infinity in
it) and a blob of another length are near to nothing: they have no similarity, and no search
returns them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "cosines", "directions", "packed", "unpacked"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_STORED = np.dtype("<f4")


def packed(values: Sequence[float] | Floats) -> bytes:
    """Return the blob of a vector."""
    return np.asarray(values, dtype=_STORED).tobytes()


def unpacked(blob: object, dimensions: int) -> Floats | None:
    """Return the vector of a blob, None where it is no vector of so many dimensions."""
    if not isinstance(blob, bytes) or len(blob) != 4 * dimensions:
        return None
    return np.frombuffer(blob, dtype=_STORED)


def directions(vectors: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the rows scaled to length one, and which of them have a direction at all."""
    wide = vectors.astype(np.float64)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(wide, axis=1)
        usable = np.isfinite(lengths) & (lengths > 0)
        wide /= np.where(usable, lengths, 1.0)[:, None]
    return wide.astype(np.float32), usable


def cosines(wanted: Floats, vectors: Sequence[Floats]) -> list[float | None]:
    """Return the cosine of `wanted` with each of the vectors, None where one has no direction."""
    one = np.asarray(wanted, dtype=np.float64)
    length = np.linalg.norm(one)
    found: list[float | None] = []
    with np.errstate(all="ignore"):
        for vector in vectors:
            other = vector.astype(np.float64)
            lengths = length * np.linalg.norm(other)
            usable = np.isfinite(lengths) and lengths > 0
            found.append(float(one @ other / lengths) if usable else None)
    return found
