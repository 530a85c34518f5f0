"""One database under concurrent requests: a writer that groups commits, readers side by side.

Each process has one writing connection in a thread of its own. What waits there together is
committed together: each piece of work in a savepoint, so that one that fails takes no other
along, and nobody hears of success before the commit is durable. Reading happens in threads, each
with a connection that cannot write, each in one read transaction.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import urllib.parse
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import apsw
import sqlite_vec

from devflow.migration.database import has_table, wait_eagerly
from devflow.services.errors import ConflictError, UnavailableError

__all__ = ["Connection", "Row", "Store", "one", "opened", "rows"]

Connection = apsw.Connection
Row = dict[str, Any]
_Answer = TypeVar("_Answer")
_BUSY_S = 5.0
_TOGETHER_MAX = 256
_CACHE_KIB = 65_536


def opened(path: Path, *, writable: bool) -> Connection:
    """Open the database at `path`, which must exist, with foreign keys and vector functions."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    # Readers open it writable, too, since a WAL needs its side files; query_only holds them back.
    where = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=rw"
    connection = apsw.Connection(where, flags=flags)
    wait_eagerly(connection, _BUSY_S)
    # Before the journal mode: WAL with less than EXTRA can lose what was acknowledged.
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if writable:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    else:
        connection.execute("PRAGMA query_only = ON")
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.enable_load_extension(False)
    return connection


def rows(connection: Connection, sql: str, bindings: Any = ()) -> list[Row]:
    """Return what a SELECT yields, as dictionaries by column name.

    Text that is no UTF-8 comes with replacement characters: the query is then asked once more,
    for the bytes of its texts.
    """
    cursor = connection.execute(sql, bindings)
    names: list[str] = []
    try:
        first = cursor.fetchone()
        if first is None:
            return []
        names = [column[0] for column in cursor.get_description()]
        return [dict(zip(names, row, strict=True)) for row in (first, *cursor.fetchall())]
    except UnicodeDecodeError:
        names = names or [column[0] for column in cursor.get_description()]
        cursor.close(True)
        return _by_bytes(connection, sql, bindings, names)


def _by_bytes(connection: Connection, sql: str, bindings: Any, names: list[str]) -> list[Row]:
    places = [f"c{position}" for position in range(len(names))]
    asked = ", ".join(
        f"typeof({c}), CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END"
        for c in places
    )
    found: list[Row] = []
    for row in connection.execute(
        f"WITH asked ({', '.join(places)}) AS ({sql}) SELECT {asked} FROM asked", bindings
    ):
        typed = zip(row[::2], row[1::2], strict=True)
        values = [v.decode("utf-8", "replace") if kind == "text" else v for kind, v in typed]
        found.append(dict(zip(names, values, strict=True)))
    return found


def one(connection: Connection, sql: str, bindings: Any = ()) -> Row | None:
    """Return the first row that a SELECT yields, or None."""
    found = rows(connection, sql, bindings)
    return found[0] if found else None


@dataclass(slots=True)
class _Work:
    """What waits for the writer: a function of the connection, and where its answer goes."""

    run: Callable[[Connection], Any]
    answer: Future[Any] = field(default_factory=Future)


class Store:
    """The database of one service. Open it with `with`, or call `close` at the end.

    `write` and `read` are awaited by requests; `write_now` and `read_now` are the same for
    threads. A function given to them gets a connection inside a transaction and returns plain
    values; what it raises reaches the caller, and its writes are gone.
    """

    def __init__(
        self, path: Path, *, readers: int = 4, allow: Callable[[Connection], None] | None = None
    ) -> None:
        """Open `path` for writing, and for `readers` threads that read.

        `allow` is asked at the beginning of each writing transaction, and raises to refuse it.
        """
        self.path = path
        self._allow = allow
        self._writer = opened(path, writable=True)
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._thread.start()
        self._own = threading.local()
        self._readers: list[Connection] = []
        self._spare: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._readers_max = readers
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._closed = False

    def __enter__(self) -> Store:
        """Return the store itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Finish what waits, then close every connection."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join()
        self._pool.shutdown()
        for connection in self._readers:
            connection.close()
        self._writer.close()

    # Writing -------------------------------------------------------------------------------------

    async def write(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work` in a transaction; return its answer once that is committed."""
        answer: _Answer = await asyncio.wrap_future(self._submit(work))
        return answer

    def write_now(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Do as `write` does, and block this thread meanwhile."""
        answer: _Answer = self._submit(work).result()
        return answer

    def _submit(self, work: Callable[[Connection], Any]) -> Future[Any]:
        if self._closed:
            raise UnavailableError("the service is stopping; try again in a moment")
        waiting = _Work(work)
        self._waiting.put(waiting)
        return waiting.answer

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            together, last = [first], False
            while len(together) < _TOGETHER_MAX:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                    break
                together.append(following)
            self._commit(together)
            if last:
                return

    def _commit(self, together: list[_Work]) -> None:
        """Run all of it in one transaction; answer once the commit is through."""
        outcomes: list[tuple[_Work, Any, BaseException | None]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            if self._allow is not None:
                self._allow(self._writer)
            for work in together:
                outcomes.append((work, *self._attempt(work)))
            self._writer.execute("COMMIT")
        except Exception as failure:  # each who waits has to hear of it
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            failed = _explained(failure, self._writer)
            outcomes = [(work, None, failed) for work in together]
        for work, answer, error in outcomes:
            if error is None:
                work.answer.set_result(answer)
            else:
                work.answer.set_exception(error)

    def _attempt(self, work: _Work) -> tuple[Any, BaseException | None]:
        self._writer.execute("SAVEPOINT work")
        try:
            answer = work.run(self._writer)
        except Exception as error:  # it is the caller's
            if not self._writer.in_transaction:  # SQLite itself gave the transaction up
                raise
            self._writer.execute("ROLLBACK TO work")
            self._writer.execute("RELEASE work")
            return None, _explained(error, self._writer)
        self._writer.execute("RELEASE work")
        return answer, None

    # Reading -------------------------------------------------------------------------------------

    async def read(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work` in a read transaction of another thread; return its answer."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.read_now, work)

    def read_now(self, work: Callable[[Connection], _Answer]) -> _Answer:
        """Run `work` in a read transaction of this thread; return its answer."""
        connection = self._reader()
        try:
            connection.execute("BEGIN")
            return work(connection)
        except apsw.Error as error:
            raise _explained(error, connection) from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def open_readers(self) -> None:
        """Open now what reading threads open at their first query: who asks first need not wait."""
        while len(self._readers) < self._readers_max:
            self._open_reader()

    def _open_reader(self) -> None:
        connection = opened(self.path, writable=False)
        self._readers.append(connection)
        self._spare.put(connection)

    def _reader(self) -> Connection:
        connection: Connection | None = getattr(self._own, "connection", None)
        while connection is None:
            try:
                connection = self._own.connection = self._spare.get_nowait()
            except queue.Empty:
                self._open_reader()
        return connection


def _explained(error: BaseException, connection: Connection) -> BaseException:
    """Return what a caller can do something with, where SQLite's error tells of no bug of ours."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return UnavailableError("the database is locked by another process; try again")
        case apsw.FullError():
            return UnavailableError("the disk of the database is full; free some of it")
        case apsw.IOError():
            return UnavailableError("the disk of the database fails; see the service's log")
        case apsw.ConstraintError():
            return ConflictError(f"this does not fit what is there: {error}")
        case apsw.SQLError() if not has_table(connection, "main", "migration_facts"):
            return UnavailableError(
                f"{connection.filename} is not the unified database, or not any more: after a way"
                " back, stop this service"
            )
        case _:
            return error
