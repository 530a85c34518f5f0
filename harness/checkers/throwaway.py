"""Writable copies of a database that nobody keeps: no trial can harm the evidence."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from harness.database import load_vectors, open_read_only

__all__ = ["throwaway", "throwaway_schema"]

_IN_MEMORY_BYTES_MAX: Final = 64 * 2**20


@contextmanager
def throwaway(path: Path) -> Iterator[apsw.Connection]:
    """Yield a connection to a private copy of `path`, WAL included, foreign keys not enforced.

    The copy is in memory, or in a temporary file when it is larger than 64 MiB.
    """
    source = open_read_only(path, at_rest=True)
    try:
        with _room(path) as place, contextlib.closing(apsw.Connection(place)) as copy:
            with copy.backup("main", source, "main") as backup:
                backup.step(-1)
            copy.pragma("synchronous", 0)
            copy.pragma("foreign_keys", False)
            load_vectors(copy)
            yield copy
    finally:
        source.close(True)


@contextmanager
def _room(path: Path) -> Iterator[str]:
    if path.stat().st_size <= _IN_MEMORY_BYTES_MAX:
        yield ":memory:"
        return
    with tempfile.TemporaryDirectory(prefix="throwaway-") as folder:
        yield str(Path(folder) / "copy.sqlite")


@contextmanager
def throwaway_schema(source: apsw.Connection) -> Iterator[apsw.Connection]:
    """Yield a private database in memory with the schema of `source` and no rows.

    Tables come first, so that nothing waits for another; what cannot be created is left out.
    """
    statements = source.execute(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND name NOT IN (SELECT name FROM pragma_table_list"
        " WHERE schema = 'main' AND type = 'shadow')"
        " ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, rowid"
    ).fetchall()
    with contextlib.closing(apsw.Connection(":memory:")) as copy:
        load_vectors(copy)
        copy.pragma("foreign_keys", False)
        for (sql,) in statements:
            with contextlib.suppress(apsw.Error):
                copy.execute(str(sql))
        yield copy
