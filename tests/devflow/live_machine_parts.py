"""What a live migration is made of in one process: a gate, a kill, trees to begin with, writes."""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import numpy as np
from devflow_tree import LegacyTree, memory_folder
from test_live_catching_up import copied

from devflow.live.authority import LEGACY, SERVICES, SOURCE_OF, Authority
from devflow.live.cutover import Limits
from devflow.live.steps import live_way
from devflow.migration.database import SIDE_FILES, open_writable, remove, transaction
from devflow.migration.phases import Step
from devflow.migration.tree import Tree
from devflow.services.database_manager.legacy import memory as memories
from devflow.services.database_manager.legacy import tasks
from devflow.services.store import opened
from devflow.services.vector_memory import legacy as vectors
from devflow.services.vector_memory.embedding import Embedded

ROOT = "root"
KILL_AFTER_MAX = 160
TASK, BLOCK, VECTOR = "task", "block", "vector"
TABLES = {
    TASK: ("legacy", "task_contexts", "title"),
    BLOCK: ("legacy", "memory_blocks", "content"),
    VECTOR: ("vector", "vector_memories", "content"),
    ROOT: ("root", "task_contexts", "title"),
}
SERVICE = {TASK: "database-manager", BLOCK: "database-manager", VECTOR: "vector-memory"}
_UNIFIED_TABLE = {VECTOR: "memory_blocks"}
FORWARD = ("shadow.put", *(f"cutover.{name}" for name in SERVICES), "validate.followed")
BEGINNINGS = ("written", "written", "moved", "written", "put", "copied")


class KilledError(BaseException):
    """The process was killed here."""


class Kill:
    """Counts statements, and lets the process die before one of them."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.dead = False

    def opened(self, connection: apsw.Connection) -> None:
        """Follow a connection that is opened while a kill is to come."""
        if self.left is not None:
            connection.exec_trace = self.statement

    def statement(self, *_: object) -> bool:
        """Die, or let one more statement through."""
        if self.left is not None:
            self.left -= 1
            self.dead = self.dead or self.left < 0
        if self.dead:
            raise KilledError
        return True

    @contextmanager
    def after(self, statements: int | None) -> Iterator[None]:
        """Kill what is done within after so many statements, if that many are made."""
        self.left, self.dead = statements, False
        try:
            yield
        finally:
            self.left, self.dead = None, False


KILL = Kill()
apsw.connection_hooks.append(KILL.opened)


class Gate:
    """A gate without a port: it holds, opens, and asks the databases when its lease ends."""

    def __init__(self, service: str, tree: Tree, side: str | None = LEGACY) -> None:
        source = SOURCE_OF.get(service)
        legacy = None if source is None else tree.path(source)
        self.authority = Authority(service, tree.path("root"), legacy)
        self.side = side
        self.refuses = False

    def hold(self, *, drain_s: float, lease_s: float) -> bool:
        """Hold, unless what is in flight does not end."""
        KILL.statement()
        if self.refuses:
            return False
        self.side = None
        return True

    def release(self, side: str) -> None:
        """Open."""
        KILL.statement()
        self.side = side

    hold_if_there = hold
    let_go = release

    def is_held(self) -> bool:
        """Return whether nothing passes."""
        return self.side is None

    def is_gone(self) -> bool:
        """Say that it is there."""
        return False

    def state(self) -> dict[str, object]:
        """Say that nobody feels anything."""
        return {"latency_ms": 0.0, "side": self.side}

    def settle(self) -> None:
        """Do as at the end of a lease."""
        self.side = self.authority.side()


# Templates ---------------------------------------------------------------------------------------


@functools.cache
def _folder() -> Path:
    """Return a folder in memory that lasts as long as the process."""
    holder = tempfile.TemporaryDirectory(prefix="devflow-machine-", dir=memory_folder())
    _KEPT.append(holder)
    return Path(holder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
_NUMBERS = itertools.count()


def laid(beginning: str, rows: int) -> Path:
    """Lay a copy of a template for one run, and return its folder."""
    folder = _folder() / f"run-{next(_NUMBERS)}"
    shutil.copytree(template(beginning, rows), folder, copy_function=shutil.copyfile)
    return folder


@functools.cache
def template(beginning: str, rows: int) -> Path:
    """Return a tree that real steps have brought so far, with so many rows of each kind.

    Its databases alone, at rest: a run copies all of it, and its steps read nothing else.
    """
    folder = _made(beginning, rows)
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        if file.suffix == ".sqlite":
            open_writable(file).close()  # who could only read it has left the files of its log
        elif not file.name.endswith(SIDE_FILES):
            file.unlink()
    assert {file.suffix for file in folder.rglob("*") if file.is_file()} == {".sqlite"}
    return folder


def _made(beginning: str, rows: int) -> Path:
    folder = _folder() / f"{beginning}-{rows}"
    if beginning == "none":
        tree = LegacyTree.make(folder)
        for collection, (source, table, value) in TABLES.items():
            more = {
                BLOCK: {"type": "note", "timestamp": "2025-01-01"},
                VECTOR: {
                    "type": "note", "embedding_vector": b"\0\0\x80?", "dimensions": 1,
                    "model_id": "m",
                },
            }.get(collection, {})  # fmt: skip
            for n in range(rows):
                tree.insert(source, table, id=f"{collection}{n}", **{value: f"v{n}"}, **more)
        return folder
    if beginning == "copied":
        tree = LegacyTree(template("none", rows)).copy(folder)
        at = copied(tree)
        steps_of(at)["shadow.follow"].run(at)
        shutil.rmtree(at.directory / "backups")  # which none of the machine's steps reads again
        return folder
    before = {"put": "copied", "moved": "put", "written": "moved"}[beginning]
    shutil.copytree(template(before, rows), folder)
    at = Tree.at(folder)
    if beginning == "put":
        steps_of(at)["shadow.put"].run(at)
        remove(at.shadow)  # of no more use, and the largest file of all
    elif beginning == "moved":
        for name in SERVICES:
            steps_of(at)[f"cutover.{name}"].run(at)
    else:
        with closing(opened(at.path("root"), writable=True)) as unified:
            write_unified(unified, TASK, "put", "task0", "later")
            write_unified(unified, BLOCK, "put", "block8", "new")
            write_unified(unified, VECTOR, "delete", "vector0", "")
    return folder


def schema_of(connection: apsw.Connection) -> set[object]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@functools.cache
def schemas_of(folder: Path) -> dict[str, set[object]]:
    """Return the schema of each legacy database of a template."""
    found = {}
    for source in ("root", "legacy", "vector"):
        with closing(opened(Tree.at(folder).path(source), writable=False)) as connection:
            found[source] = schema_of(connection)
    return found


def steps_of(at: Tree, gates: dict[str, Gate] | None = None) -> dict[str, Step]:
    gates = gates or {name: Gate(name, at) for name in SERVICES}
    way = live_way(gates, Limits(hold_s=0.5, attempts=2, pause_s=0.0))  # type: ignore[arg-type]
    return {step.name: step for step in (*way.forward, *way.keeping)}


# What services write -----------------------------------------------------------------------------


def write_unified(
    unified: apsw.Connection, collection: str, how: str, key: str, value: str
) -> None:
    """Write as the unified services do; a row that is not there is made, one that is changed."""
    query = f"SELECT 1 FROM {unified_table(collection)} WHERE id = ?"
    there = unified.execute(query, (key,)).fetchone() is not None
    with transaction(unified):
        if collection == ROOT:
            unified.execute(
                "DELETE FROM task_contexts WHERE id = ?1 AND ?2 IS NOT NULL"
                if how == "delete"
                else "INSERT INTO task_contexts (id, title) VALUES (?1, ?2)"
                " ON CONFLICT (id) DO UPDATE SET title = ?2",
                (key, value),
            )
        elif collection == TASK:
            if how == "delete":
                if there:
                    tasks.delete(unified, key)
            elif there:
                tasks.change(unified, key, {"title": value})
            else:
                tasks.create(
                    unified, key,
                    {"title": value, "description": None, "status": "pending", "priority": "low"},
                )  # fmt: skip
        else:
            if there:
                (memories if collection == BLOCK else vectors).delete(unified, key)
            if how == "put" and collection == BLOCK:
                memories.create(unified, key, {"content": value, "type": "note", "timestamp": "t"})
            elif how == "put":
                embedded = Embedded(np.ones(2, dtype=np.float32), "m")
                vectors.store(
                    unified, embedded, identifier=key, content=value, kind="note", metadata=None
                )


def write_legacy(legacy: apsw.Connection, collection: str, how: str, key: str, value: str) -> None:
    """Write as an unmodified service does; apsw.ConstraintError where a fence is set."""
    _, table, column = TABLES[collection]
    values = {"id": key, column: value}
    if collection == BLOCK:
        values |= {"type": "note", "timestamp": "t"}
    others = ""
    if collection == VECTOR:
        others = ", type, embedding_vector, dimensions, model_id"
    marks = ", 'note', x'0000803f', 1, 'm'" if others else ""
    names = ", ".join(values)
    given = ", ".join(f":{name}" for name in values)
    insert = f"INTO {table} ({names}{others}) VALUES ({given}{marks})"
    statements = {
        "put": f"INSERT {insert} ON CONFLICT (id) DO UPDATE SET {column} = :{column}",
        "replace": f"INSERT OR REPLACE {insert}",
        "delete": f"DELETE FROM {table} WHERE id = :id",
    }
    legacy.execute(statements[how], values)


def unified_table(collection: str) -> str:
    return _UNIFIED_TABLE.get(collection, TABLES[collection][1])


def stored_in(where: apsw.Connection, collection: str, table: str) -> list[tuple[str, str]]:
    found = where.execute(
        f"SELECT id, {TABLES[collection][2]} FROM {table} WHERE substr(id, 1, ?) = ?",
        (len(collection), collection),
    ).fetchall()
    return sorted((str(key), str(text)) for key, text in found)
