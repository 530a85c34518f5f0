"""Which legacy rows a unified row stands for, as SQL on the unified database.

For each planned legacy table one query yields the table's rows as they should be now:

- of a unified row `u` that came from there, by its origin `o`: what the origin remembers of a
  value, for as long as the unified value is what the migration had made of it; else the unified
  value, in the old words where the old service had others (devflow.migration.words);
- of a unified row that came from nowhere, where the table is its *home*: the one in which the
  service that wrote it, or its predecessor, would have put it.

Who wrote a new row is told by what the services write:

| new unified row | its home |
| --- | --- |
| task with `legacy_values`: by the old API | legacy.task_contexts |
| any other task, but the parents of imported blocks | root.task_contexts |
| block of session `legacy-import`: by the old Database Manager's API | legacy.memory_blocks |
| block of session `vector-import`, with its first embedding | vector.vector_memories |
| any other block | root.memory_blocks |
| embedding of a block that the old Database Manager shows | legacy.memory_block_embeddings |
| the first embedding of any other block (root has one a block) | root.memory_block_embeddings |
| usage, sessions | legacy, or where it has no such table root |
| row of any other table that root has | root |

A row without a home, or whose home is not there, has no image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import apsw

from devflow.migration.database import columns, has_table, quote
from devflow.migration.tables import PLANNED
from devflow.migration.targets import TableMap
from devflow.migration.words import REMOVED, block_type, word_sql

__all__ = ["Image", "images"]

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LEGACY_SESSION, _VECTOR_SESSION = "legacy-import", "vector-import"


@dataclass(frozen=True)
class Image:
    """One legacy table that is there, and how its rows are made of unified rows.

    `there` are all such tables, by name. What is said of the rows is made up when it is first
    asked for: few of the tables are written between two drains.
    """

    table: TableMap
    there: Mapping[str, TableMap]
    unified: apsw.Connection
    legacy: apsw.Connection

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The legacy columns that are written, with their SQL."""
        table = self.table
        return {
            column: _value(table.name, column)
            for column, generated in columns(self.legacy, "main", table.table).items()
            if column in table.inverse and not generated
        }

    @property
    def clause(self) -> str:
        """The FROM clause with `u`, `o` and, of a split table, `e`."""
        table, first = self.table, self.table.targets[0]
        clause = (
            f"{first.table} AS u LEFT JOIN {table.origin} AS o ON o.{first.origin_key}"
            f" = u.{first.key}"
        )
        if self.split:
            clause += (
                " LEFT JOIN memory_block_embeddings AS e"
                f" ON e.seq = coalesce(o.embedding_seq, {_FIRST})"
            )
        return clause

    @property
    def condition(self) -> str:
        """SQL that limits the clause to rows that have an image."""
        name = self.table.name
        home = _HOMES.get(name, _root_home)(self.table, self.there)
        return f"CASE WHEN o.source_rowid IS NOT NULL THEN {_SEEN.get(name, '1')} ELSE {home} END"

    @cached_property
    def missing(self) -> Mapping[str, Mapping[str, str]]:
        """For each target's columns that the legacy shape cannot hold, SQL that is true where the
        unified value would be lost.
        """
        return _missing(self.unified, self.table, self.columns)

    @property
    def split(self) -> bool:
        """Whether each row stands in two unified tables."""
        return len(self.table.targets) > 1


def images(unified: apsw.Connection, legacy: Mapping[str, apsw.Connection]) -> dict[str, Image]:
    """Return the images for the planned tables that the legacy databases have, by name."""
    there = {
        table.name: table
        for table in PLANNED
        if table.source in legacy
        and _fits(legacy[table.source], table)
        and has_table(unified, "main", table.origin)
    }
    return {
        name: Image(table, there, unified, legacy[table.source]) for name, table in there.items()
    }


def _fits(connection: apsw.Connection, table: TableMap) -> bool:
    """Return whether the database has the table in a shape that the plan can read."""
    if not has_table(connection, "main", table.table):
        return False
    present = columns(connection, "main", table.table)
    as_planned = {name.lower(): name for name in table.inverse} | {"rowid": ""}
    return set(table.required) <= set(present) and all(
        as_planned.get(name.lower(), name) == name for name in present
    )


# Values ------------------------------------------------------------------------------------------

# The vector of a new memory; what an old orphan named by the same identifier is not it.
_FIRST = (
    "(SELECT min(f.seq) FROM memory_block_embeddings AS f WHERE f.block_id = u.id AND NOT EXISTS"
    " (SELECT 1 FROM origin_root_memory_block_embeddings AS p WHERE p.seq = f.seq) AND NOT EXISTS"
    " (SELECT 1 FROM origin_legacy_memory_block_embeddings AS p WHERE p.seq = f.seq))"
)
_BY_NAME = {table.name: table for table in PLANNED}
_LASTING = ("created_at", "embedding")
_EARLIER = (
    "EXISTS (SELECT 1 FROM origin_legacy_memory_blocks AS k WHERE k.seq = u.seq"
    " AND k.rule = 'earlier-attempt')"
)


def _bit(table: TableMap, column: str) -> int:
    return 1 << list(table.inverse).index(column)


def _original(table: TableMap, column: str) -> str:
    """Return SQL for the value that the origin remembers, or that the unified row gives back."""
    bit, plain = _bit(table, column), _plain(table, column)
    return f"CASE WHEN o.residue & {bit} THEN o.x_{column} ELSE {plain} END"


def _plain(table: TableMap, column: str) -> str:
    """Return SQL for the legacy value of a row that has no origin."""
    return _CONVERTED.get((table.name, column), table.inverse[column])


@cache
def _value(name: str, column: str) -> str:
    """Return SQL for a column of a legacy table, `source.table`."""
    table = _BY_NAME[name]
    special = _SPECIAL.get((table.name, column))
    if special is not None:
        return special(_bit(table, column))
    alias, _, unified = table.inverse[column].partition(".")
    target = table.targets[" ue".index(alias) - 1]
    forward = _forward(name, target.table, unified)
    # An identity, or what names one, and what a block had when it was made: nobody changes it.
    if forward is None or (target.table == "memory_blocks" and unified in _LASTING):
        return _original(table, column)
    untouched = f"o.rule = 'merged' OR ({forward}) IS {alias}.{unified}"
    if table.name == "root.memory_blocks":
        # What an earlier attempt had lost was repaired from the legacy original.
        untouched = f"u.updated_at IS NULL OR ({forward}) IS u.{unified}"
    return (
        f"CASE WHEN o.residue & {_bit(table, column)} AND ({untouched}) THEN o.x_{column}"
        f" ELSE {_plain(table, column)} END"
    )


@cache
def _forward(name: str, unified_table: str, column: str) -> str | None:
    """Return SQL for what the migration makes of the remembered values in a unified column.

    None where that does not follow from the row alone.
    """
    table = _BY_NAME[name]
    target = next(each for each in table.targets if each.table == unified_table)
    forward = target.forward.get(column)
    if forward is None or "(SELECT" in forward or ":import_task" in forward:
        return None
    return _PLACEHOLDER.sub(lambda m: f"({_original(table, m[1])})", forward)


def _task_text(name: str) -> Callable[[int], str]:
    # A merged task is one with root's from its first write on.
    return lambda bit: (
        f"CASE WHEN o.residue & {bit} AND (u.legacy_values IS NULL AND o.rule = 'merged'"
        f" OR {_TASK_FORWARD.get(name, '+o.x_{0}').format(name)} IS u.{name})"
        f" THEN o.x_{name} ELSE u.{name} END"
    )


_TASK_FORWARD = {"title": "coalesce(o.x_{0}, '')"}
_LEGACY_TYPE = (
    "CASE WHEN o.residue & {bit} AND CASE o.rule WHEN 'merged' THEN u.updated_at IS NULL"
    " OR ({meaning}) IS u.block_type ELSE coalesce(o.x_type, '') IS u.label END THEN o.x_type"
    " WHEN o.rule = 'merged' AND o.residue & {bit} THEN u.block_type ELSE u.label END"
)


def _vector(column: str, made_of_it: str, unified: str, without: str) -> Callable[[int], str]:
    """Return a vector memory's value; one that was merged elsewhere keeps its own.

    Compared is the bare column, whose affinity counts, with what has none. `without` stands for
    it where it is NULL.
    """
    value = f"coalesce({unified}, {without})" if without else unified
    return lambda bit: (
        f"CASE WHEN o.residue & {bit} AND (u.session_id <> '{_VECTOR_SESSION}'"
        f" OR {made_of_it} IS {unified}) THEN o.x_{column} ELSE {value} END"
    )


def _vectors(name: str) -> dict[tuple[str, str], Callable[[int], str]]:
    made = {
        "content": ("coalesce(o.x_content, '')", "u.content", ""),
        "type": ("coalesce(o.x_type, '')", "u.label", ""),
        "metadata": ("+o.x_metadata", "u.metadata", ""),
        # A memory whose vector was taken away is still a text: its vector is empty.
        "embedding_vector": ("coalesce(o.x_embedding_vector, x'')", "e.embedding", "x''"),
        "dimensions": ("coalesce(o.x_dimensions, 0)", "e.dimensions", "0"),
        "model_id": ("coalesce(o.x_model_id, '')", "e.model", "''"),
        "created_at": ("+o.x_created_at", "e.created_at", "u.created_at"),
    }
    return {(name, column): _vector(column, *how) for column, how in made.items()}


_SPECIAL: dict[tuple[str, str], Callable[[int], str]] = {
    ("legacy.task_contexts", "title"): _task_text("title"),
    ("legacy.task_contexts", "description"): _task_text("description"),
    ("legacy.task_contexts", "updated_at"): _task_text("updated_at"),
    ("legacy.task_contexts", "status"): lambda bit: word_sql("status", bit),
    ("legacy.task_contexts", "priority"): lambda bit: word_sql("priority", bit),
    ("legacy.memory_blocks", "type"): lambda bit: _LEGACY_TYPE.format(
        bit=bit, meaning=block_type("o.x_type")
    ),
    **_vectors("vector.vector_memories"),
    **_vectors("legacy.vector_memories"),
}
_CONVERTED = {
    # The block's identifier in the old database, which may have been another.
    ("legacy.memory_block_embeddings", "memory_block_id"): (
        "CASE WHEN o.source_rowid IS NOT NULL THEN u.block_id ELSE coalesce((SELECT CASE WHEN"
        " k.residue & 1 THEN coalesce(k.x_id, u.block_id) ELSE b.id END FROM memory_blocks AS b"
        " LEFT JOIN origin_legacy_memory_blocks AS k ON k.seq = b.seq WHERE b.id = u.block_id),"
        " u.block_id) END"
    ),
    # A price that was looked up is no cost that somebody told.
    ("legacy.synthetic_usage", "cost_usd"): (
        "CASE WHEN u.seq NOT IN (SELECT usage_seq FROM looked_up_prices) THEN u.cost_usd END"
    ),
    ("root.synthetic_usage", "cost_usd"): (
        "CASE WHEN u.seq NOT IN (SELECT usage_seq FROM looked_up_prices) THEN u.cost_usd END"
    ),
}

# Homes -------------------------------------------------------------------------------------------

_SEEN = {"legacy.task_contexts": f"u.legacy_values IS NOT '{REMOVED}'"}
_There = Mapping[str, TableMap]
_EMBEDDING_ORIGINS = (
    ("origin_root_memory_block_embeddings", "seq"),
    ("origin_legacy_memory_block_embeddings", "seq"),
    ("origin_vector_vector_memories", "embedding_seq"),
    ("origin_legacy_vector_memories", "embedding_seq"),
)
_BLOCK_ORIGINS = (
    "origin_root_memory_blocks",
    "origin_legacy_memory_blocks",
    "origin_vector_vector_memories",
    "origin_legacy_vector_memories",
)


def _no_origin(*origins: str, key: str = "u.seq", column: str = "seq") -> str:
    return " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {origin} AS p WHERE p.{column} = {key})" for origin in origins
    )


_NEW_EMBEDDING = " AND ".join(
    _no_origin(origin, column=column) for origin, column in _EMBEDDING_ORIGINS
)
_SHOWN_BY_LEGACY = (
    "EXISTS (SELECT 1 FROM memory_blocks AS b WHERE b.id = u.block_id AND (EXISTS (SELECT 1 FROM"
    f" origin_legacy_memory_blocks AS k WHERE k.seq = b.seq) OR b.session_id = '{_LEGACY_SESSION}'"
    f" AND {_no_origin('origin_legacy_vector_memories', key='b.seq')}))"
)
_ROOT_BLOCK = (
    "EXISTS (SELECT 1 FROM memory_blocks AS b WHERE b.id = u.block_id AND b.session_id NOT IN"
    f" ('{_LEGACY_SESSION}', '{_VECTOR_SESSION}'))"
)
_FIRST_OF_ROOT = (
    "NOT EXISTS (SELECT 1 FROM memory_block_embeddings AS f WHERE f.block_id = u.block_id"
    " AND (f.seq < u.seq OR EXISTS (SELECT 1 FROM origin_root_memory_block_embeddings AS p"
    " WHERE p.seq = f.seq)) AND f.seq <> u.seq)"
)
_IMPORT_TASKS = (
    "(SELECT value FROM migration_facts WHERE name LIKE 'import\\_task.%' ESCAPE '\\'"
    " AND value IS NOT NULL)"
)


def _root_home(table: TableMap, there: _There) -> str:
    """A new row is root's, unless the migration itself added it."""
    del there
    target = table.targets[0]
    return (
        f"NOT EXISTS (SELECT 1 FROM added_rows AS a WHERE a.unified_table = '{target.table}'"
        f" AND a.unified_key = u.{target.key})"
    )


def _root_task(table: TableMap, there: _There) -> str:
    return (
        f"u.legacy_values IS NULL AND {_no_origin('origin_legacy_task_contexts')}"
        f" AND {_root_home(table, there)} AND u.id NOT IN {_IMPORT_TASKS}"
    )


def _record(table: TableMap, there: _There) -> str:
    """Usage and sessions: the old Database Manager's, where it had the table."""
    if table.source == "root" and f"legacy.{table.table}" in there:
        return "0"
    return _no_origin(f"origin_root_{table.table}", f"origin_legacy_{table.table}")


def _root_entity_embedding(table: TableMap, there: _There) -> str:
    return (
        f"{_root_home(table, there)} AND NOT EXISTS (SELECT 1 FROM knowledge_entity_embeddings AS f"
        " WHERE f.entity_id = u.entity_id AND (f.seq < u.seq OR EXISTS (SELECT 1 FROM"
        " origin_root_knowledge_entity_embeddings AS p WHERE p.seq = f.seq)) AND f.seq <> u.seq)"
    )


_HOMES: dict[str, Callable[[TableMap, _There], str]] = {
    "legacy.task_contexts": lambda *_: (
        f"u.legacy_values IS NOT NULL AND {_SEEN['legacy.task_contexts']}"
    ),
    "root.task_contexts": _root_task,
    "legacy.memory_blocks": lambda *_: (
        f"u.session_id = '{_LEGACY_SESSION}' AND {_no_origin(*_BLOCK_ORIGINS)}"
    ),
    "vector.vector_memories": lambda *_: (
        f"u.session_id = '{_VECTOR_SESSION}' AND {_no_origin(*_BLOCK_ORIGINS)}"
    ),
    "legacy.vector_memories": lambda *_: "0",
    "root.memory_blocks": lambda *_: (
        f"u.session_id NOT IN ('{_LEGACY_SESSION}', '{_VECTOR_SESSION}')"
        f" AND {_no_origin(*_BLOCK_ORIGINS)}"
    ),
    "legacy.memory_block_embeddings": lambda *_: f"{_NEW_EMBEDDING} AND {_SHOWN_BY_LEGACY}",
    "root.memory_block_embeddings": lambda *_: (
        f"{_NEW_EMBEDDING} AND NOT {_SHOWN_BY_LEGACY} AND {_ROOT_BLOCK} AND {_FIRST_OF_ROOT}"
    ),
    "root.knowledge_entity_embeddings": _root_entity_embedding,
    **{f"{s}.{t}": _record for s in ("root", "legacy") for t in ("synthetic_usage", "sessions")},
}

# What an image cannot hold -----------------------------------------------------------------------


def _missing(
    unified: apsw.Connection, table: TableMap, kept: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return, by target and column, SQL that is true where the legacy row cannot give it back."""
    found: dict[str, dict[str, str]] = {}
    for alias, target in zip("ue", table.targets, strict=False):
        held = {
            table.inverse[column].partition(".")[2]
            for column in kept
            if table.inverse[column].startswith(f"{alias}.")
        }
        rest: dict[str, str] = {}
        for _, name, _, _, default, _, hidden in unified.execute(
            f"PRAGMA main.table_xinfo({target.table})"
        ).fetchall():
            column = str(name)
            if (
                hidden
                or column in held | {target.key, "legacy_values"}
                or (column == target.identifier and target.identity is None)
            ):
                continue
            if column in target.forward:
                expected = _forward(table.name, target.table, column)
                if expected is None:
                    continue
            else:
                expected = "NULL" if default is None else str(default)
                if "(" in expected or expected.startswith("CURRENT"):
                    continue
            rest[column] = f"{alias}.{quote(column)} IS NOT ({expected})"
        if ("synthetic_usage" in table.name) and alias == "u":
            rest["cost_usd"] = (
                f"u.cost_usd IS NOT ({kept['cost_usd']})" if "cost_usd" in kept else "1"
            )
        if table.name == "root.memory_blocks":  # the next migration repairs it from the old type
            rest["block_type"] = f"{_EARLIER} AND ({block_type('u.label')}) IS NOT u.block_type"
        found[target.table] = rest
    return found
