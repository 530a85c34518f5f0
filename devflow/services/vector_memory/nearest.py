"""The nearest rows to a vector: from the index where it reaches, exactly everywhere else.

The index says which rows may be among the nearest and how near each can be at most; these rows are
read and measured in float64, best hope first, until no other can be nearer. A condition on rows is
asked of the database as they are read; where too few of the nearest fulfil it, the search goes
deeper, and at last looks at every row, by sqlite-vec's `vec_distance_cosine`.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from devflow.services.store import Connection, rows
from devflow.services.vector_memory.groups import Likely
from devflow.services.vector_memory.index import Reach, changed_since
from devflow.services.vector_memory.vectors import Floats, cosines, directions, packed, unpacked

__all__ = ["Asked", "Hit", "Nearest", "nearest", "scanned"]

_TIE = 1e-6
_FLOAT32_ERROR = 1e-4
"""What sqlite-vec's distance, summed in float32, can be off by; generously."""
_DEEPER = 8
_DEEPEST = 4_096
_FIRST_READ = 32
_READ_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is looked for, and among which rows.

    `source` is a FROM clause in which `e` is the table of embeddings, `condition` SQL on its
    tables with `bindings`, and `key` the SQL of an integer: of rows with an equal one, only the
    nearest is found.
    """

    vector: Floats
    source: str
    key: str = "e.seq"
    model: str | None = None
    condition: str = "1"
    bindings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[str, dict[str, Any]]:
        """The condition that an embedding can be compared at all, and what it binds."""
        bound = {**self.bindings, "dimensions": len(self.vector), "bytes": 4 * len(self.vector)}
        alike = (
            "e.dimensions = :dimensions AND typeof(e.embedding) = 'blob'"
            " AND length(e.embedding) = :bytes"
        )
        if self.model is None:
            return alike, bound
        return f"{alike} AND e.model = :model", bound | {"model": self.model}


@dataclass(frozen=True, slots=True)
class Hit:
    """One row that is near: its embedding's seq, its key, and its cosine."""

    seq: int
    key: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """Hits, best first; `uncovered` tells whether the index has still to catch up with rows."""

    hits: list[Hit]
    uncovered: bool


class _Best:
    """The hits so far, one for each key."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.by_key: dict[int, Hit] = {}

    def add(self, hits: list[Hit]) -> None:
        for hit in hits:
            known = self.by_key.get(hit.key)
            if known is None or hit.similarity > known.similarity:
                self.by_key[hit.key] = hit

    def last(self) -> float:
        """Return the similarity of the last that is wanted, minus infinity while some lack."""
        if len(self.by_key) < self.limit:
            return -np.inf
        return heapq.nlargest(self.limit, (hit.similarity for hit in self.by_key.values()))[-1]

    def all(self) -> list[Hit]:
        """Return what may be shown: the wanted, and what equals the last of them."""
        floor = self.last() - _TIE
        kept = [hit for hit in self.by_key.values() if hit.similarity >= floor]
        return sorted(kept, key=lambda hit: (-hit.similarity, hit.key))


def nearest(connection: Connection, reach: Reach, asked: Asked, limit: int) -> Nearest:
    """Return the `limit` nearest rows, and those that are as near as the last of them.

    `reach` has to be taken from the index before the connection's snapshot begins.
    """
    units, usable = directions(asked.vector[None, :])
    if not usable[0]:
        return Nearest([], False)
    views = [
        view
        for shape, view in reach.groups.items()
        if shape.dimensions == len(asked.vector) and asked.model in (None, shape.model)
    ]
    changed = changed_since(connection, reach.version)
    if changed is None or not views:
        return Nearest(_scanned(connection, asked, units[0], limit).all(), True)
    best = _scanned(connection, asked, units[0], limit, upto=reach.upto)
    uncovered = bool(best.by_key or changed)
    best.add(_measured(connection, asked, changed))
    struck = set(changed)
    wanted = limit
    total = sum(len(view.seqs) for view in views)
    while True:
        likely = [view.nearest(units[0], wanted) for view in views]
        _read(connection, asked, best, likely, struck)
        rest = max((one.rest for one in likely if one.rest is not None), default=None)
        if rest is None or best.last() - _TIE >= rest:
            return Nearest(best.all(), uncovered)
        wanted *= _DEEPER
        if wanted > min(_DEEPEST, total):
            return Nearest(_scanned(connection, asked, units[0], limit).all(), uncovered)


def scanned(connection: Connection, asked: Asked, limit: int) -> list[Hit]:
    """Do as `nearest` does, without an index: look at every row."""
    units, usable = directions(asked.vector[None, :])
    return _scanned(connection, asked, units[0], limit).all() if usable[0] else []


def _read(
    connection: Connection, asked: Asked, best: _Best, likely: list[Likely], struck: set[int]
) -> None:
    """Measure likely rows, best hope first, until no other can be nearer."""
    seqs = np.concatenate([one.seqs for one in likely])
    most = np.concatenate([one.most for one in likely])
    if len(likely) > 1:
        order = np.argsort(-most, kind="stable")
        seqs, most = seqs[order], most[order]
    start, size = 0, max(_FIRST_READ, 2 * best.limit)
    while start < len(seqs) and best.last() - _TIE <= most[start]:
        part = [seq for seq in seqs[start : start + size].tolist() if seq not in struck]
        best.add(_measured(connection, asked, part))
        start, size = start + size, min(2 * size, _READ_MAX)


def _measured(connection: Connection, asked: Asked, seqs: list[int]) -> list[Hit]:
    """Measure the rows of these seqs that are still there and fulfil the condition."""
    if not seqs:
        return []
    alike, bound = asked.shape
    sql = (
        f"SELECT e.seq, {asked.key} AS key, e.embedding FROM {asked.source}"
        f" WHERE e.seq IN (SELECT value FROM json_each(:seqs)) AND {alike} AND {asked.condition}"
    )
    found = rows(connection, sql, bound | {"seqs": json.dumps(seqs)})
    vectors = [unpacked(row["embedding"], len(asked.vector)) for row in found]
    kept = [(row, vector) for row, vector in zip(found, vectors, strict=True) if vector is not None]
    measured = cosines(asked.vector, [vector for _, vector in kept])
    return [
        Hit(row["seq"], row["key"], similarity)
        for (row, _), similarity in zip(kept, measured, strict=True)
        if similarity is not None
    ]


def _scanned(
    connection: Connection, asked: Asked, unit: Floats, limit: int, *, upto: int | None = None
) -> _Best:
    """Look at every row, or every row beyond `upto`; measure those that sqlite-vec puts first."""
    alike, bound = asked.shape
    beyond = "1" if upto is None else "e.seq > :upto"
    # A distance that float32 cannot say is NULL, and NULLs come first: they are measured, too.
    sql = (
        "SELECT e.seq, CASE WHEN typeof(e.embedding) = 'blob' AND length(e.embedding) = :bytes"
        f" THEN vec_distance_cosine(e.embedding, :unit) END AS distance FROM {asked.source}"
        f" WHERE {beyond} AND {alike} AND {asked.condition} ORDER BY distance LIMIT :depth"
    )
    best, depth = _Best(limit), 2 * limit + 64
    while True:
        bindings = bound | {"unit": packed(unit), "upto": upto or 0, "depth": depth}
        found = rows(connection, sql, bindings)
        for part in _parts([row["seq"] for row in found]):
            best.add(_measured(connection, asked, part))
        last = found[-1]["distance"] if found else None
        near_enough = last is not None and 1.0 - last + _FLOAT32_ERROR < best.last() - _TIE
        if len(found) < depth or near_enough:
            return best
        depth *= 4


def _parts(seqs: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(seqs), _READ_MAX):
        yield seqs[start : start + _READ_MAX]
