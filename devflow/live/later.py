"""Brings what was written since the cutover back with a rollback to the backups.

Nothing notes it: until the cutover is taken back, the unified database as it was switched on lies
in the backup `during`, and comparing every row with it tells what was written. So a migration at
rest needs no trigger in the unified schema. What is to come back is first set aside in a copy, from
which a rollback that was cut off begins again, whatever it had restored by then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import apsw

from devflow.live import full_text, reverse
from devflow.live.reverse_log import fence, note_differences
from devflow.migration.database import (
    copy_database,
    has_table,
    open_source,
    open_writable,
    remove,
    sync_directory,
    uri,
)
from devflow.migration.errors import MigrationError
from devflow.migration.journal import Journal
from devflow.migration.tree import SOURCES, Tree
from devflow.migration.validation import is_unified

__all__ = [
    "SIDECAR",
    "check",
    "clear_away",
    "export",
    "free_path",
    "give_back",
    "newest",
    "put_back",
    "set_aside",
]

SIDECAR = "sidecar.sqlite"
"""What no legacy table could hold, in the directory of the migration, which then stays."""
_COPIES = "later-*.sqlite"


def _copy(tree: Tree) -> Path:
    with closing(Journal(tree.work)) as journal:
        return tree.work / f"later-{journal.run()}.sqlite"


def _base(tree: Tree) -> Path:
    """Return the unified database as it was switched on; raises `MigrationError` if it is gone."""
    base = tree.backup("during") / tree.shadow.name
    if not base.exists():
        text = (
            f"{base} is gone: nothing else tells what was written since the cutover;"
            " restore it, or roll back without keeping writes"
        )
        raise MigrationError("backup-gone", text)
    return base


def check(tree: Tree) -> None:
    """Raise `MigrationError` where later writes could not be kept."""
    if is_unified(tree):
        _base(tree)


def set_aside(tree: Tree) -> dict[str, int]:
    """Copy the unified database, and note in the copy what was written since the cutover.

    Before that the unified database is closed to writes: whatever was acknowledged comes along.
    Nothing is done where it was not switched on, or where the copy is there.
    """
    copy = _copy(tree)
    if copy.exists() or not is_unified(tree):
        return {}
    with closing(open_writable(tree.path("root"))) as connection:
        fence(connection)
    made = copy.with_name(copy.name + ".made")
    rows = _compared(tree, made)
    made.replace(copy)
    sync_directory(tree.work)
    return {"rows": rows}


def _compared(tree: Tree, copy: Path) -> int:
    """Make a copy of the unified database that says what in it was written since the cutover."""
    base = _base(tree)
    remove(copy)
    copy_database(tree.path("root"), copy, name=str(tree.path("root")))
    with closing(open_writable(copy)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        reverse.remove(connection)
        connection.execute("ATTACH ? AS base", (uri(base, mode="ro", immutable=True),))
        return note_differences(connection)


def give_back(tree: Tree) -> dict[str, int]:
    """Write what was set aside into the restored legacy databases, and what is left beside them."""
    copy = _copy(tree)
    if not copy.exists():
        return {}
    made = tree.work / f"{SIDECAR}.made"
    remove(made)  # of an attempt that was cut off: the databases were restored since, too
    with _opened(tree, copy, made) as (unified, legacy, kept):
        in_step = {source: full_text.in_step(connection) for source, connection in legacy.items()}
        done = reverse.drain_all(unified, legacy, sidecar=kept)
        for source, connection in legacy.items():
            reverse.forget(connection)
            full_text.mend(connection, in_step[source])
    if done.kept:
        _put_in_place(made, tree.work / SIDECAR, of=copy.stem)
    else:
        remove(made)
    return {
        "rows written": sum(done.written.values()),
        "rows deleted": sum(done.deleted.values()),
        "rows kept beside": sum(done.kept.values()),
    }


@contextmanager
def _opened(
    tree: Tree, copy: Path, sidecar: Path
) -> Iterator[tuple[apsw.Connection, dict[str, apsw.Connection], apsw.Connection]]:
    with ExitStack() as stack:
        unified = stack.enter_context(closing(open_source(copy)))
        legacy = {
            source: stack.enter_context(closing(open_writable(tree.path(source))))
            for source in SOURCES
            if tree.state(source) == "sqlite"
        }
        kept = stack.enter_context(closing(open_writable(sidecar)))
        yield unified, legacy, kept


def _put_in_place(made: Path, sidecar: Path, *, of: str) -> None:
    """Name the sidecar; one of an earlier rollback, which nobody may have replayed, steps aside."""
    with closing(open_writable(made)) as connection:
        connection.execute("CREATE TABLE made_of (name TEXT NOT NULL)")
        connection.execute("INSERT INTO made_of VALUES (?)", (of,))
    if sidecar.exists() and _made_of(sidecar) != of:
        sidecar.rename(free_path(sidecar))
    made.replace(sidecar)
    sync_directory(sidecar.parent)


def _made_of(sidecar: Path) -> str | None:
    with closing(open_source(sidecar, immutable=True)) as connection:
        if not has_table(connection, "main", "made_of"):
            return None
        return str(connection.execute("SELECT name FROM made_of").fetchall()[0][0])


def free_path(path: Path) -> Path:
    """Return `path`, or where something is there, the same with a number that is free."""
    return next(one for one in _numbered(path) if not one.exists())


def newest(path: Path) -> Path | None:
    """Return the last that `free_path` gave for `path` and that is there, None where none is."""
    there = list(itertools.takewhile(Path.exists, _numbered(path)))
    return there[-1] if there else None


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(1):
        yield path.with_name(f"{path.stem}.{number}{path.suffix}")


def clear_away(tree: Tree) -> bool:
    """Remove the copies once a rollback has ended; return whether a sidecar stays."""
    for path in tree.work.glob(_COPIES + "*"):
        path.unlink(missing_ok=True)
    return (tree.work / SIDECAR).exists()


# To a file, and from one ------------------------------------------------------------------------


def export(tree: Tree, path: Path) -> dict[str, int]:
    """Write what was written since the cutover to a file for `put_back`; return its rows.

    No file is written where nothing was, or where the unified database is not switched on.
    """
    if not Journal.exists(tree.work) or not is_unified(tree):
        return {}
    copy = tree.work / "exported.sqlite"
    try:
        if not _compared(tree, copy):
            return {}
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(open_source(copy)) as unified:
            return reverse.export_later_writes(unified, path)
    finally:
        remove(copy)


def put_back(tree: Tree, path: Path) -> reverse.Replayed:
    """Put what a file of `export` or a sidecar holds into the tree's unified database."""
    if not is_unified(tree):
        text = f"{tree.path('root')} is no unified database; apply the migration first"
        raise MigrationError("not-unified", text)
    if path.is_dir():
        raise MigrationError("not-kept", f"{path} is a folder; name a file of writes in it")
    try:
        with closing(open_source(path, immutable=True)) as sidecar:
            if not has_table(sidecar, "main", "kept"):
                raise MigrationError("not-kept", f"{path} holds no writes that were kept")
            with closing(open_writable(tree.path("root"))) as unified:
                return reverse.replay(sidecar, unified)
    except apsw.CantOpenError as error:
        raise MigrationError("not-kept", f"{path} cannot be opened; name another file") from error
    except apsw.NotADBError as error:
        raise MigrationError("not-kept", f"{path} is no file of writes that were kept") from error
