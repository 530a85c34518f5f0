"""Strategies for whole DevFlow trees, and which hazards a generated tree holds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import apsw
from hypothesis import strategies as st

from harness.database import row_tables
from harness.fixture.tree import schema_template
from harness.generators import values
from harness.generators.extras import extra, extra_column
from harness.generators.plan import DatabasePlan, Row, TreePlan, Value
from harness.generators.registry import logs
from harness.generators.tables import PLANNED, planned_row

__all__ = ["trees"]

_OLD_TABLES = ("sessions", "synthetic_usage", "migration_log")
_USAGE = (
    "CREATE TABLE synthetic_usage (id TEXT PRIMARY KEY, provider TEXT NOT NULL, agent_type TEXT"
    " NOT NULL, model TEXT, duration_ms INTEGER NOT NULL, tokens_in INTEGER, tokens_out INTEGER,"
    " cost_usd REAL, created_at TEXT NOT NULL)"
)
_SESSIONS = (
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL, context TEXT, metadata TEXT,"
    " created_at TEXT NOT NULL, updated_at TEXT NOT NULL)"
)
_SETTINGS = ("PRAGMA user_version=7", "PRAGMA application_id=1145456460", "PRAGMA user_version=-1")


@functools.cache
def schema_names(source: str) -> frozenset[str]:
    """Return the lower-cased names of everything in the legacy schema of `source`."""
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", schema_template(source))
    names = {str(name).lower() for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return frozenset(names)


@functools.cache
def row_table_names(source: str) -> tuple[str, ...]:
    """Return the tables with rows of their own in the legacy schema of `source`."""
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", schema_template(source))
    names = tuple(table.name for table in row_tables(connection))
    connection.close()
    return names


@functools.cache
def _row(source: str) -> st.SearchStrategy[Row]:
    known = set(row_table_names(source))
    tables = [table for table in PLANNED[source] if table in known]
    weighted = [table for n, table in enumerate(tables) for _ in range(3 if n < 3 else 1)]
    return st.sampled_from(weighted).flatmap(lambda table: planned_row(source, table))


def _taken(source: str) -> Callable[[str], bool]:
    used = set(schema_names(source))

    def taken(name: str) -> bool:
        if name.lower() in used:
            return True
        used.add(name.lower())
        return False

    return taken


@st.composite
def _unplanned(draw: st.DrawFn, source: str) -> tuple[list[str], list[Row], list[str]]:
    """What a database holds beside its planned rows: statements, rows, statements behind them."""
    before: list[str] = []
    rows: list[Row] = []
    after: list[str] = []
    if draw(st.integers(0, 7)) == 7:
        before.append(draw(st.sampled_from(_SETTINGS)))
    if source == "legacy" and draw(st.integers(0, 7)) == 7:
        dropped = draw(st.lists(st.sampled_from(_OLD_TABLES), min_size=1, max_size=3, unique=True))
        before += [f"DROP TABLE {table}" for table in dropped]
    if source == "root" and draw(st.integers(0, 7)) == 7:
        before += [_USAGE, _SESSIONS]
        for table in ("synthetic_usage", "sessions"):
            rows += draw(st.lists(planned_row("legacy", table), max_size=2))
    if draw(st.integers(0, 7)) == 7:
        altered = draw(st.sampled_from(PLANNED[source][:3]))
        alter, update = draw(extra_column(altered))
        before.append(alter)
        after.append(update)
    taken = _taken(source)
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2)))):
        made = draw(extra(taken))
        if made is not None:
            before += made.before
            rows += made.rows
            after += made.after
    return before, rows, after


def _distinct(rows: list[Row]) -> list[Row]:
    """Give a row whose key is taken one of its own, so that it is not refused as a duplicate."""
    seen: set[tuple[str, str]] = set()
    made = []
    for number, row in enumerate(rows):
        column = next(iter(row.values))
        key = row.values[column]
        if key is not None and (row.table, repr(key)) in seen:
            fresh: Value = number + 100 if isinstance(key, int) else f"{column}-{number}"
            made.append(Row(row.table, {**row.values, column: fresh}))
        else:
            made.append(row)
        seen.add((row.table, repr(key)))
    return made


@st.composite
def _database(draw: st.DrawFn, source: str, rows_max: int) -> DatabasePlan:
    state = draw(st.integers(0, 19))
    if state >= 18:
        return DatabasePlan(state="missing" if state == 18 else "empty")
    rows = _distinct(draw(st.lists(_row(source), max_size=rows_max)))
    before, more, after = draw(_unplanned(source))
    gone = {statement.split()[-1] for statement in before if statement.startswith("DROP TABLE")}
    if source == "root" and draw(st.booleans()):
        after = [*after, "INSERT INTO memory_fts(memory_fts) VALUES ('rebuild')"]
    if "migration_log" not in gone and source == "legacy" and draw(st.integers(0, 3)) == 3:
        after = [*after, "DELETE FROM migration_log WHERE id > 2"]
    return DatabasePlan(
        before=tuple(before),
        rows=(*(row for row in rows if row.table not in gone), *more),
        after=tuple(after),
        wal=draw(st.integers(0, 7)) == 7,
    )


def _json_quoted(value: Value) -> str:
    text = value if isinstance(value, str) else "a"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def _earlier_attempt(draw: st.DrawFn, original: Row, number: int) -> list[Row]:
    """Rows in root that say they came from the legacy block `original`, not always truly."""
    identity = original.values["id"]
    marked = draw(
        st.sampled_from(
            (
                f'{{"source":"migration","original_id":{_json_quoted(identity)}}}',
                f'{{"original_id": {_json_quoted(identity)}, "source": "migration"}}',
                '{"source":"migration","original_id":"gone"}',
                '{"source":"migration","original_id":7}',
                '{"source":"migration"}',
                '{"source":"migration","original_id":null}',
            )
        )
    )
    content = original.values["content"]
    kept = draw(st.sampled_from((content, content, "changed on the way", "")))
    new_id = draw(st.sampled_from((f"migrated-{number}", identity, "a")))
    block: dict[str, Value] = {
        "id": new_id,
        "task_id": "a",
        "session_id": "migration",
        "block_type": draw(st.sampled_from(("context", "decision"))),
        "label": "Migrated",
        "content": kept,
        "metadata": marked,
        "importance_score": 0.5,
        "relationships": "[]",
        "embedding": draw(st.sampled_from((None, original.values["embedding"]))),
        "embedding_model": "text-embedding-3-small",
        "created_at": draw(st.sampled_from((original.values["timestamp"], "2025-09-13 23:42:13"))),
        "last_accessed": "2025-09-13 21:42:13",
        "access_count": 1,
    }
    rows = [Row("memory_blocks", block)]
    if draw(st.booleans()):
        vector, dimensions = draw(values.vectors())
        rows.append(
            Row(
                "memory_block_embeddings",
                {
                    "block_id": new_id,
                    "embedding": vector,
                    "model": "gemma-7b-embedding",
                    "dimensions": dimensions,
                    "created_at": "2025-09-13 21:42:13",
                    "updated_at": "2025-09-13 21:42:13",
                },
            )
        )
    return rows


@st.composite
def _with_earlier_attempt(
    draw: st.DrawFn, root: DatabasePlan, legacy: DatabasePlan
) -> DatabasePlan:
    blocks = [row for row in legacy.rows if row.table == "memory_blocks"]
    if root.state != "sqlite" or not blocks or draw(st.integers(0, 2)) == 0:
        return root
    rows = list(root.rows)
    for number, block in enumerate(blocks[:3]):
        if "embedding" in block.values and "content" in block.values:
            rows += draw(_earlier_attempt(block, number))
    return DatabasePlan(before=root.before, rows=tuple(rows), after=root.after, wal=root.wal)


@st.composite
def trees(draw: st.DrawFn, *, rows_max: int = 8) -> TreePlan:
    """A whole DevFlow tree with at most `rows_max` planned rows a database, and any hazards."""
    legacy = draw(_database("legacy", rows_max))
    vector = draw(_database("vector", max(rows_max // 2, 1)))
    root = draw(_database("root", rows_max))
    root = draw(_with_earlier_attempt(root, legacy))
    return TreePlan(
        root=root,
        legacy=legacy,
        vector=vector,
        log=draw(logs()),
        configured=draw(st.booleans()),
    )
