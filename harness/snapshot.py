"""A snapshot: our own consistent copy of a DevFlow tree, and digests of what it says.

A digest covers logical content only: schema text, a few pragmas, sequences and every row with
its storage classes, in no order; pages, free space and implicit rowids do not count. Nothing here
opens an original (see `harness.fixture.copy`).
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import apsw

from harness.database import Table, columns_of, open_read_only, quote, row_tables
from harness.errors import BadInputError
from harness.model import DATABASES, Finding
from harness.typed_rows import row_digest, sorted_digest, typed_selects

__all__ = [
    "REGISTRY_LOG",
    "DatabaseFacts",
    "FileState",
    "Snapshot",
    "State",
    "TableFacts",
    "database_digest",
    "database_facts",
    "differences",
    "file_sha256",
]

REGISTRY_LOG = "logs/model-registry.log"
State = Literal["missing", "empty", "sqlite", "file"]
_PRAGMAS = ("user_version", "application_id", "encoding", "auto_vacuum", "page_size")
_SIDE_FILES = ("-wal", "-shm", "-journal")
_MAGIC = b"SQLite format 3\x00"
_FILES_KNOWN_MAX = 64
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class FileState:
    """One file's content and permissions; a symbolic link's content is its target."""

    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table's rows: how many, and their digest in hexadecimal, independent of order."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Everything logical about one database, small enough to keep.

    `schema` maps (type, name) to (tbl_name, sql); `sequences` is `sqlite_sequence`.
    """

    schema: dict[tuple[str, str], tuple[str, str | None]] = field(default_factory=dict)
    pragmas: dict[str, str] = field(default_factory=dict)
    sequences: dict[str, str] = field(default_factory=dict)
    tables: dict[str, TableFacts] = field(default_factory=dict)

    def digest(self, *, content_only: bool = False) -> str:
        """Return a SHA-256 over all of it; `content_only` covers rows and sequences only."""
        content: list[object] = [
            sorted((name, facts.rows, facts.digest) for name, facts in self.tables.items()),
            sorted(self.sequences.items()),
        ]
        if not content_only:
            content += [
                sorted((*key, *value) for key, value in self.schema.items()),
                sorted(self.pragmas.items()),
            ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Snapshot:
    """A directory of our own copies, laid out like a DevFlow tree and at rest."""

    def __init__(self, directory: Path) -> None:
        """Take `directory` as it is; nothing is read yet, and what is read once is kept."""
        self.directory = directory
        self._tables: dict[str, tuple[Table, ...]] = {}
        self._facts: dict[str, DatabaseFacts | None] = {}

    @classmethod
    def of(cls, directory: Path) -> Snapshot:
        """Return the snapshot in `directory`; BadInputError where there is no such directory."""
        if not directory.is_dir():
            raise BadInputError(f"{directory} is not a directory; name one laid out like DevFlow's")
        return cls(directory)

    def path(self, name: str) -> Path:
        """Return where `root`, `legacy`, `vector` or `registry` lies, whether or not it does."""
        return self.directory / (REGISTRY_LOG if name == "registry" else DATABASES[name])

    def state(self, name: str) -> State:
        """Say what lies there; BadInputError where it is no database but should be one."""
        path = self.path(name)
        if not path.is_file():
            return "missing"
        if path.stat().st_size == 0:
            return "empty"
        if name == "registry":
            return "file"
        with path.open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise BadInputError(
                    f"{path} is not an SQLite database; put the database back or take it away"
                )
        return "sqlite"

    def open(self, name: str) -> apsw.Connection:
        """Open the database `name` read-only; it must be there (`state` is `sqlite`)."""
        connection = open_read_only(self.path(name), at_rest=True)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        return connection

    def tables(self, name: str) -> tuple[Table, ...]:
        """Return the row tables of the database `name`; none where it is missing or empty."""
        if name not in self._tables:
            self._tables[name] = self._read_tables(name)
        return self._tables[name]

    def _read_tables(self, name: str) -> tuple[Table, ...]:
        if self.state(name) != "sqlite":
            return ()
        connection = self.open(name)
        try:
            return row_tables(connection)
        finally:
            connection.close()

    def log_lines(self) -> Iterator[bytes]:
        """Yield the registry log's lines without their newline, as bytes."""
        if self.state("registry") == "file":
            with self.path("registry").open("rb") as stream:
                for line in stream:
                    yield line.removesuffix(b"\n")

    def facts(self, name: str) -> DatabaseFacts | None:
        """Return everything logical about the database `name`, None where there is none."""
        if name not in self._facts:
            there = self.state(name) == "sqlite"
            self._facts[name] = database_facts(self.path(name)) if there else None
        return self._facts[name]

    def files(self) -> dict[str, FileState]:
        """Return each file that is none of the three databases, by its relative posix path."""
        databases = {
            place + suffix for place in DATABASES.values() for suffix in ("", *_SIDE_FILES)
        }
        found: dict[str, FileState] = {}
        for path in sorted(self.directory.rglob("*")):
            name = path.relative_to(self.directory).as_posix()
            if name not in databases and (path.is_symlink() or path.is_file()):
                found[name] = _file_state(path)
        return found

    def digest(self) -> str:
        """Return a SHA-256 over every database and file; of modes only who may execute counts."""
        parts: list[object] = []
        for name in DATABASES:
            facts = self.facts(name)
            parts.append((name, self.state(name), facts.digest() if facts else None))
        for path, state in self.files().items():
            parts.append((path, state.sha256, state.mode & 0o111))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _file_state(path: Path) -> FileState:
    if path.is_symlink():
        target = b"link to " + str(path.readlink()).encode()
        return FileState(hashlib.sha256(target).hexdigest(), 0o777)
    return FileState(file_sha256(path), stat.S_IMODE(path.stat().st_mode))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal; OSError where it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def database_digest(path: Path, *, content_only: bool = False) -> str:
    """Return the SHA-256 of one database's logical content, in hexadecimal.

    Row digests are BLAKE2b over typed values, sorted: nobody can make another database of the
    same digest. `content_only` leaves out schema text and pragmas.
    """
    return database_facts(path).digest(content_only=content_only)


def database_facts(path: Path) -> DatabaseFacts:
    """Return everything logical about one of our own copies.

    Backups, what is restored from them and what a second apply leaves are mostly the same bytes:
    of equal files only the first is read, unless one has a WAL or journal that belongs to it.
    """
    for side_file in (path.with_name(path.name + end) for end in ("-wal", "-journal")):
        if side_file.exists() and side_file.stat().st_size:
            return _read_facts(path)
    return _facts_of(_Bytes(file_sha256(path), path))


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A file's content, equal to any other of the same digest, and where it can be read."""

    sha256: str
    path: Path = field(compare=False)


@lru_cache(maxsize=_FILES_KNOWN_MAX)
def _facts_of(file: _Bytes) -> DatabaseFacts:
    return _read_facts(file.path)


def _read_facts(path: Path) -> DatabaseFacts:
    connection = open_read_only(path, at_rest=True)
    try:
        schema = {
            (str(kind), str(name)): (str(table), None if sql is None else str(sql))
            for kind, name, table, sql in connection.execute(
                "SELECT type, name, tbl_name, sql FROM sqlite_master"
            )
        }
        pragmas = {p: str(connection.pragma(p)) for p in _PRAGMAS}
        with path.open("rb") as stream:
            # Byte 18 is the format's write version; asking the pragma would open the WAL.
            pragmas["journal_mode"] = "wal" if stream.read(20)[18:19] == b"\x02" else "rollback"
        sequences: dict[str, str] = {}
        if ("table", "sqlite_sequence") in schema:
            rows = connection.execute("SELECT name, quote(seq) FROM sqlite_sequence ORDER BY 1, 2")
            for name, seq in rows:
                sequences[str(name)] = f"{sequences.get(str(name), '')} {seq}".strip()
        tables = {t.name: _table_facts(connection, t) for t in _content_tables(connection)}
        return DatabaseFacts(schema, pragmas, sequences, tables)
    finally:
        connection.close()


def _content_tables(connection: apsw.Connection) -> Iterator[Table]:
    """Yield the row tables, and what full-text tables without a content table of their own keep."""
    yield from row_tables(connection)
    shadows = connection.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
        " AND name LIKE '%\\_content' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    for name, wr in shadows:
        yield Table(str(name), bool(wr), False, columns_of(connection, str(name)))


def _table_facts(connection: apsw.Connection, table: Table) -> TableFacts:
    expressions = [f"t.{quote(column.name)}" for column in table.columns]
    select = typed_selects(expressions, f"{quote(table.name)} AS t")
    count, digest = sorted_digest(row_digest(row) for row in connection.execute(select))
    return TableFacts(count, digest)


def differences(
    before: Snapshot, after: Snapshot, *, check: str = "rollback", ignored: tuple[str, ...] = ()
) -> list[Finding]:
    """Return one finding for each logical thing that differs, its rule under `check`.

    `ignored` are relative posix paths whose files (or the files below them) may differ.
    """
    found: list[Finding] = []
    for name in DATABASES:
        states = before.state(name), after.state(name)
        if states[0] != states[1]:
            found.append(
                Finding(
                    rule=f"{check}/database-state",
                    cause=f"the {name} database was {states[0]} and is {states[1]}",
                    database=name,
                    expected=states[0],
                    actual=states[1],
                )
            )
        elif (was := before.facts(name)) and (now := after.facts(name)):
            found += database_differences(was, now, database=name, check=check)
    return found + _file_differences(before.files(), after.files(), check=check, ignored=ignored)


def database_differences(
    before: DatabaseFacts, after: DatabaseFacts, *, database: str, check: str
) -> list[Finding]:
    """Return one finding for each schema object, pragma, sequence and table that differs."""
    found: list[Finding] = []
    for (kind, name), was, now in _changes(before.schema, after.schema):
        found.append(
            Finding(
                rule=f"{check}/schema-{_change(was, now)}",
                cause=f"the {kind} {name} {_words(was, now)}",
                database=database,
                table=(was or now or ("",))[0],
                key=name,
                expected=was[1] if was else None,
                actual=now[1] if now else None,
            )
        )
    for what, left, right in (
        ("pragma", before.pragmas, after.pragmas),
        ("sequence", before.sequences, after.sequences),
    ):
        for name, value, other in _changes(left, right):
            found.append(
                Finding(
                    rule=f"{check}/{what}-{_change(value, other)}",
                    cause=f"the {what} {name} {_words(value, other)}",
                    database=database,
                    table=name if what == "sequence" else None,
                    key=None if what == "sequence" else name,
                    expected=value,
                    actual=other,
                )
            )
    for name, old, new in _changes(before.tables, after.tables):
        if old and new:  # a table that is not there at all is a schema finding already
            found.append(
                Finding(
                    rule=f"{check}/rows-changed",
                    cause=f"the rows of {name} are not what they were",
                    database=database,
                    table=name,
                    expected=f"{old.rows} rows, digest {old.digest[:16]}",
                    actual=f"{new.rows} rows, digest {new.digest[:16]}",
                )
            )
    return found


def _file_differences(
    before: dict[str, FileState],
    after: dict[str, FileState],
    *,
    check: str,
    ignored: tuple[str, ...],
) -> list[Finding]:
    found: list[Finding] = []
    for name, was, now in _changes(before, after):
        if any(name == path or name.startswith(path.rstrip("/") + "/") for path in ignored):
            continue
        only_mode = was is not None and now is not None and was.sha256 == now.sha256
        found.append(
            Finding(
                rule=f"{check}/file-mode" if only_mode else f"{check}/file-{_change(was, now)}",
                cause=f"the file {name} has other permissions"
                if only_mode
                else f"the file {name} {_words(was, now)}",
                key=name,
                expected=f"{was.mode:o} {was.sha256[:16]}" if was else None,
                actual=f"{now.mode:o} {now.sha256[:16]}" if now else None,
            )
        )
    return found


def _changes(
    before: dict[_K, _V], after: dict[_K, _V]
) -> Iterator[tuple[_K, _V | None, _V | None]]:
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        if was != now:
            yield key, was, now


def _change(was: object, now: object) -> str:
    return "lost" if now is None else "invented" if was is None else "changed"


def _words(was: object, now: object) -> str:
    if now is None:
        return "is gone"
    return "was not there before" if was is None else "is not what it was"
