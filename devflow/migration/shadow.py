"""Builds the unified database from the backups, beside the live ones, step by step.

Each step is one transaction of the shadow (a long table: one a chunk), which also says how far
it is; so a migration that was cut off goes on where it was, and nothing is copied twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from devflow.migration.account import decide, script, unplanned_of
from devflow.migration.carrying import carry_sequence, carry_tables
from devflow.migration.copying import Start, copy_chunk
from devflow.migration.database import (
    has_table,
    open_writable,
    remove,
    statements,
    transaction,
    uri,
)
from devflow.migration.registry import import_log
from devflow.migration.shapes import add_other_columns, is_planned_here, other_columns
from devflow.migration.tables import PLANNED, planned
from devflow.migration.targets import TableMap
from devflow.migration.tree import SOURCES, Tree

__all__ = ["STEPS", "VERSION", "create", "import_task", "kept_open", "let_go", "run_step"]

VERSION = "2.0.0"
_AUTOINCREMENT = (("root", "session_audit_log"),)
# Merging looks embeddings up by their block: where it must, the index is made before its time.
_EARLY_INDEX, _EARLY_INDEX_OF = "idx_memory_embeddings_block", "memory_block_embeddings"
Counts = dict[str, int]


def create(tree: Tree) -> Counts:
    """Make the empty shadow with the unified tables, over whatever an earlier try left there."""
    remove(tree.shadow)
    with closing(open_writable(tree.shadow)) as connection:
        connection.execute(f"PRAGMA page_size = {_page_size(tree)}")
        with transaction(connection):
            tables = [text for text in statements(script()) if _is_table(text)]
            for text in tables:
                connection.execute(text)
            for source in SOURCES:
                connection.execute(
                    "INSERT INTO migration_facts VALUES (?, ?)",
                    (f"source.{source}", _backup_of(tree, source) is not None),
                )
    return {"tables": len(tables)}


def _is_table(text: str) -> bool:
    body = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return body.lstrip().startswith("CREATE TABLE")


def _page_size(tree: Tree) -> int:
    """Return the root's page size: the cutover writes the shadow over it page by page."""
    path = _backup_of(tree, "root")
    if path is None:
        return 4096
    with path.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:18], "big")
    return 65_536 if size == 1 else size


def _backup_of(tree: Tree, source: str) -> Path | None:
    path = tree.backup("before") / tree.paths[source]
    return path if path.exists() and path.stat().st_size else None


_kept: dict[Path, apsw.Connection] = {}


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep the shadow open over the steps within: opening it costs more than a small step."""
    try:
        yield
    finally:
        let_go()


def let_go() -> None:
    """Close the shadow, which is locked while it is kept open."""
    while _kept:
        _kept.popitem()[1].close()


def _opened(tree: Tree) -> apsw.Connection:
    """Return the shadow with every source's backup attached as `src_<source>`, read-only."""
    if tree.shadow not in _kept:
        connection = _kept[tree.shadow] = open_writable(tree.shadow)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -65536")
        for source in SOURCES:
            path = _backup_of(tree, source)
            where = uri(path, mode="ro", immutable=True) if path else ":memory:"
            connection.execute(f"ATTACH ? AS src_{source}", (where,))
    return _kept[tree.shadow]


def run_step(tree: Tree, step: str) -> Counts:
    """Run or resume one step of the shadow phase, within `kept_open`; return what it counted."""
    if step == "create":
        return create(tree)
    connection = _opened(tree)
    counts = _counts_of(connection, step)
    if counts is not None:
        return counts
    if step.startswith("copy."):
        return _copy_table(connection, step)
    with transaction(connection):
        return _finish(connection, step, _SINGLE[step](connection, tree))


def _counts_of(connection: apsw.Connection, step: str) -> Counts | None:
    row = connection.execute(
        "SELECT counts FROM migration_steps WHERE step = ? AND done", (step,)
    ).fetchone()
    return None if row is None else dict(json.loads(str(row[0])))


def _finish(connection: apsw.Connection, step: str, counts: Counts) -> Counts:
    connection.execute(
        "INSERT INTO migration_steps (step, done, counts) VALUES (?1, 1, ?2)"
        " ON CONFLICT (step) DO UPDATE SET done = 1, counts = ?2",
        (step, json.dumps(counts, sort_keys=True)),
    )
    return counts


# Copying -------------------------------------------------------------------------------------


def _copy_table(connection: apsw.Connection, step: str) -> Counts:
    _, source, name = step.split(".")
    table = planned(source, name)
    assert table is not None  # noqa: S101 - the steps are made of the planned tables
    if not is_planned_here(connection, table):
        with transaction(connection):
            return _finish(connection, step, {})
    while True:
        with transaction(connection):
            position, start, counts = _position(connection, table, step)
            last, rules = copy_chunk(
                connection,
                table,
                after=position,
                start=start,
                import_task=_import_task(connection, source),
            )
            if last is None:
                return _finish(connection, step, counts)
            for rule, number in rules.items():
                counts[rule] = counts.get(rule, 0) + number
            connection.execute(
                "UPDATE migration_steps SET position = ?, counts = ? WHERE step = ?",
                (last, json.dumps(counts, sort_keys=True), step),
            )


def _position(
    connection: apsw.Connection, table: TableMap, step: str
) -> tuple[int | None, Start, Counts]:
    """Return the last rowid copied, how things stood before the first, and the counts."""
    row = connection.execute(
        "SELECT position, base, counts FROM migration_steps WHERE step = ?", (step,)
    ).fetchone()
    if row is not None:
        counts = dict(json.loads(str(row[2])))
        return (int(str(row[0])) if counts else None), Start.from_text(str(row[1])), counts
    add_other_columns(connection, table)  # a table without rows has the columns, too
    start = Start.of(connection, table)
    if not start.straight and _EARLY_INDEX_OF in start.bases:
        early = next(text for text in statements(script()) if f"INDEX {_EARLY_INDEX} " in text)
        connection.execute(early.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS"))
    connection.execute(
        "INSERT INTO migration_steps (step, base) VALUES (?, ?)", (step, start.as_text())
    )
    return None, start, {}


def _import_task(connection: apsw.Connection, source: str) -> str | None:
    row = connection.execute(
        "SELECT value FROM migration_facts WHERE name = ?", (f"import_task.{source}",)
    ).fetchone()
    return None if row is None else str(row[0])


def _add_import_tasks(connection: apsw.Connection, tree: Tree) -> Counts:
    """Add the task that imported memory blocks hang from, for each source that has some."""
    del tree
    added = 0
    for source, table in (
        ("legacy", "memory_blocks"),
        ("vector", "vector_memories"),
        ("legacy", "vector_memories"),
    ):
        if _import_task(connection, source) or not has_table(connection, f"src_{source}", table):
            continue
        if connection.execute(f"SELECT 1 FROM src_{source}.{table} LIMIT 1").fetchone() is None:
            continue
        import_task(connection, source)
        added += 1
    return {"tasks": added}


def import_task(connection: apsw.Connection, source: str) -> str | None:
    """Return the task that the source's imported blocks hang from; add it where it is missing."""
    known = _import_task(connection, source)
    title = {"legacy": "the Database Manager", "vector": "the Vector Memory Service"}.get(source)
    if known is not None or title is None:
        return known
    identifier = f"{source}-import"
    while connection.execute("SELECT 1 FROM task_contexts WHERE id = ?", (identifier,)).fetchone():
        identifier += "~"
    now = _now()
    connection.execute(
        "INSERT INTO task_contexts (id, title, status, created_at, updated_at)"
        " VALUES (?, ?, 'archived', ?, ?)",
        (identifier, f"Memory imported from {title}", now, now),
    )
    _declare_added(connection, "task_contexts", "parent-of-imported-blocks")
    connection.execute(
        "INSERT INTO migration_facts VALUES (?, ?)", (f"import_task.{source}", identifier)
    )
    return identifier


def _declare_added(connection: apsw.Connection, table: str, rule: str) -> None:
    connection.execute(
        "INSERT INTO added_rows VALUES (?, ?, ?)", (table, connection.last_insert_rowid(), rule)
    )


def _now() -> str:
    """Return the time for rows that the migration makes up; SOURCE_DATE_EPOCH sets it."""
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


# Carrying and finishing ------------------------------------------------------------------------


def _carry(source: str) -> Callable[[apsw.Connection, Tree], Counts]:
    def step(connection: apsw.Connection, tree: Tree) -> Counts:
        del tree
        return carry_tables(connection, source, unplanned_of(connection, source))

    return step


def _registry(connection: apsw.Connection, tree: Tree) -> Counts:
    return import_log(connection, tree.backup("before") / tree.paths["registry"])


def _index(connection: apsw.Connection, tree: Tree) -> Counts:
    """Create the indexes and fill the full-text ones, now that the rows are there."""
    del tree
    connection.execute(f"DROP INDEX IF EXISTS {_EARLY_INDEX}")  # all are made in their order
    later = [text for text in statements(script()) if not _is_table(text)]
    searched = []
    for text in later:
        connection.execute(text).fetchall()
    for (name,) in connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'virtual'"
        " AND name IN ('memory_fts', 'tasks_fts', 'knowledge_entities_fts')"
    ).fetchall():
        connection.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")
        searched.append(name)
    return {"objects": len(later), "full-text indexes": len(searched)}


def _decide_all(connection: apsw.Connection, tree: Tree) -> Counts:
    del tree
    return decide(connection)


def _settle(connection: apsw.Connection, tree: Tree) -> Counts:
    """Carry sequences, name the columns that nobody planned for, and write the version."""
    del tree
    for source, name in _AUTOINCREMENT:
        if has_table(connection, f"src_{source}", name):
            carry_sequence(connection, source, name, name)
    columns = 0
    for table in PLANNED:
        if is_planned_here(connection, table):
            for name in other_columns(connection, table):
                connection.execute(
                    "INSERT INTO schema_decisions"
                    " VALUES (?, 'column', ?, 'carried', 'unplanned', ?, '')",
                    (table.source, f"{table.table}.{name}", f"{table.origin}.x_{name}"),
                )
                columns += 1
    version = VERSION
    while connection.execute(
        "SELECT 1 FROM schema_versions WHERE version = ?", (version,)
    ).fetchone():
        version += "+"
    connection.execute(
        "INSERT INTO schema_versions (version, applied_at, description) VALUES (?, ?, ?)",
        (version, _now(), "DevFlow's databases unified"),
    )
    _declare_added(connection, "schema_versions", "version-of-the-unified-schema")
    return {"unplanned columns": columns}


_SINGLE: dict[str, Callable[[apsw.Connection, Tree], Counts]] = {
    "import-tasks": _add_import_tasks,
    **{f"carry.{source}": _carry(source) for source in SOURCES},
    "registry": _registry,
    "index": _index,
    "decide": _decide_all,
    "settle": _settle,
}


def _steps() -> tuple[str, ...]:
    copies = [f"copy.{table.name}" for table in PLANNED]
    tasks_done = copies.index("copy.legacy.task_contexts") + 1
    return (
        "create",
        *copies[:tasks_done],
        "import-tasks",
        *copies[tasks_done:],
        *(step for step in _SINGLE if step != "import-tasks"),
    )


STEPS: tuple[str, ...] = _steps()
"""The steps of the shadow phase, in their order."""
