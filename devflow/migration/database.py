"""How the migration opens, copies and asks SQLite databases."""

from __future__ import annotations

import os
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from devflow.migration.errors import MigrationError

__all__ = [
    "SIDE_FILES",
    "back_up",
    "columns",
    "copy_database",
    "has_table",
    "number",
    "objects",
    "open_source",
    "open_writable",
    "put_log_away",
    "quote",
    "remove",
    "rowid_name",
    "shadows_of",
    "statements",
    "sync_directory",
    "transaction",
    "uri",
    "wait_eagerly",
    "wait_until_free",
]

SIDE_FILES = ("-wal", "-shm", "-journal")
_BUSY_MS = 10_000
_LOOK_S, _LOOK_LATER_S = 0.000_5, 0.005
_SOON = 100
_ROWID_NAMES = ("rowid", "_rowid_", "oid")


def quote(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def uri(path: Path, *, mode: str, immutable: bool = False) -> str:
    """Return the URI by which SQLite opens or attaches `path`."""
    tail = "&immutable=1" if immutable else ""
    return f"file:{urllib.parse.quote(str(path.absolute()))}?mode={mode}{tail}"


def open_writable(path: Path) -> apsw.Connection:
    """Open or create `path` for durable writing; it can attach others by URI."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(uri(path, mode="rwc"), flags=flags)
    connection.set_busy_timeout(_BUSY_MS)
    # Set before any journal mode: WAL with less than EXTRA can lose what was acknowledged.
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


def open_source(path: Path, *, immutable: bool = False) -> apsw.Connection:
    """Open `path` for reading only; `immutable` is for private copies that nobody writes.

    A live database is opened writable and told to refuse writing: only then does SQLite clear
    the side files of its log away when the last connection closes.
    """
    flags = apsw.SQLITE_OPEN_READONLY if immutable else apsw.SQLITE_OPEN_READWRITE
    where = uri(path, mode="ro" if immutable else "rw", immutable=immutable)
    connection = apsw.Connection(where, flags=flags | apsw.SQLITE_OPEN_URI)
    connection.set_busy_timeout(_BUSY_MS)
    connection.execute("PRAGMA query_only = ON")
    return connection


def wait_eagerly(connection: apsw.Connection, wait_s: float) -> None:
    """Wait for each lock for up to `wait_s` seconds, and look for it all the while.

    SQLite's own busy timeout looks ever more seldom, at last every tenth of a second: among others
    who write without a pause it comes too late again and again, and clients wait for it.
    """
    until = 0.0

    def look_again(times: int) -> bool:
        nonlocal until
        if not times:
            until = time.monotonic() + wait_s
        time.sleep(_LOOK_S if times < _SOON else _LOOK_LATER_S)
        return time.monotonic() < until

    connection.set_busy_handler(look_again)


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Run the block in one IMMEDIATE transaction, rolled back when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def wait_until_free(*connections: apsw.Connection) -> None:
    """Wait until each could be written to, one after the other; nothing stays locked.

    Raises `apsw.BusyError` as the connection's own waiting does.
    """
    for connection in connections:
        with transaction(connection):
            pass


def back_up(
    source: apsw.Connection, target: apsw.Connection, *, name: str, deadline_s: float = 30.0
) -> None:
    """Copy all of `source` over `target` in one step, which is one atomic transaction there.

    One step, since page by page a busy writer restarts the copy for ever. Raises
    `MigrationError` when the locks are not to be had within `deadline_s` seconds.
    """
    until = time.monotonic() + deadline_s
    while True:
        try:
            with target.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(-1)
            return
        except (apsw.BusyError, apsw.LockedError) as error:
            if time.monotonic() > until:
                text = (
                    f"{name} is locked by another process for {deadline_s:g} s; stop it and retry"
                )
                raise MigrationError("locked", text, definite=False) from error
            time.sleep(0.05)


def put_log_away(connection: apsw.Connection) -> None:
    """Leave WAL mode if nobody else has the database open: what is written is then written once."""
    connection.set_busy_timeout(0)
    with suppress(apsw.BusyError):
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    connection.set_busy_timeout(_BUSY_MS)


def columns(connection: apsw.Connection, schema: str, table: str) -> dict[str, bool]:
    """Return each column of `table` and whether it is generated; hidden ones are left out."""
    rows = connection.execute(f"PRAGMA {quote(schema)}.table_xinfo({quote(table)})")
    return {str(row[1]): row[6] in (2, 3) for row in rows if row[6] != 1}


def number(
    connection: apsw.Connection, query: str, bindings: Mapping[str, int | None] | None = None
) -> int:
    """Return the one integer that `query` yields."""
    return int(str(connection.execute(query, bindings or {}).fetchall()[0][0]))


def has_table(connection: apsw.Connection, schema: str, table: str) -> bool:
    """Return whether `schema` has an ordinary table of that name with a rowid."""
    try:  # first what SQLite knows by heart: the schema's rows are read one after the other
        connection.execute(f"SELECT rowid FROM {quote(schema)}.{quote(table)} LIMIT 0")
    except apsw.SQLError:
        return False
    # pragma_table_list would compile every view of every schema for each answer.
    found = connection.execute(
        f"SELECT 1 FROM {quote(schema)}.sqlite_master"
        " WHERE type = 'table' AND name = ? AND rootpage > 0",
        (table,),
    )
    return found.fetchone() is not None


def objects(connection: apsw.Connection, schema: str) -> list[tuple[str, str, str, str]]:
    """Return (kind, name, table, sql) of all that somebody created in the attached `schema`.

    The file is asked by itself: beside another schema with a table of the same name, SQLite takes
    a virtual table's shadows for ordinary tables.
    """
    path = connection.db_filename(schema)
    if not path:
        return []
    with closing(open_source(Path(path), immutable=True)) as alone:
        kinds = {str(row[1]): str(row[2]) for row in alone.execute("PRAGMA main.table_list")}
        rows = alone.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
            " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
        ).fetchall()
    found: list[tuple[str, str, str, str]] = []
    for kind, name, table, sql in rows:
        what = kinds.get(str(name)) if kind == "table" else None
        if what != "shadow":
            shown = "virtual table" if what == "virtual" else str(kind)
            found.append((shown, str(name), str(table), str(sql)))
    return found


def shadows_of(connection: apsw.Connection, schema: str, virtual: str) -> list[str]:
    """Return the tables in which the virtual table `virtual` of `schema` keeps what it holds."""
    with closing(open_source(Path(connection.db_filename(schema)), immutable=True)) as alone:
        kinds = [(str(row[1]), row[2]) for row in alone.execute("PRAGMA main.table_list")]
    return [name for name, kind in kinds if kind == "shadow" and name.rpartition("_")[0] == virtual]


def rowid_name(names: Iterator[str] | dict[str, bool]) -> str:
    """Return a name of the rowid that no column of the table has taken."""
    taken = {name.lower() for name in names}
    return next((name for name in _ROWID_NAMES if name not in taken), "")


def statements(script: str) -> list[str]:
    """Split an SQL script into its statements; triggers stay whole."""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and apsw.complete(pending):
            found.append(pending.strip())
            pending = ""
    return found


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a database with its side files, if there."""
    for side in (*SIDE_FILES, ""):
        path.with_name(path.name + side).unlink(missing_ok=True)


def copy_database(source: Path, target: Path, *, name: str) -> str:
    """Copy a live database with its WAL into a new, self-contained file; return its journal mode.

    The target is complete under its own name or not there at all.
    """
    partial = target.with_name(target.name + ".partial")
    remove(partial)
    with closing(open_source(source)) as reader, closing(open_writable(partial)) as writer:
        mode = str(reader.execute("PRAGMA journal_mode").fetchall()[0][0])
        back_up(reader, writer, name=name)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(target)
    sync_directory(target.parent)
    return mode
