"""A writable copy of a database that nobody keeps: no trial can harm the evidence."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from harness.database import load_vectors, open_read_only

__all__ = ["throwaway"]

_IN_MEMORY_BYTES_MAX: Final = 64 * 2**20


@contextmanager
def throwaway(path: Path) -> Iterator[apsw.Connection]:
    """Yield a connection to a private copy of `path`, WAL included, foreign keys not enforced.

    The copy is in memory, or in a temporary file when it is larger than 64 MiB.
    """
    source = open_read_only(path, at_rest=True)
    try:
        with tempfile.TemporaryDirectory(prefix="throwaway-") as folder:
            large = path.stat().st_size > _IN_MEMORY_BYTES_MAX
            copy = apsw.Connection(str(Path(folder) / "copy.sqlite") if large else ":memory:")
            try:
                with copy.backup("main", source, "main") as backup:
                    backup.step(-1)
                copy.pragma("synchronous", 0)
                copy.pragma("foreign_keys", False)
                load_vectors(copy)
                yield copy
            finally:
                copy.close(True)
    finally:
        source.close(True)
