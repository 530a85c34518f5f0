"""One side of a comparison: its order-free digest by buckets, and the rows of chosen buckets.

Each row is encoded with its types, hashed (XXH3-128) and added to the sum of its key's bucket, so
equal rows in any order give equal sums, and duplicates count. Memory does not grow with the number
of rows. XXH3 is no defence against a forger: what is signed uses other digests.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import numpy.typing as npt
import xxhash

from harness.checkers.values import Row, Value, encode, is_utf8, raw_select, read_rows
from harness.database import open_read_only, quote, typed_expression

__all__ = ["Digest", "Side", "count_rows", "digest", "encoded_rows"]

_BATCH_ROWS_MAX = 512
_BATCH_BYTES = 4 * 1024 * 1024
_ALIAS = "gate_source"
_Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side: the values of its rows as SQL expressions over `source` (what follows FROM).

    Both sides of a comparison have as many expressions, in the same order; `key` are the
    positions of the key's columns, empty where there is no key. `row` is SQL for a number that
    both sides have for one row, where they have one. `textual` are positions of columns in which
    SQLite never stores a number, for they are declared as text.
    """

    path: str
    source: str
    expressions: tuple[str, ...]
    key: tuple[int, ...] = ()
    row: str | None = None
    textual: tuple[int, ...] = ()

    @classmethod
    def table(
        cls,
        path: Path,
        table: str,
        columns: Iterable[str],
        *,
        key: Sequence[int] = (),
        rowid: str | None = None,
        textual: Sequence[int] = (),
    ) -> Side:
        """Return the side that is a table scanned plainly; `rowid` is a name of its rowid."""
        # An alias that no mapping uses, for both sides meet in one query (see `aligned`).
        return cls(
            path=str(path),
            source=f"{quote(table)} AS {_ALIAS}",
            expressions=tuple(f"{_ALIAS}.{quote(column)}" for column in columns),
            key=tuple(key),
            row=f"{_ALIAS}.{rowid}" if rowid else None,
            textual=tuple(textual),
        )

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Side:
        """Return the side whose `asdict` went through JSON."""
        lists = {name: tuple(v) for name, v in told.items() if isinstance(v, list)}
        return cls(**{**told, **lists})

    def connect(self) -> apsw.Connection:
        """Open the side's database for reading; a misspelt name is an error, never a string."""
        connection = open_read_only(Path(self.path), at_rest=True)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        return connection


@dataclass(frozen=True, slots=True)
class Digest:
    """A side's two 64-bit sums for each bucket, its rows and their size in bytes when encoded."""

    sums: _Numbers
    rows: int
    size: int


def count_rows(connection: apsw.Connection, side: Side) -> int:
    """Count a side's rows. Raises apsw.Error."""
    counted = connection.execute(f"SELECT count(*) FROM {side.source}").fetchall()
    return int(str(counted[0][0]))


def digest(connection: apsw.Connection, side: Side, *, buckets: int) -> Digest:
    """Return the order-free digest of a side; `buckets` is a power of two. Raises apsw.Error."""
    try:
        fast = connection.execute(raw_select(side.expressions, side.source))
        return _digest_rows(iter(fast), key=side.key, buckets=buckets)
    except UnicodeDecodeError:
        # The slow way gives good text the same encoding, so the other side need not follow.
        slow = read_rows(connection, side.expressions, side.source)
        return _digest_rows(slow, key=side.key, buckets=buckets)


def _digest_rows(rows: Iterator[Any], *, key: tuple[int, ...], buckets: int) -> Digest:
    # All the work of a batch is done by C loops (map, join, numpy): this is the hot path.
    high = np.zeros(buckets, np.uint64)
    low = np.zeros(buckets, np.uint64)
    mask = np.uint64(buckets - 1)
    count = size = 0
    batch_rows = 16
    while batch := list(islice(rows, batch_rows)):
        encoded = list(map(marshal.dumps, batch, repeat(2)))
        hashes = np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, encoded)), ">u8")
        pairs = hashes.astype(np.uint64).reshape(-1, 2)
        places = _places(batch, key, pairs[:, 1]) & mask
        np.add.at(high, places, pairs[:, 0])
        np.add.at(low, places, pairs[:, 1])
        count += len(batch)
        batch_bytes = sum(map(len, encoded))
        size += batch_bytes
        batch_rows = max(1, min(_BATCH_ROWS_MAX, _BATCH_BYTES * len(batch) // batch_bytes))
    return Digest(np.stack([high, low]), count, size)


def _places(batch: list[Row], key: tuple[int, ...], row_hashes: _Numbers) -> _Numbers:
    """Return a number for each row by which rows of one key meet, whatever side they are on."""
    if not key:
        return row_hashes
    if len(key) == 1:
        position = key[0]
        column: list[Any] = [row[position] for row in batch]
        kinds = set(map(type, column))
        if kinds == {int}:
            return np.array(column, np.int64).view(np.uint64)
        if kinds == {str}:
            column = list(map(str.encode, column, repeat("utf-8"), repeat("surrogateescape")))
        if kinds in ({str}, {bytes}):
            joined = b"".join(map(xxhash.xxh3_64_digest, column))
            return np.frombuffer(joined, ">u8").astype(np.uint64)
    places = row_hashes.copy()
    for n, row in enumerate(batch):
        place = _place([row[position] for position in key])
        if place is not None:
            places[n] = place
    return places


def _place(values: Sequence[Value]) -> int | None:
    """Return the number of one key, 0..2^64-1; None where the key cannot tell rows apart.

    Text and a blob of the same bytes meet, for `encoded_rows` asks with text as bytes.
    """
    if not values or None in values:
        return None
    plain = [v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for v in values]
    if len(plain) == 1:
        value = plain[0]
        if isinstance(value, int):
            return value & 0xFFFF_FFFF_FFFF_FFFF
        if isinstance(value, bytes):
            return xxhash.xxh3_64_intdigest(value)
    return xxhash.xxh3_64_intdigest(marshal.dumps(plain, 2))


def encoded_rows(
    connection: apsw.Connection, side: Side, *, buckets: int, wanted: frozenset[int]
) -> Iterator[bytes]:
    """Yield the encoded rows of the wanted buckets; SQLite asks for the key before the rest."""
    mask = buckets - 1
    hash_bytes = xxhash.xxh3_64_intdigest

    def in_group(*values: Value) -> bool:
        place = _place(values)
        return place is None or place & mask in wanted

    def in_group_single(value: Any) -> bool:
        if value.__class__ is bytes:
            return hash_bytes(value) & mask in wanted
        return in_group(value)

    ask: Callable[..., bool] = in_group_single if len(side.key) == 1 else in_group
    connection.create_scalar_function("in_group", ask, len(side.key), deterministic=True)
    names = [f"c{n}" for n in range(len(side.expressions))]
    columns = ", ".join(f"{e} AS {name}" for e, name in zip(side.expressions, names, strict=True))
    typed = typed_expression if is_utf8(connection) else str
    keys = ", ".join(typed(names[n]) for n in side.key)
    source = f"(SELECT {columns} FROM {side.source}) AS s WHERE in_group({keys})"
    for row in read_rows(connection, names, source):
        data = encode(row)
        place = _place([row[n] for n in side.key])
        if place is None:
            place = int.from_bytes(xxhash.xxh3_128_digest(data)[8:], "big")
        if place & mask in wanted:
            yield data
