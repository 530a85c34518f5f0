"""Small DevFlow trees for tests: built by SQL, migrated in this process or in one of its own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import apsw.ext

from devflow.migration import phases
from devflow.migration.inverse import mapping_document
from devflow.migration.tree import Tree

REPOSITORY = Path(__file__).resolve().parents[2]
DATABASES = {
    "root": "devflow.sqlite",
    "legacy": "data/devflow.sqlite",
    "vector": "data/vector.sqlite",
}
LOG = "logs/model-registry.log"
_OURS = {"backups", ".devflow-migration"}
_SIDES = ("-wal", "-shm", "-journal")
_EPOCH = "1700000000"

_MEMORY = Path("/dev/shm")  # noqa: S108 - each test makes a directory of its own there
_ROOM = 1 << 30


def memory_folder() -> Path | None:
    """Return a file system in memory where there is room: a migration syncs at every step."""
    there = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
    return _MEMORY if there else None


Row = tuple[object, ...]


class RawText(bytes):
    """Bytes to be stored as text, whatever they are."""


@functools.cache
def schema_bytes(name: str) -> bytes:
    """Return a database with the legacy schema `name` and no row."""
    with contextlib.closing(apsw.Connection(":memory:")) as connection:
        connection.execute((REPOSITORY / "fixtures" / "schema" / f"{name}.sql").read_text())
        return connection.serialize("main")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[apsw.Connection]:
    """Open a database as the old services' rows came in: no trigger, no foreign key."""
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def _typed(kind: object, value: object) -> Row:
    if isinstance(value, float):
        return (kind, struct.pack(">d", value))
    return (kind, value)


def rows(where: Path | apsw.Connection, query: str, bindings: Any = ()) -> list[Row]:
    """Return what `query` yields as (type, value) pairs: text as its bytes, reals as theirs."""
    if isinstance(where, Path):
        with opened(where) as connection:
            return rows(connection, query, bindings)
    described = apsw.ext.query_info(where, query).description
    names = [f"c{number}" for number in range(len(described))]
    listed = ", ".join(
        f"typeof({n}), CASE typeof({n}) WHEN 'text' THEN CAST({n} AS BLOB) ELSE {n} END"
        for n in names
    )
    found = where.execute(
        f"WITH q({', '.join(names)}) AS ({query}) SELECT {listed} FROM q", bindings
    )
    return [
        tuple(_typed(row[n], row[n + 1]) for n in range(0, len(row), 2)) for row in found.fetchall()
    ]


def values(where: Path, query: str, bindings: Any = ()) -> list[Row]:
    """Return what `query` yields as plain values."""
    with opened(where) as connection:
        return connection.execute(query, bindings).fetchall()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def tables(path: Path) -> list[str]:
    """Return the tables that hold rows, shadow tables and SQLite's own included."""
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    )
    return [str(name) for (name,) in values(path, query)]


def has_rowid(path: Path, table: str) -> bool:
    query = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?"
    return not values(path, query, (table,))[0][0]


def table_rows(path: Path, table: str) -> list[Row]:
    rowid = "rowid, " if has_rowid(path, table) else ""
    return sorted(rows(path, f"SELECT {rowid}* FROM {quoted(table)}"), key=repr)


def database_state(path: Path) -> object:
    """Return everything logical in a database: its schema text, settings and rows."""
    if not path.exists():
        return "missing"
    if not path.stat().st_size and not path.with_name(path.name + "-wal").exists():
        return ("empty", path.stat().st_mode)
    settings = ("user_version", "application_id", "encoding", "journal_mode", "auto_vacuum")
    return {
        "schema": values(path, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"),
        "settings": [values(path, f"PRAGMA {name}") for name in (*settings, "page_size")],
        "rows": {table: table_rows(path, table) for table in tables(path)},
        "mode": path.stat().st_mode,
    }


def tree_state(directory: Path) -> dict[str, object]:
    """Return everything that a rollback must bring back, as values that compare."""
    state: dict[str, object] = {}
    databases = set(DATABASES.values())
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        name = relative.as_posix()
        if relative.parts[0] in _OURS:
            continue
        if path.is_dir():
            state[f"{name}/"] = path.stat().st_mode
            continue
        if name not in databases and not name.endswith(_SIDES):
            state[name] = (path.read_bytes(), path.stat().st_mode)
    return state | {name: database_state(directory / name) for name in sorted(databases)}


@dataclass(frozen=True)
class LegacyTree:
    """A DevFlow root directory of a test."""

    directory: Path

    @classmethod
    def make(cls, directory: Path, *, without: Sequence[str] = ()) -> LegacyTree:
        """Lay out databases with the legacy schemas, the configuration and an empty log folder."""
        shutil.copytree(REPOSITORY / "fixtures" / "tree", directory)
        tree = cls(directory)
        for name in DATABASES:
            tree.path(name).parent.mkdir(exist_ok=True)
            if name not in without:
                tree.path(name).write_bytes(schema_bytes(name))
                tree.run(name, "PRAGMA journal_mode = WAL")
        (directory / "logs").mkdir()
        return tree

    def path(self, name: str) -> Path:
        return self.directory / DATABASES[name]

    @property
    def root(self) -> Path:
        """The root database, which becomes the unified one."""
        return self.path("root")

    def run(self, name: str, script: str, bindings: Any = None) -> None:
        with opened(self.path(name)) as connection:
            connection.execute(script, bindings).fetchall()

    def insert(self, name: str, table: str, /, **given: Any) -> None:
        """Insert one row."""
        marks = ", ".join(
            "CAST(? AS TEXT)" if isinstance(value, RawText) else "?" for value in given.values()
        )
        columns = ", ".join(quoted(column) for column in given)
        self.run(
            name,
            f"INSERT INTO {quoted(table)} ({columns}) VALUES ({marks})",
            tuple(given.values()),
        )

    def log(self, content: bytes) -> None:
        (self.directory / LOG).write_bytes(content)

    def copy(self, to: Path) -> LegacyTree:
        shutil.copytree(self.directory, to)
        return LegacyTree(to)

    @property
    def state(self) -> dict[str, object]:
        return tree_state(self.directory)

    # The migration in this process ---------------------------------------------------------

    def apply(self, until: str = "cleanup") -> list[Mapping[str, object]]:
        """Migrate; return the events."""
        events: list[Mapping[str, object]] = []
        phases.apply(Tree.at(self.directory), until, events.append)
        return events

    def rollback(self) -> list[Mapping[str, object]]:
        events: list[Mapping[str, object]] = []
        phases.rollback(Tree.at(self.directory), events.append)
        return events

    @property
    def status(self) -> str:
        return phases.status(Tree.at(self.directory))

    # The migration in a process of its own ---------------------------------------------------

    def request(self, **changes: object) -> str:
        return json.dumps({"contract": 1, "tree": str(self.directory), **changes})

    def call(self, operation: str, **changes: object) -> tuple[int, list[dict[str, Any]]]:
        """Run one operation in a process; return its exit code and events."""
        return speak([operation], self.request(**changes))


def environment() -> dict[str, str]:
    return {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONPATH": str(REPOSITORY)}


def speak(arguments: Sequence[str], text: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the candidate with `text` on its stdin; every line of its stdout must be JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "devflow.migration", *arguments],
        input=text + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


# Rows ----------------------------------------------------------------------------------------


def add_earlier(tree: LegacyTree, identifier: str, original: str, **changes: object) -> None:
    """Add to root what an earlier attempt made of a legacy block."""
    row: dict[str, object] = {
        "task_id": "imported",
        "session_id": "s",
        "block_type": "context",
        "label": "Migrated block",
        "content": f"text of {original}",
        "metadata": f'{{"source":"migration","original_id":"{original}"}}',
        "created_at": "2025-09-18 00:00:00",
    }
    tree.insert("root", "memory_blocks", id=identifier, **{**row, **changes})


def add_block(tree: LegacyTree, identifier: str | None, **changes: object) -> None:
    row: dict[str, object] = {
        "content": f"text of {identifier}",
        "type": "decision",
        "timestamp": "2025-09-13T21:42:07.223Z",
        "embedding": b"\1\2\3\4",
    }
    tree.insert("legacy", "memory_blocks", id=identifier, **{**row, **changes})


def add_embedding(
    tree: LegacyTree, identifier: str | None, block: object, **changes: object
) -> None:
    row: dict[str, object] = {"model_id": "m", "embedding_vector": b"\0\0\x80?", "dimensions": 1}
    tree.insert(
        "legacy", "memory_block_embeddings", id=identifier, memory_block_id=block,
        **{**row, **changes},
    )  # fmt: skip


# What was kept ---------------------------------------------------------------------------------


def _columns(path: Path, table: str) -> list[str]:
    query = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid"
    return [str(name) for (name,) in values(path, query, (table,))]


def rebuilt(unified: Path, name: str, *, columns: Sequence[str]) -> list[Row]:
    """Return a planned table's rows, rebuilt by the mapping's inverse from `unified` alone."""
    entry: Any = mapping_document()["tables"]
    entry = entry[name]
    selected = [
        entry["columns"].get(column)
        or entry["other_columns"].replace("{column}", column.replace('"', '""'))
        for column in columns
    ]
    query = f"SELECT {entry['key']}, {', '.join(selected)} FROM {entry['from']}"
    return sorted(rows(unified, query), key=repr)


def carried(unified: Path) -> dict[tuple[str, str], str]:
    found = values(unified, "SELECT source, source_table, unified_table FROM carried_tables")
    return {(str(source), str(table)): str(name) for source, table, name in found}


def original(before: LegacyTree, source: str, table: str) -> list[Row]:
    columns = ", ".join(quoted(column) for column in _columns(before.path(source), table))
    rowid = "rowid, " if has_rowid(before.path(source), table) else ""
    query = f"SELECT {rowid}{columns} FROM {quoted(table)}"
    return sorted(rows(before.path(source), query), key=repr)


def assert_kept(before: LegacyTree, unified: Path, source: str, table: str) -> None:
    """Rebuild one legacy table from the unified database, and compare every value and type."""
    taken_over = carried(unified).get((source, table))
    expected = original(before, source, table)
    if taken_over is not None:
        assert table_rows(unified, taken_over) == expected
        return
    columns = _columns(before.path(source), table)
    assert rebuilt(unified, f"{source}.{table}", columns=columns) == expected


def assert_all_kept(before: LegacyTree, unified: Path) -> int:
    """Compare every row table of every source; return how many rows there were."""
    count = 0
    for source in DATABASES:
        path = before.path(source)
        if not path.exists() or not path.stat().st_size:
            continue
        kinds = dict(values(path, "SELECT name, type FROM pragma_table_list WHERE schema = 'main'"))
        for table in tables(path):
            if not table.startswith("sqlite_") and kinds[table] == "table":
                assert_kept(before, unified, source, table)
                count += len(original(before, source, table))
    return count
