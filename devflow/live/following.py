"""The unified database opened beside the live ones that it follows, which are only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from devflow.live import capture
from devflow.live.applying import forget
from devflow.migration.database import open_source, open_writable, uri
from devflow.migration.errors import MigrationError
from devflow.migration.tree import SOURCES, Tree

__all__ = ["begin_capture", "check_unbroken", "end_capture", "following", "take_capture_out"]


@contextmanager
def following(tree: Tree, unified: Path) -> Iterator[apsw.Connection]:
    """Open `unified` for writing, with each live source attached as `src_<source>`."""
    with closing(open_writable(unified)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for source in SOURCES:
            path = tree.path(source)
            is_there = path != unified and tree.has_database(source)
            # A transaction here must never lock a source: a writable attachment would.
            where = uri(path, mode="ro") if is_there else ":memory:"
            connection.execute(f"ATTACH ? AS src_{source}", (where,))
        yield connection


def begin_capture(tree: Tree) -> dict[str, int]:
    """Note from now on what is written to any source; return how many tables are followed.

    Raises `MigrationError`, with nothing changed, where no trigger could follow a table.
    """
    there = [source for source in SOURCES if tree.state(source) == "sqlite"]
    for source in there:
        with closing(open_source(tree.path(source))) as connection:
            _refuse_unfollowed(tree, source, connection)
    tables = 0
    for source in there:
        with closing(open_writable(tree.path(source))) as connection:
            tables += capture.install(connection)
    return {"tables followed": tables}


def _refuse_unfollowed(tree: Tree, source: str, connection: apsw.Connection) -> None:
    names = [] if source == "root" else capture.unfollowed(connection)
    if names:
        text = (
            f"{tree.path(source)} has the virtual table {names[0]!r}, and what is written to it"
            " cannot be followed; stop the services and migrate at rest"
        )
        raise MigrationError("not-followed", text)


def check_unbroken(tree: Tree, captured: Mapping[str, int]) -> None:
    """Raise `MigrationError` where the notes since the backup have a gap, by source.

    What was approved is the backup; only an unbroken log ties what is there now to it.
    """
    for source, first in captured.items():
        if not tree.has_database(source):
            continue
        with closing(open_source(tree.path(source))) as connection:
            if capture.is_installed(connection) and not capture.is_unbroken(connection, first):
                text = (
                    f"{tree.path(source)}: the notes of what was written since the backup have a"
                    " gap; roll back and begin anew"
                )
                raise MigrationError("log-broken", text, definite=False)


def end_capture(tree: Tree) -> dict[str, int]:
    """Take every trace of the capture and of the drains out of the sources, the fence included."""
    databases = 0
    for source in SOURCES:
        if tree.has_database(source):
            with closing(open_writable(tree.path(source))) as connection:
                forget(connection)
                if capture.is_installed(connection):
                    capture.remove(connection)
                    databases += 1
    return {"databases": databases}


def take_capture_out(copy: apsw.Connection) -> int:
    """Make of a copy what its source was without a capture; return up to where it had noted."""
    if not capture.is_installed(copy):
        return 0
    noted = capture.high_water_mark(copy)
    capture.remove(copy)
    return noted
