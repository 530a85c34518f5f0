"""Merkle trees as RFC 6962 (Certificate Transparency) defines them, with SHA-256.

Leaves and inner nodes are hashed with different first bytes, so that no node can pass for a leaf.
The root of no leaves is the hash of nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

__all__ = ["MerkleTree", "audit_path", "leaf_hash", "verify_inclusion"]


def leaf_hash(data: bytes) -> bytes:
    """Return the 32 bytes that stand for a leaf's data."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """A root that grows leaf by leaf and keeps one hash for each power of two only."""

    def __init__(self) -> None:
        """Begin with no leaves."""
        self.leaves = 0
        self._peaks: list[bytes] = []

    def add(self, hashed: bytes) -> None:
        """Append a leaf's hash."""
        node = hashed
        size = self.leaves
        while size & 1:
            node = _node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.leaves += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far, 32 bytes."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = _node_hash(peak, node)
        return node


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _root_of(hashes: Iterable[bytes]) -> bytes:
    tree = MerkleTree()
    for hashed in hashes:
        tree.add(hashed)
    return tree.root()


def audit_path(index: int, size: int, leaves: Callable[[int, int], Iterable[bytes]]) -> list[bytes]:
    """Return the proof that leaf `index` of `size` is in the tree, nearest sibling first.

    `leaves(start, stop)` yields the leaf hashes of a range in order.
    """
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_root_of(leaves(middle, stop)))
            stop = middle
        else:
            path.append(_root_of(leaves(start, middle)))
            start = middle
    return path[::-1]


def verify_inclusion(
    *, hashed: bytes, index: int, size: int, path: list[bytes], root: bytes
) -> bool:
    """Say whether `path` proves that the leaf `hashed` is number `index` of `size` under `root`."""
    if not 0 <= index < size:
        return False
    node, place, last = hashed, index, size - 1
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = _node_hash(sibling, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = _node_hash(node, sibling)
        place >>= 1
        last >>= 1
    return last == 0 and node == root
