"""A migrated tree whose writes flow back into copies of its legacy databases, for tests."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from devflow_tree import DATABASES, LegacyTree, Row, database_state, quoted, rows, tables

from devflow.live import reverse
from devflow.live.reverse_log import captured
from devflow.services.costs.recording import Usage, record_usage
from devflow.services.database_manager.coordination import sessions
from devflow.services.database_manager.coordination import work as coordination
from devflow.services.database_manager.legacy import memory as old_memory
from devflow.services.database_manager.legacy import records as old_records
from devflow.services.database_manager.legacy import tasks as old_tasks
from devflow.services.database_manager.memory import work as memory
from devflow.services.database_manager.memory.models import NewBlock as NewMemoryBlock
from devflow.services.database_manager.memory.models import NewEmbedding
from devflow.services.database_manager.tasks import work as tasks
from devflow.services.database_manager.tasks.models import NewTask
from devflow.services.errors import ConflictError, MissingError
from devflow.services.store import Connection
from devflow.services.store import opened as opened_by_service
from devflow.services.vector_memory import blocks as vector_blocks
from devflow.services.vector_memory import legacy as old_vectors
from devflow.services.vector_memory.embedding import Embedded


class Reversed:
    """A tree `before` its migration, `migrated`, and `back`: legacy copies that drains write to."""

    def __init__(self, tree: LegacyTree, folder: Path, *, before: LegacyTree | None = None) -> None:
        """Migrate `tree`, unless `before` tells what it was before that."""
        self.folder = folder
        self.before = before or tree.copy(folder / "before")
        self.back = self.before.copy(folder / "back")
        self.migrated = tree
        if before is None:
            tree.apply()
        self.unified: Connection = opened_by_service(tree.root, writable=True)
        reverse.install(self.unified)

    @property
    def sidecar(self) -> Path:
        return self.folder / "sidecar.sqlite"

    @contextmanager
    def connections(self) -> Iterator[tuple[dict[str, apsw.Connection], apsw.Connection]]:
        with ExitStack() as stack:

            def opened(path: Path) -> apsw.Connection:
                connection = apsw.Connection(str(path))
                stack.callback(connection.close)
                connection.execute("PRAGMA synchronous = OFF")
                return connection

            found = {
                name: opened(self.back.path(name))
                for name in DATABASES
                if self.back.path(name).exists() and self.back.path(name).stat().st_size
            }
            yield found, opened(self.sidecar)

    def drain(self, limit_rows: int | None = None) -> reverse.Drained:
        with self.connections() as (legacy, sidecar):
            return reverse.drain(self.unified, legacy, sidecar=sidecar, limit_rows=limit_rows)

    def drain_some(
        self,
        legacy: dict[str, apsw.Connection],
        sidecar: apsw.Connection,
        limit_rows: int,
        sources: set[str],
    ) -> None:
        """Drain to some of the databases, as if a crash had kept it from the others."""
        reverse.drain(self.unified, legacy, sidecar=sidecar, limit_rows=limit_rows, sources=sources)

    def begin_again(self) -> None:
        """Put the legacy databases back to what they were, and forget what was kept."""
        shutil.rmtree(self.back.directory)
        self.sidecar.unlink(missing_ok=True)
        self.back = self.before.copy(self.folder / "back")

    def rows_back(self) -> dict[str, dict[str, list[Row]]]:
        """Return the legacy rows without the rowids, which follow the order of the drains."""
        return {
            name: {
                table: sorted(
                    rows(self.back.path(name), f"SELECT * FROM {quoted(table)}"), key=repr
                )
                for table in tables(self.back.path(name))
                if table != "sqlite_sequence"
            }
            for name in DATABASES
        }

    def forget(self) -> None:
        with self.connections() as (legacy, _):
            for connection in legacy.values():
                reverse.forget(connection)

    def write(self, work: Callable[[Connection], Any]) -> Any:
        """Do as a service does: in a transaction, taken back where the service refuses."""
        self.unified.execute("BEGIN IMMEDIATE")
        try:
            answer = work(self.unified)
        except (ConflictError, MissingError, apsw.ConstraintError):
            self.unified.execute("ROLLBACK")
            return None
        self.unified.execute("COMMIT")
        return answer

    def touch_everything(self) -> int:
        """Note every row as written, though none was changed; return how many there are."""
        for table, key in captured(self.unified).items():
            self.unified.execute(
                f"INSERT INTO reverse_log (target, key) SELECT '{table}', {key or 'NULL'}"
                f" FROM {quoted(table)}"
            )
        found = self.unified.execute("SELECT count(*) FROM reverse_log").fetchall()
        return int(str(found[0][0]))

    def states(self) -> dict[str, object]:
        return {name: database_state(self.back.path(name)) for name in DATABASES}

    def states_before(self) -> dict[str, object]:
        return {name: database_state(self.before.path(name)) for name in DATABASES}

    def close(self) -> None:
        self.unified.close()


# What the services write -------------------------------------------------------------------------


class Writer:
    """Writes at random as the services do; `choose` picks one of several things."""

    def __init__(self, reversed_: Reversed, choose: Callable[[list[Any]], Any]) -> None:
        self.reversed = reversed_
        self.choose = choose
        self.told: list[str] = []

    def write(self) -> None:
        """Do one thing at random."""
        kind = self.choose(sorted(OPERATIONS))
        self.told.append(kind)
        OPERATIONS[kind](self)

    def do(self, work: Callable[[Connection], Any]) -> Any:
        return self.reversed.write(work)

    def key(self, table: str, column: str = "id") -> str:
        """Return one of the keys that are there, or one of none."""
        found = rows(self.reversed.unified, f"SELECT {column} FROM {table} ORDER BY rowid")
        texts = [bytes(row[0][1]).decode("utf-8", "replace") for row in found if row[0][1]]
        return str(self.choose([*texts[-30:], *texts[:10], "no such thing"]))

    def text(self) -> str:
        return str(self.choose(["", "plain", "é 世 😀", "two\nlines", "a\0b", "007", "  blanks "]))

    @property
    def fresh(self) -> str:
        return str(self.choose([uuid.uuid4().hex, self.key("task_contexts"), "007", "Id", "id"]))


def _old_task(w: Writer) -> None:
    given = {
        "title": w.text() or "t",
        "description": w.choose([None, w.text()]),
        "status": w.choose(["pending", "in_progress", "completed", "waiting", "blocked"]),
        "priority": w.choose(["medium", "urgent", "P0", "l-"]),
    }
    w.do(lambda c: old_tasks.create(c, w.fresh, given))


def _change_old_task(w: Writer) -> None:
    given: dict[str, Any] = w.choose(
        [
            {},
            {"status": "in_progress"},
            {"status": "done", "priority": "low"},
            {"title": w.text() or "t"},
            {"description": None},
            {"priority": "whatever"},
        ]
    )
    w.do(lambda c: old_tasks.change(c, w.key("task_contexts"), given))


def _task(w: Writer) -> None:
    parent = w.choose([None, w.key("task_contexts")])
    told = NewTask(title=w.text() or "t", description=w.choose([None, w.text()])).model_dump()
    w.do(lambda c: tasks.create(c, {**told, "parent_task_id": parent, "complexity_score": 0.25}))


def _change_task(w: Writer) -> None:
    given: dict[str, Any] = w.choose(
        [{"title": w.text() or "t"}, {"branch_name": "main"}, {"priority": "h-"}]
    )
    w.do(lambda c: tasks.change(c, w.key("task_contexts"), given))


def _block(w: Writer) -> None:
    told = NewMemoryBlock(
        task_id=w.key("task_contexts"),
        session_id="monday",
        block_type="decision",
        label="l",
        content=w.text(),
    ).model_dump()
    w.do(lambda c: memory.create(c, told))


def _change_block(w: Writer) -> None:
    given: dict[str, Any] = w.choose(
        [
            {"content": w.text()},
            {"label": "another"},
            {"metadata": {"a": w.text()}},
            {"importance_score": 0.75},
            {"block_type": "debugging"},
        ]
    )
    # That an earlier attempt brought a block is told by its metadata alone.
    own = "" if "metadata" not in given else " WHERE metadata IS NULL OR metadata NOT LIKE '%orig%'"
    w.do(lambda c: memory.change(c, w.key(f"memory_blocks{own}"), given))


def _embedding(w: Writer) -> None:
    told = NewEmbedding(model=w.choose(["m", "n"]), embedding=[0.5, 1.0]).model_dump()
    w.do(lambda c: memory.add_embedding(c, w.key("memory_blocks"), told))


def _delete_embedding(w: Writer) -> None:
    def work(c: Connection) -> None:
        block = w.key("memory_block_embeddings", "block_id")
        name = c.execute(
            "SELECT id FROM memory_block_embeddings WHERE block_id = ?", (block,)
        ).fetchone()
        memory.delete_embedding(c, block, str(name[0]) if name else "none")

    w.do(work)


def _vector(w: Writer) -> None:
    vector = np.array([1.0, 2.0, float(w.choose([3, 4]))], dtype=np.float32)
    w.do(
        lambda c: old_vectors.store(
            c,
            Embedded(vector, w.choose(["m", "unknown"])),
            identifier=w.choose([None, w.fresh]),
            content=w.text(),
            kind=w.choose(["note", "decision", "é"]),
            metadata=w.choose([None, {"a": "é😀", "b": [1, 2.5, None]}, "text", []]),
        )
    )


def _vector_block(w: Writer) -> None:
    new = vector_blocks.NewBlock(
        id=None, task_id=w.choose([None, w.key("task_contexts")]), session_id="s",
        block_type="context", label="l", content=w.text(), metadata="{}",
    )  # fmt: skip
    w.do(lambda c: vector_blocks.add_block(c, new, Embedded(np.ones(2, dtype=np.float32), "m")))


def _usage(w: Writer) -> None:
    given = {
        "id": w.choose([None, w.fresh]), "provider": "p", "agent_type": "a", "duration_ms": 5,
        "model": w.choose([None, "gpt-4o"]), "tokens_in": w.choose([None, 7]), "tokens_out": 3,
        "cost_usd": w.choose([None, 0.25]),
    }  # fmt: skip
    w.do(lambda c: old_records.create_usage(c, given))


def _any_usage(w: Writer) -> None:
    told = Usage(
        provider="openai", agent_type="embedder", model="gpt-4o", tokens_in=9, tokens_out=9
    )
    w.do(lambda c: record_usage(c, told))


def _session(w: Writer) -> None:
    given = {"name": "n", "context": w.choose([None, w.text()]), "metadata": w.text()}
    w.do(lambda c: old_records.create_session(c, w.fresh, given))


def _change_session(w: Writer) -> None:
    w.do(lambda c: sessions.change(c, w.key("sessions"), {"name": "renamed"}))


def _coordinate(w: Writer) -> None:
    def work(c: Connection) -> None:
        c.execute(
            "INSERT INTO coordination_sessions (id, task_id, platform) VALUES (?, ?, 'cursor')",
            (uuid.uuid4().hex, _any_task(c)),
        )

    w.do(work)


def _any_task(c: Connection) -> str:
    query = "SELECT id FROM task_contexts WHERE length(id) = 32 ORDER BY seq DESC LIMIT 1"
    return str((c.execute(query).fetchone() or ["none"])[0])


def _end_session(w: Writer) -> None:
    told = {"status": "completed", "usage": None, "user_satisfaction": 4}
    w.do(lambda c: coordination.end(c, w.key("coordination_sessions"), told))


def _entity(w: Writer) -> None:
    name = w.text()

    def work(c: Connection) -> None:
        c.execute(
            "INSERT INTO knowledge_entities (entity_type, name, extraction_source)"
            " VALUES ('technology', ?, '[]')"
            " ON CONFLICT DO UPDATE SET usage_count = usage_count + 1",
            (name,),
        )

    w.do(work)


def _replace(w: Writer) -> None:
    def work(c: Connection) -> None:
        c.execute(
            "INSERT OR REPLACE INTO sessions (id, name, created_at, updated_at)"
            " SELECT id, 'replaced', created_at, updated_at FROM sessions WHERE seq NOT IN"
            " (SELECT seq FROM origin_root_sessions) ORDER BY seq LIMIT 1"
        )

    w.do(work)


def _budget(w: Writer) -> None:
    def work(c: Connection) -> None:
        c.execute(
            "INSERT INTO cost_budgets (id, name, period, limit_nanousd, created_at, updated_at)"
            " VALUES (?, 'b', 'day', 5, 'now', 'now')",
            (uuid.uuid4().hex,),
        )

    w.do(work)


OPERATIONS: dict[str, Callable[[Writer], None]] = {
    "old task": _old_task,
    "change old task": _change_old_task,
    "delete old task": lambda w: w.do(lambda c: old_tasks.delete(c, w.key("task_contexts"))),
    "task": _task,
    "change task": _change_task,
    "move task": lambda w: w.do(
        lambda c: tasks.move(c, w.key("task_contexts"), w.choose(["active", "archived"]))
    ),
    "delete task": lambda w: w.do(lambda c: tasks.delete(c, w.key("task_contexts"))),
    "old memory": lambda w: w.do(
        lambda c: old_memory.create(
            c,
            w.fresh,
            {"content": w.text(), "type": w.choose(["note", "decision"]), "timestamp": None},
        )
    ),
    "delete old memory": lambda w: w.do(lambda c: old_memory.delete(c, w.key("memory_blocks"))),
    "old embedding": lambda w: w.do(
        lambda c: old_memory.add_embedding(c, w.key("memory_blocks"), model="m", vector=[1.0, 2.0])
    ),
    "block": _block,
    "change block": _change_block,
    "read block": lambda w: w.do(lambda c: memory.touch(c, w.key("memory_blocks"))),
    "delete block": lambda w: w.do(lambda c: memory.delete(c, w.key("memory_blocks"))),
    "embedding": _embedding,
    "delete embedding": _delete_embedding,
    "vector": _vector,
    "delete vector": lambda w: w.do(lambda c: old_vectors.delete(c, w.key("memory_blocks"))),
    "vector block": _vector_block,
    "usage": _usage,
    "any usage": _any_usage,
    "session": _session,
    "change session": _change_session,
    "coordinate": _coordinate,
    "end session": _end_session,
    "entity": _entity,
    "replace": _replace,
    "budget": _budget,
}


# What a client sees ------------------------------------------------------------------------------

_SEEN = (
    *("task_contexts", "memory_blocks", "memory_block_embeddings", "coordination_sessions"),
    *("session_audit_log", "sessions", "synthetic_usage", "platform_performance"),
    *("cost_analytics", "knowledge_entities", "entity_relationships", "cost_budgets"),
)


def seen(unified: Path | apsw.Connection) -> dict[str, list[Row]]:
    """Return what services read, by table: without keys that each migration gives anew."""
    found = {}
    for table in _SEEN:
        names = [
            str(row[0][1], "utf-8")  # type: ignore[call-overload]
            for row in rows(unified, f"SELECT name FROM pragma_table_xinfo('{table}')")
        ]
        left_out = {"seq", "legacy_values"} | ({"id"} if table.endswith("_embeddings") else set())
        kept = [name for name in names if name not in left_out]
        # A memory whose vector was taken away comes back with an empty one.
        which = "WHERE length(embedding)" if table == "memory_block_embeddings" else ""
        listed = rows(unified, f"SELECT {', '.join(map(quoted, kept))} FROM {table} {which}")
        found[table] = sorted((_as_json(row, kept) for row in listed), key=repr)
    return found


def _as_json(row: Row, names: list[str]) -> Row:
    """Return a row with its metadata as what the JSON says: the old services escaped it."""
    at = names.index("metadata") if "metadata" in names else None
    if at is None or row[at][0] != "text":  # type: ignore[index]
        return row
    try:
        return (*row[:at], ("json", json.dumps(json.loads(row[at][1]))), *row[at + 1 :])  # type: ignore[index]
    except ValueError:
        return row


def migrated_again(reversed_: Reversed, folder: Path) -> Path:
    """Migrate the legacy databases as they are now, put back what was kept; return the result."""
    again = reversed_.back.copy(folder)
    again.apply("shadow")
    made = folder / ".devflow-migration" / "unified.sqlite"
    copy = folder / "unified.sqlite"
    shutil.copyfile(made, copy)
    sidecar, unified = apsw.Connection(str(reversed_.sidecar)), apsw.Connection(str(copy))
    try:
        reverse.replay(sidecar, unified)
    finally:
        sidecar.close()
        unified.close()
    return copy
