"""Vectors as requests bring them and as the database holds them: little-endian float32."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

__all__ = ["Vector", "packed", "unpacked"]

_FLOAT32_MAX = 3.4028234663852886e38
_DIMENSIONS_MAX = 8_192

Component = Annotated[
    float, Field(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX, allow_inf_nan=False, strict=True)
]
Vector = Annotated[
    list[Component],
    Field(min_length=1, max_length=_DIMENSIONS_MAX, examples=[[0.25, -1.0, 3.5]]),
]


def packed(vector: Sequence[float]) -> bytes:
    """Return the bytes that stand for a vector."""
    return struct.pack(f"<{len(vector)}f", *vector)


def unpacked(stored: object) -> list[float] | None:
    """Return the numbers of a stored vector, or None where the bytes are none."""
    if not isinstance(stored, bytes) or len(stored) % 4:
        return None
    return list(struct.unpack(f"<{len(stored) // 4}f", stored))
