"""Writers that no gate stands in front of: scripts and jobs that open a database file themselves.

A gate holds requests; only a lock and a fence hold these. They write to the legacy databases, to
the root and to the registry's log all the while, faster while something is at stake, and keep a
history of their own: what was acknowledged must be kept, and what a fence refused must be nowhere.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import random
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final, Literal, Self

import apsw

from harness.errors import EnvironmentFaultError, InvariantError
from harness.history import History, Log, Operation, read_history, told
from harness.model import DATABASES
from harness.snapshot import REGISTRY_LOG

__all__ = ["ROOT", "Straight"]

ROOT = "root"
"""Under which name, beside the services', the writes to the root stand in the history."""

_PACE_S, _HURRIED_S, _REFUSED_S = 0.02, 0.002, 0.02
_BUSY_S = 10.0
_LIVE: Final = 12
_REST_S = 30.0
_NOTHING_DONE: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CONSTRAINT)
How = Literal["create", "update", "replace", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """One table that is written to, under the collection that its rows are of."""

    source: str
    service: str
    collection: str
    table: str
    value: str
    others: str = ""
    filled: str = ""
    replaces: bool = True

    def statement(self, how: How) -> str:
        """Return SQL with the value as `?1` and the key as `?2`."""
        if how == "update":
            return f"UPDATE {self.table} SET {self.value} = ?1 WHERE id = ?2"
        if how == "delete":
            return f"DELETE FROM {self.table} WHERE id = ?2 AND ?1 IS NOT NULL"
        verb = "INSERT OR REPLACE" if how == "replace" else "INSERT"
        return (
            f"{verb} INTO {self.table} (id, {self.value}{self.others}) VALUES (?2, ?1{self.filled})"
        )


_TABLES: Final = (
    _Table(
        source="legacy", service="database-manager", collection="task", table="task_contexts",
        value="title",
    ),
    _Table(
        source="legacy", service="database-manager", collection="memory", table="memory_blocks",
        value="content", others=", type, timestamp", filled=", 'note', '2025-01-01'",
    ),
    _Table(
        source="vector", service="vector-memory", collection="vector", table="vector_memories",
        value="content", others=", type, embedding_vector, dimensions, model_id",
        filled=", 'note', x'0000803f', 1, 'straight'",
    ),
    # No trigger of full-text search fires for a row that REPLACE displaces: nobody does it there.
    _Table(
        source="root", service=ROOT, collection="root", table="task_contexts", value="title",
        replaces=False,
    ),
)  # fmt: skip


class Straight:
    """Writers straight to the databases of `tree`, with their history in `log`.

    They are a process of their own: one that copies a database's file must not have it open.
    """

    def __init__(self, tree: Path, *, log: Path, seed: int = 1, idle: bool = False) -> None:
        """Nothing is written yet, and never anything where they are `idle`."""
        self.prefix = f"straight{seed}-"
        self._tree, self._seed, self._path, self._idle = tree, seed, log, idle
        self._pipe: Connection | None = None
        self._child: SpawnProcess | None = None
        self.logged = b""

    def __enter__(self) -> Self:
        """Start."""
        services = sorted({table.service for table in _TABLES})
        Log.begin(self._path, prefix=self.prefix, seed=self._seed, services=services).close()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(
            target=_serve, args=(theirs, self._tree, self._path, self._idle), daemon=True
        )
        self._child.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after what is under way."""
        assert self._pipe is not None  # noqa: S101 - it was entered
        assert self._child is not None  # noqa: S101 - it was entered
        self._pipe.close()
        self._child.join(_REST_S)
        if self._child.is_alive():
            self._child.kill()
            self._child.join()

    def hurry(self, hurried: bool) -> None:
        """Write as fast as is sensible while something is at stake."""
        self._tell("hurried", hurried)

    def let_log(self, logging: bool) -> None:
        """Write to the registry's log, or no more: that service has moved."""
        self._tell("logging", logging)

    def rest(self) -> None:
        """Pause all writers; `resume` lets them go on.

        `logged` is then what the registry's log must hold.
        """
        self._tell("going", False)
        assert self._pipe is not None  # noqa: S101 - `_tell` has used it
        if not self._pipe.poll(_REST_S):
            raise EnvironmentFaultError("those who write past the gates did not rest; try it again")
        self.logged = self._pipe.recv()

    def history(self) -> History:
        """Read what was written so far."""
        return read_history(self._path)

    def resume(self) -> None:
        """Go on after `rest`."""
        self._tell("going", True)

    def _tell(self, name: str, value: bool) -> None:
        if self._pipe is None:
            raise InvariantError("nobody writes past the gates yet; enter it first")
        try:
            self._pipe.send((name, value))
        except OSError as error:
            raise EnvironmentFaultError(
                "those who write past the gates have ended; try it again"
            ) from error


# In the process of the writers ---------------------------------------------------------------


@dataclass(slots=True)
class _Control:
    """What the driver lets all writers do."""

    stopping: threading.Event = field(default_factory=threading.Event)
    going: threading.Event = field(default_factory=threading.Event)
    hurried: bool = False
    logging: bool = True


def _serve(pipe: Connection, tree: Path, path: Path, idle: bool) -> None:
    """Write until the pipe is closed, as it says."""
    log, control = Log.join(path), _Control()
    liner = _Liner(tree / REGISTRY_LOG, control)
    writers: list[_Thread] = [
        _Writer(number, source, tree, control, log)
        for number, source in enumerate(DATABASES)
        if (tree / DATABASES[source]).is_file()
    ]
    writers = [] if idle else [*writers, liner]
    control.going.set()
    for writer in writers:
        writer.start()
    with suppress(EOFError, OSError):  # the driver has closed the pipe: the end of it all
        while True:
            name, value = pipe.recv()
            if name == "hurried":
                control.hurried = value
            elif name == "logging":
                control.logging = value
            elif value:
                control.going.set()
            else:
                control.going.clear()
                for writer in writers:
                    writer.resting.wait(_REST_S)
                pipe.send(liner.content)
    control.stopping.set()
    control.going.set()
    for writer in writers:
        writer.join(_REST_S)
    log.close()


class _Thread(threading.Thread, ABC):
    """One writer: does `step` again and again, as its control says."""

    def __init__(self, name: str, control: _Control) -> None:
        super().__init__(name=f"straight-{name}", daemon=True)
        self.control = control
        self.resting = threading.Event()

    @abstractmethod
    def step(self) -> bool:
        """Write once; return whether that was accepted."""

    def run(self) -> None:
        while not self.control.stopping.is_set():
            if not self.control.going.is_set():
                self.resting.set()
                self.control.going.wait()
                self.resting.clear()
                continue
            accepted = self.step()
            pace_s = _HURRIED_S if self.control.hurried else _PACE_S
            time.sleep(pace_s if accepted else max(pace_s, _REFUSED_S))
        self.resting.set()


@dataclass(slots=True)
class _Row:
    key: str
    version: int = 1


class _Writer(_Thread):
    """Writes rows of its own to one database."""

    def __init__(self, number: int, source: str, tree: Path, control: _Control, log: Log) -> None:
        super().__init__(source, control)
        self._source, self._number, self._log = source, number, log
        self._path = tree / DATABASES[source]
        self._tables = [table for table in _TABLES if table.source == source]
        self._live: dict[str, list[_Row]] = {table.collection: [] for table in self._tables}
        self._random = random.Random(f"{log.start.seed} {source}")  # noqa: S311 - drawn again
        self._made = self._sent = 0

    def run(self) -> None:
        with closing(self._opened()) as self._connection:
            super().run()

    def _opened(self) -> sqlite3.Connection | apsw.Connection:
        """Open the database as such a program does: by the SQLite of Python's standard library.

        But for the root: its full-text index is written to by the unified services too, and
        where two versions of FTS5 take turns, words of older rows stay in it (docs/live.md).
        """
        connection: sqlite3.Connection | apsw.Connection
        if self._source == ROOT:
            connection = apsw.Connection(str(self._path))
            connection.set_busy_timeout(round(_BUSY_S * 1000))
        else:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def step(self) -> bool:
        table = self._random.choice(self._tables)
        live = self._live[table.collection]
        how, row = self._drawn(table, live)
        words = f"{row.key} v{row.version}"
        kind = "update" if how == "replace" else how
        number = self._sent * len(DATABASES) + self._number
        self._sent += 1
        asked = Operation(
            "invoke", number, self._number, table.service, kind, self._log.now_ns(),
            table.collection, row.key, None if how == "delete" else told(words),
        )  # fmt: skip
        self._log.append(asked)
        came, error = self._executed(table.statement(how), words, row.key)
        acknowledged = row.key if came == "ok" else None
        self._log.append(
            Operation(
                came, number, self._number, table.service, kind, self._log.now_ns(), error=error,
                acknowledged=acknowledged,
            )
        )  # fmt: skip
        if came == "ok" and how == "create":
            live.append(row)
        elif (came == "ok" and how == "delete") or (came == "info" and how != "create"):
            live.remove(row)
        return came == "ok"

    def _drawn(self, table: _Table, live: list[_Row]) -> tuple[How, _Row]:
        hows: list[How] = ["create", "create", "update", "update", "delete"]
        if table.replaces:
            hows += ["replace", "replace"]
        how = self._random.choice(hows)
        if not live:
            how = "create"
        elif how == "create" and len(live) >= _LIVE:
            how = "delete"
        if how == "create":
            self._made += 1
            prefix = f"{self._log.start.prefix}{table.collection}-"
            return how, _Row(f"{prefix}{self._number}-{self._made}")
        row = self._random.choice(live)
        row.version += 1  # also where it is refused: no value is written twice
        return how, row

    def _executed(
        self, statement: str, words: str, key: str
    ) -> tuple[Literal["ok", "fail", "info"], str | None]:
        try:
            self._connection.execute(statement, (words, key))
        except (sqlite3.Error, apsw.Error) as error:
            code = (getattr(error, "sqlite_errorcode", 0) or getattr(error, "result", 0)) & 0xFF
            return "fail" if code in _NOTHING_DONE else "info", str(error)
        return "ok", None


class _Liner(_Thread):
    """Appends lines to the registry's log, as the legacy registry does at its health checks."""

    def __init__(self, path: Path, control: _Control) -> None:
        super().__init__("registry", control)
        self._path = path
        self.content = path.read_bytes() if path.is_file() else b""
        self._is_there = path.is_file()
        self._made = 0

    def step(self) -> bool:
        if self._is_there and self.control.logging:
            self._made += 1
            line = {
                "timestamp": f"2025-09-19T00:{self._made // 60 % 60:02}:{self._made % 60:02}.000Z",
                "level": "info",
                "service": "model-registry",
                "message": "Health check completed",
                "ollama": self._made % 3 > 0,
                "synthetic": self._made % 2 > 0,
                "active": "ollama",
            }
            return self._append(json.dumps(line).encode() + b"\n")
        return True

    def _append(self, line: bytes) -> bool:
        """Append a line, or as much of it as a full disk takes: that stays there, as of any log."""
        written = 0
        try:
            with self._path.open("ab", buffering=0) as file:
                written = file.write(line)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        self.content += line[:written]
        return written == len(line)
