"""Rows with their storage classes, as SQL yields them, and digests of them in no order."""

from __future__ import annotations

import hashlib
import heapq
import marshal
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

from harness.database import typed_select

__all__ = ["row_digest", "sorted_digest", "typed_selects"]

_FLAG_ROOM = 62
_CHUNK = 200_000


def typed_selects(expressions: list[str], source: str, *, leading: str = "") -> str:
    """Return `typed_select` for any number of expressions: one mask for each 62 of them.

    Each mask is followed by its expressions. `leading` is SQL for columns that come before.
    """
    parts = [
        typed_select(expressions[start : start + _FLAG_ROOM], "").removesuffix(" FROM ")
        for start in range(0, len(expressions), _FLAG_ROOM)
    ]
    columns = ", ".join(part.removeprefix("SELECT ") for part in parts)
    return f"SELECT {leading}{columns} FROM {source}"


def row_digest(row: tuple[Any, ...]) -> bytes:
    """Return the 32 bytes of BLAKE2b over a row of `typed_selects`.

    Marshal's version 2 is a fixed, self-delimiting encoding that keeps 1, 1.0 and -0.0 apart.
    """
    return hashlib.blake2b(marshal.dumps(row, 2), digest_size=32).digest()


def sorted_digest(digests: Iterable[bytes]) -> tuple[int, str]:
    """Count 32-byte digests and hash them sorted: the same for any order.

    At most 200,000 are held in memory at a time; more are sorted in temporary files.
    """
    chunk: list[bytes] = []
    runs: list[IO[bytes]] = []
    count = 0
    total = hashlib.sha256()
    try:
        for digest in digests:
            chunk.append(digest)
            count += 1
            if len(chunk) == _CHUNK:
                runs.append(_spill(chunk))
                chunk = []
        chunk.sort()
        for digest in heapq.merge(chunk, *map(_digests_of, runs)):
            total.update(digest)
    finally:
        for run in runs:
            run.close()
    return count, total.hexdigest()


def _spill(chunk: list[bytes]) -> IO[bytes]:
    chunk.sort()
    run = tempfile.TemporaryFile()  # noqa: SIM115 (closed by sorted_digest)
    run.write(b"".join(chunk))
    run.seek(0)
    return run


def _digests_of(run: IO[bytes]) -> Iterator[bytes]:
    while block := run.read(32 * 4096):
        for start in range(0, len(block), 32):
            yield block[start : start + 32]
