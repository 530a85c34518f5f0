"""A whole DevFlow tree as plain data, and how it becomes files quickly.

A plan holds rows and statements only, so it can be pickled, shrunk, printed as SQL and put
into a scenario file. The legacy schemas are made once a process, as templates to copy.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from harness.database import quote
from harness.fixture.folder import fixtures_folder
from harness.fixture.tree import LOG, schema_template
from harness.model import DATABASES

__all__ = [
    "DatabasePlan",
    "RawText",
    "Row",
    "TreePlan",
    "Value",
    "literal",
    "materialise",
    "working_directory",
]

_PRINTABLE_LIMIT = 200


@dataclass(frozen=True, slots=True)
class RawText:
    """Text by its bytes, which need not be UTF-8 and may hold NULs."""

    data: bytes


Value = None | int | float | str | bytes | RawText


@dataclass(frozen=True, slots=True)
class Row:
    """A row to insert; a column that is not named takes its default."""

    table: str
    values: Mapping[str, Value]

    def statement(self) -> str:
        """Return the row as one INSERT, which steps back where a constraint is in its way."""
        columns = ", ".join(quote(name) for name in self.values)
        values = ", ".join(literal(value) for value in self.values.values())
        return f"INSERT OR IGNORE INTO {quote(self.table)}({columns}) VALUES ({values})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlan:
    """One legacy database: `missing`, `empty` (zero bytes) or `sqlite` with what it holds.

    `before` runs ahead of the rows and `after` behind them, both as written, with triggers off;
    `wal` leaves everything that was written in the `-wal` file.
    """

    state: str = "sqlite"
    before: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    after: tuple[str, ...] = ()
    wal: bool = False

    def statements(self) -> Iterator[str]:
        """Yield what makes this database out of the legacy schema, in order."""
        yield from self.before
        for row in self.rows:
            yield row.statement()
        yield from self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class TreePlan:
    """A whole DevFlow tree: its databases, its registry log, its configuration files or none."""

    root: DatabasePlan = field(default_factory=DatabasePlan)
    legacy: DatabasePlan = field(default_factory=DatabasePlan)
    vector: DatabasePlan = field(default_factory=DatabasePlan)
    log: bytes | None = None
    configured: bool = False

    def databases(self) -> dict[str, DatabasePlan]:
        """Return the plans of the databases by name."""
        return {"root": self.root, "legacy": self.legacy, "vector": self.vector}


def _printable(text: str) -> bool:
    return len(text) <= _PRINTABLE_LIMIT and text.isprintable()


def literal(value: Value) -> str:  # noqa: PLR0911 - one answer a storage class
    """Return `value` as an SQL literal that gives back its storage class and its bytes."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(int(value))
        case int():
            return str(value)
        case float():
            if math.isinf(value):
                return "9e999" if value > 0 else "-9e999"
            return "NULL" if math.isnan(value) else repr(value)
        case str():
            if _printable(value):
                return "'" + value.replace("'", "''") + "'"
            return literal(RawText(value.encode("utf-8", "surrogatepass")))
        case bytes():
            return f"X'{value.hex()}'"
        case RawText():
            return f"CAST(X'{value.data.hex()}' AS TEXT)"


def working_directory() -> Path:
    """Return where short-lived databases belong: a file system in memory where there is one."""
    shared = Path("/dev/shm")  # noqa: S108 - each user makes a private directory below it
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def connect(path: Path) -> apsw.Connection:
    """Open `path` for writing with triggers and sync off, foreign keys unenforced."""
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def _wal(database: bytes) -> bytes:
    """Return the bytes of a database marked as one in WAL mode."""
    return database[:18] + b"\x02\x02" + database[20:]


def _make(plan: DatabasePlan, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if plan.state == "empty":
        path.touch()
        return
    path.write_bytes(_wal(schema_template(name)))
    statements = list(plan.statements())
    if not statements:
        return
    connection = connect(path)
    if plan.wal:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    settings = [s for s in statements if s.startswith("PRAGMA")]
    for statement in settings:
        connection.execute(statement)
    connection.execute("BEGIN")
    for statement in statements:
        if statement not in settings:
            connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


def materialise(plan: TreePlan, out: Path) -> None:
    """Write `plan` as a DevFlow tree into the new directory `out`."""
    if plan.configured:
        shutil.copytree(fixtures_folder() / "tree", out)
    else:
        out.mkdir(parents=True)
    for name, database in plan.databases().items():
        if database.state != "missing":
            _make(database, name, out / DATABASES[name])
    if plan.log is not None:
        log = out / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(plan.log)
