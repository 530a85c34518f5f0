"""How strongly two entities belong together, from the blocks that mention them. No I/O.

The strength is normalised pointwise mutual information, 1 where neither is ever mentioned without
the other and 0 where they meet as often as chance would have it or less, shrunk by how few blocks
it rests on:

    strength = max(0, ln(p(a, b) / (p(a) · p(b))) / −ln p(a, b)) · n / (n + 2)

where p is a share of all learned blocks, and n the number of blocks that mention both.
"""

from __future__ import annotations

import math

__all__ = ["SHRINK", "SUPPORT_MIN", "strength"]

SUPPORT_MIN = 2
"""Blocks that must mention both before they count as related."""
SHRINK = 2.0


def strength(*, both: int, first: int, second: int, blocks: int) -> float:
    """Return the strength, 0 to 1, of two entities in `first` and `second` of `blocks` blocks.

    `both` of them mention both: 1 at least, and no more than mention either.
    """
    if both == blocks:  # each block mentions both: nothing is known of what chance would do
        return both / (both + SHRINK)
    ratio = math.log(both * blocks / (first * second)) / -math.log(both / blocks)
    return min(1.0, max(0.0, ratio)) * both / (both + SHRINK)
