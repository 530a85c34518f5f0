"""Codes of all embeddings in memory, and how they stay true to the database.

A thread reads the table in bounded pieces and publishes, each time, a new `Reach`: immutable, with
a view of each group and how far it goes. A search takes the reach first and then its snapshot of
the database, so the snapshot is never older than the reach; what the reach does not cover, the
search finds by itself, from two marks:

- `upto`: rows with a greater seq are not in it. The table's seq is AUTOINCREMENT: rows come at
  the end, whoever writes them, in whichever process.
- `version`: the seq of the last change in `memory_embedding_changes` that it knows. Triggers
  write there which rows were updated, deleted, or put in before the end.

So a search misses nothing that was committed before it began: rows beyond `upto` and rows changed
since `version` are measured exactly. Where these are too many, or changes were already cleared
away, all rows are.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from devflow.services.errors import UnavailableError
from devflow.services.logs import logger
from devflow.services.store import Connection, Row, Store, rows
from devflow.services.vector_memory.groups import Group, View
from devflow.services.vector_memory.vectors import Floats, directions, unpacked

__all__ = ["Index", "Reach", "Shape", "changed_since"]

_PIECE = 2_000
_CHANGES_MAX = 500
_CHANGES_AT_ONCE = 20_000
_KEPT_CHANGES = 10_000
_IDLE_S = 5.0
_log = logger()


@dataclass(frozen=True, slots=True)
class Shape:
    """What vectors of one group share: the model's name, with its type, and dimensions."""

    model: str | bytes
    dimensions: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What the index covers: groups as views, rows up to `upto`, changes up to `version`."""

    groups: Mapping[Shape, View]
    upto: int
    version: int


_NOTHING = Reach({}, 0, 0)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one transaction of the thread read."""

    lost: bool
    version: int
    changed: list[int]
    upto: int
    rows: list[tuple[int, Shape, Floats]]
    whole: bool


def changed_since(
    connection: Connection, version: int, *, most: int = _CHANGES_MAX
) -> list[int] | None:
    """Return the seqs of embeddings changed after `version`; None where these are not known.

    Changes are cleared away after a while; more than `most` of them are not told either.
    """
    first, last = _first_and_last(connection)
    if last == 0:
        return [] if version == 0 else None
    if first > version + 1 or last < version:
        return None
    found = rows(
        connection,
        "SELECT DISTINCT embedding_seq FROM memory_embedding_changes WHERE seq > ? LIMIT ?",
        (version, most + 1),
    )
    return [int(row["embedding_seq"]) for row in found] if len(found) <= most else None


def _first_and_last(connection: Connection) -> tuple[int, int]:
    # Asked apart, each is the end of a tree; asked together, the whole table would be read.
    row = rows(
        connection,
        "SELECT coalesce((SELECT min(seq) FROM memory_embedding_changes), 0) AS first,"
        " coalesce((SELECT max(seq) FROM memory_embedding_changes), 0) AS last",
    )[0]
    return row["first"], row["last"]


class Index:
    """The codes of one process, followed by a thread from `start` to `close`."""

    def __init__(self, store: Store) -> None:
        """Cover nothing yet."""
        self.reach = _NOTHING
        self._store = store
        self._groups: dict[Shape, Group] = {}
        self._asked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="vector index", daemon=True)

    def start(self) -> None:
        """Begin to follow the database."""
        self._thread.start()

    def close(self) -> None:
        """Stop following it."""
        self._stopping.set()
        self._asked.set()
        if self._thread.is_alive():
            self._thread.join()

    def ask(self) -> None:
        """Tell the thread that there is something to catch up with."""
        self._asked.set()

    def catch_up(self) -> None:
        """Read all that is not covered yet; only for who has not started the thread."""
        while not self._step():
            pass

    # The thread ----------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._asked.clear()
            try:
                while not self._stopping.is_set() and not self._step():
                    pass
            except Exception as error:  # searches go on without it, exactly
                _log.warning("the vector index waits", reason=str(error))
            self._asked.wait(_IDLE_S)

    def _step(self) -> bool:
        """Read one piece and publish it; tell whether that was all."""
        piece = self._store.read_now(self._read)
        if piece.lost:
            self._groups, self.reach = {}, Reach({}, 0, piece.version)
            return False
        if not piece.changed and not piece.rows and piece.upto == self.reach.upto:
            self.reach = Reach(self.reach.groups, piece.upto, piece.version)
            return piece.whole
        views = dict(self.reach.groups)
        if piece.changed:
            for shape, group in self._groups.items():
                group.strike(piece.changed)
                views[shape] = group.view()
        by_shape: dict[Shape, list[tuple[int, Floats]]] = defaultdict(list)
        for seq, shape, vector in piece.rows:
            by_shape[shape].append((seq, vector))
        for shape, found in by_shape.items():
            group = self._groups.setdefault(shape, Group(shape.dimensions))
            units, usable = directions(np.stack([vector for _, vector in found]))
            kept = [seq for (seq, _), good in zip(found, usable, strict=True) if good]
            group.add(kept, units[usable])
            views[shape] = group.view()
        self.reach = Reach(views, piece.upto, piece.version)
        if any(group.wasteful() for group in self._groups.values()):
            self._groups, self.reach = {}, Reach({}, 0, piece.version)
            return False
        if piece.whole:
            self._clear_changes()
        return piece.whole

    def _read(self, connection: Connection) -> _Piece:
        now = self.reach
        changed = changed_since(connection, now.version, most=_CHANGES_AT_ONCE)
        last = _first_and_last(connection)[1]
        if changed is None:
            return _Piece(True, last, [], 0, [], False)
        again = [seq for seq in changed if seq <= now.upto]
        columns = (
            "SELECT seq, typeof(model) AS kind, CAST(model AS BLOB) AS model,"
            " CASE typeof(dimensions) WHEN 'integer' THEN dimensions ELSE 0 END AS dimensions,"
            " CASE typeof(embedding) WHEN 'blob' THEN embedding END AS embedding"
            " FROM memory_block_embeddings WHERE"
        )
        found = rows(
            connection,
            f"{columns} seq IN (SELECT value FROM json_each(?))",
            (json.dumps(again),),
        )
        more = rows(connection, f"{columns} seq > ? ORDER BY seq LIMIT ?", (now.upto, _PIECE))
        upto = more[-1]["seq"] if more else now.upto
        return _Piece(False, last, again, upto, _vectors(found + more), len(more) < _PIECE)

    def _clear_changes(self) -> None:
        """Let go of changes that nobody can still be waiting for, keeping the last ten thousand."""
        first = max(self.reach.version - _KEPT_CHANGES, 0)
        if self._store.read_now(_first_and_last)[0] > first - _KEPT_CHANGES:
            return
        with suppress(UnavailableError):  # whoever searches has no need of it
            self._store.write_now(
                lambda c: c.execute(
                    "DELETE FROM memory_embedding_changes WHERE seq <= ?", (first,)
                ).fetchall()
            )


def _vectors(found: list[Row]) -> list[tuple[int, Shape, Floats]]:
    usable = []
    for row in found:
        vector = unpacked(row["embedding"], row["dimensions"])
        if vector is not None and len(vector):
            name = row["model"]
            model = name.decode("utf-8", "surrogateescape") if row["kind"] == "text" else name
            usable.append((row["seq"], Shape(model, len(vector)), vector))
    return usable
