"""The Merkle tree against the definition in RFC 6962, written out as it stands there."""

from __future__ import annotations

import hashlib

import pytest

from harness.merkle import MerkleTree, audit_path, leaf_hash, verify_inclusion


def tree_hash(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    both = tree_hash(leaves[:k]) + tree_hash(leaves[k:])
    return hashlib.sha256(b"\x01" + both).digest()


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(str(n).encode()) for n in range(size)]


def root_of(leaves: list[bytes]) -> bytes:
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100])
def test_the_streamed_root_is_the_defined_one(size: int) -> None:
    assert root_of(hashes(size)) == tree_hash(hashes(size))


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 13, 64, 65])
def test_every_leaf_has_a_proof_and_no_other_leaf_passes_by_it(size: int) -> None:
    leaves = hashes(size)
    root = root_of(leaves)
    for index, leaf in enumerate(leaves):
        path = audit_path(index, size, lambda start, stop: leaves[start:stop])

        def proven(
            hashed: bytes = leaf,
            index: int = index,
            path: list[bytes] = path,
            root: bytes = root,
        ) -> bool:
            return verify_inclusion(hashed=hashed, index=index, size=size, path=path, root=root)

        assert proven()
        assert not proven(hashed=leaf_hash(b"other"))
        assert not proven(path=[*path, leaf])
        assert not proven(index=size)
        assert not proven(root=leaf_hash(b"root"))
        assert not path or not proven(path=path[:-1])


def test_an_inner_node_cannot_pass_for_a_leaf() -> None:
    leaves = hashes(2)
    assert leaf_hash(leaves[0] + leaves[1]) != root_of(leaves)
