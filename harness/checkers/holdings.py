"""What a load's keys came to in the databases, read with plain SQL and no code of a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import apsw

from harness.database import open_read_only, typed_expression
from harness.errors import BadInputError
from harness.history import told

__all__ = ["Holding", "Row", "Shape", "forget_load", "holding", "without_vector"]

Row = tuple[str, str]
"""A key and its value, as `harness.history.told` shortens it."""


class Shape(StrEnum):
    """Which databases hold a load's rows, by the schema that they have."""

    LEGACY = "legacy"
    VECTOR = "vector"
    UNIFIED = "unified"
    ROOT = "root"


_LEGACY: Final = {
    "task": ("task_contexts", "id", "title"),
    "memory": ("memory_blocks", "id", "content"),
    "session": ("sessions", "id", "context"),
    "usage": ("synthetic_usage", "id", "model"),
}
# Collection to table, key and value. Rows are told apart by how their keys or values begin.
_STORED: Final[Mapping[Shape, Mapping[str, tuple[str, str, str]]]] = {
    Shape.LEGACY: _LEGACY,
    Shape.VECTOR: {"vector": ("vector_memories", "id", "content")},
    Shape.ROOT: {"root": ("task_contexts", "id", "title")},
    Shape.UNIFIED: {
        **_LEGACY,
        "vector": ("memory_blocks", "id", "content"),
        "root": ("task_contexts", "id", "title"),
    },
}
# What a service reckons of the load's rows, and names after them: `reckoned` judges it.
_RECKONED: Final = ("usage", ("cost_analytics", "id", "model"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The rows of one place by collection; a collection that is not in it was not looked for.

    A row that stands there twice is listed twice, and so is one under a foreign key whose value is
    the load's.
    """

    place: str
    rows: Mapping[str, tuple[Row, ...]]


def holding(path: Path, shape: Shape | str, *, prefix: str, place: str | None = None) -> Holding:
    """Read the rows of the load `prefix` (its history's start has it) from a database file.

    `place` names it in findings; the shape does where it is None. BadInputError where the file is
    no database of that shape.
    """
    shape = Shape(shape)
    if not prefix:
        raise BadInputError("a holding is read for a load's prefix, and it is empty")
    if not path.is_file():
        raise BadInputError(f"{path} is not there; name the database that holds the load's rows")
    try:
        with closing(open_read_only(path)) as database:
            rows = {
                collection: _rows(database, *where, begins=f"{prefix}{collection}-")
                for collection, where in _STORED[shape].items()
            }
    except apsw.Error as error:
        raise BadInputError(f"{path} is no {shape} database: {error}") from error
    return Holding(place=place or shape.value, rows=rows)


def forget_load(path: Path, shape: Shape, *, prefix: str) -> int:
    """Delete the rows of the load `prefix` from a copy; return how many there were.

    What is left is to be compared with what stood there before the load began. In the unified
    database what hangs from a row goes with it, and its triggers keep full-text indexes in step.
    """
    deleted = 0
    with closing(apsw.Connection(str(path))) as database:
        database.execute(f"PRAGMA foreign_keys = {shape is Shape.UNIFIED}")
        reckoned = [_RECKONED] if shape in (Shape.UNIFIED, Shape.ROOT) else []
        for collection, (table, key, value) in [*_STORED[shape].items(), *reckoned]:
            begins = f"{prefix}{collection}-"
            database.execute(
                f"DELETE FROM {table}"
                f" WHERE substr({key}, 1, :n) = :begins OR substr({value}, 1, :n) = :begins",
                {"n": len(begins), "begins": begins},
            )
            deleted += database.changes()
    return deleted


def without_vector(path: Path, shape: Shape, *, prefix: str) -> tuple[str, ...]:
    """Return the keys of the load's vector memories that stand there without a vector."""
    empty = {
        Shape.VECTOR: "vector_memories WHERE length(embedding_vector) = 0 AND ",
        Shape.UNIFIED: "memory_blocks WHERE NOT EXISTS (SELECT 1 FROM memory_block_embeddings AS e"
        " WHERE e.block_id = memory_blocks.id AND length(e.embedding) > 0) AND ",
    }
    begins = f"{prefix}vector-"
    with closing(open_read_only(path)) as database:
        found = database.execute(
            f"SELECT id FROM {empty[shape]} substr(id, 1, :n) = :begins ORDER BY id",
            {"n": len(begins), "begins": begins},
        )
        return tuple(_text(key) for (key,) in found)


def _rows(
    database: apsw.Connection, table: str, key: str, value: str, *, begins: str
) -> tuple[Row, ...]:
    found = database.execute(
        f"SELECT {typed_expression(key)}, {typed_expression(value)} FROM {table}"
        f" WHERE substr({key}, 1, :n) = :begins OR substr({value}, 1, :n) = :begins",
        {"n": len(begins), "begins": begins},
    )
    return tuple((_text(each), told(_text(shown))) for each, shown in found)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "NULL" if value is None else str(value)
