"""The DevFlow tree that is migrated: where its databases are, and what state each is in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from devflow.migration.database import open_source
from devflow.migration.elsewhere import is_set_up, other_root, probable_roots
from devflow.migration.errors import MigrationError, sqlite_says

__all__ = ["SOURCES", "Tree"]

SOURCES = ("root", "legacy", "vector")
_HEADER_BYTES = 100
_DEFAULTS = {
    "root": "devflow.sqlite",
    "legacy": "data/devflow.sqlite",
    "vector": "data/vector.sqlite",
    "registry": "logs/model-registry.log",
}


@dataclass(frozen=True, slots=True)
class Tree:
    """A DevFlow root directory, and the paths in it by which the migration knows its files."""

    directory: Path
    paths: Mapping[str, str]

    @classmethod
    def at(cls, directory: Path, paths: Mapping[str, str] | None = None) -> Tree:
        """Return the tree at `directory`; `paths` are relative to it and override the defaults."""
        if not directory.is_dir():
            raise MigrationError("no-tree", f"{directory} is no directory; name a DevFlow root")
        try:
            str(directory.resolve()).encode()
        except UnicodeEncodeError as error:
            text = f"{error.object!r} has bytes that are no UTF-8; rename it and retry"
            raise MigrationError("no-tree", text) from error
        if not isinstance(paths or {}, Mapping):
            raise MigrationError("bad-request", "paths must be an object of names and paths")
        unknown = sorted(set(paths or {}) - set(_DEFAULTS))
        if unknown:
            known = ", ".join(_DEFAULTS)
            raise MigrationError("bad-request", f"paths has {unknown[0]!r}; it knows {known}")
        named = {**_DEFAULTS, **(paths or {})}
        for name, path in named.items():
            inside = isinstance(path, str) and not Path(path).is_absolute()
            if not inside or not Path(path).name or ".." in Path(path).parts or "\0" in path:
                text = f"paths.{name} is {path!r}; it must be a file's path inside of the tree"
                raise MigrationError("bad-request", text)
        if len({Path(path) for path in named.values()}) < len(named):
            raise MigrationError("bad-request", "paths names one file twice; each has its own")
        other = other_root(directory.resolve(), named)
        if other is not None:
            raise MigrationError("no-tree", f"{directory} is {other}; name the root")
        return cls(directory.resolve(), named)

    def path(self, name: str) -> Path:
        """Return the file of `root`, `legacy`, `vector` or `registry`."""
        return self.directory / self.paths[name]

    @property
    def work(self) -> Path:
        """The directory for the journal and the shadow while the migration runs."""
        return self.directory / ".devflow-migration"

    @property
    def shadow(self) -> Path:
        """The unified database while it is built."""
        return self.work / "unified.sqlite"

    def backup(self, when: str) -> Path:
        """Return the directory of the backup `before`, `during` or `after`."""
        names = {"before": "pre", "during": "mid", "after": "post"}
        return self.directory / "backups" / f"{names[when]}-unification"

    def state(self, name: str) -> str:
        """Return `missing`, `empty` (zero bytes) or `sqlite` for a source database.

        Raises `MigrationError` when the file is something else.
        """
        path = self.path(name)
        if not path.exists():
            return "missing"
        if not path.is_file():
            raise MigrationError("not-a-database", f"{path} is no file; move it away and retry")
        if not self.has_database(name):
            return "empty"
        if not _is_database(path):
            text = f"{path} is no SQLite database; restore it from a backup or move it away"
            raise MigrationError("not-a-database", text)
        return "sqlite"

    def has_database(self, name: str) -> bool:
        """Return whether a source holds anything: a database, where `check` let it pass."""
        path = self.path(name)
        return _size(path) > 0 or (path.exists() and _size(path.with_name(path.name + "-wal")) > 0)

    def check(self) -> dict[str, str]:
        """Return each source's state, its schema read; raises `MigrationError` where it can't."""
        self._check_links()
        states = {name: self.state(name) for name in SOURCES}
        self.check_place()
        for name, state in states.items():
            if state == "sqlite":
                self._check_readable(name)
        return states

    def check_place(self) -> None:
        """Raise `MigrationError` where nothing says that this is a DevFlow root."""
        found = any(self.path(name).exists() for name in SOURCES)
        if found or is_set_up(self.directory, self.paths["registry"]):
            return
        named = ", ".join(self.paths.values())
        text = (
            f"{self.directory} is no DevFlow root: it has none of {named}, and no configuration"
            " that names one; name the directory that holds them"
        )
        meant = " or ".join(map(str, probable_roots(self.directory, self.paths)))
        raise MigrationError("no-tree", f"{text}, probably {meant}" if meant else text)

    def _check_links(self) -> None:
        """Refuse links where files are removed and restored: a link would come back as a file."""
        data = self.path("legacy").parent
        inside = data.rglob("*") if data != self.directory and data.is_dir() else ()
        for path in (*(self.path(name) for name in SOURCES), data, *inside):
            if path.is_symlink():
                text = f"{path} is a link; put what it names in its place, or move it away"
                raise MigrationError("link", text)

    def _check_readable(self, name: str) -> None:
        path = self.path(name)
        try:
            with closing(open_source(path)) as connection:
                encoding = connection.execute("PRAGMA encoding").fetchall()[0][0]
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except apsw.BusyError as error:
            text = f"{path} is locked by another process; stop it and retry"
            raise MigrationError("locked", text) from error
        except apsw.Error as error:
            text = (
                f"{path} cannot be read ({sqlite_says(error)}); restore it from a backup and retry"
            )
            raise MigrationError("unreadable", text) from error
        if encoding != "UTF-8":
            text = f"{path} is encoded in {encoding}; dump and load it as UTF-8 and retry"
            raise MigrationError("encoding", text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a log is removed by whoever closes its database last
        return 0


def _is_database(path: Path) -> bool:
    """Ask SQLite whether it can be one.

    To look at its first bytes ourselves would do harm: whoever closes a file lets go of every lock
    that the process has on it, those of a connection included that is open elsewhere. Others then
    take its log away, and what it reads and writes from there on is nobody's but its own.
    """
    if 0 < path.stat().st_size < _HEADER_BYTES:
        return False
    try:
        with closing(open_source(path)) as connection:
            connection.set_busy_timeout(0)
            connection.execute("PRAGMA schema_version").fetchall()
    except apsw.NotADBError:
        return False
    except apsw.Error:  # locked or damaged: said by who needs to read it
        return True
    return True
