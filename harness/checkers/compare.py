"""Two sides compared in bounded memory, every value with its type.

Large sides whose rows are numbered alike are compared where they lie (`aligned`); all others by
digests first (`digests`), and by rows only where those differ.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

import apsw
import numpy as np

from harness.checkers.aligned import aligned, left_over, split
from harness.checkers.digests import Digest, Side, count_rows, digest, encoded_rows
from harness.checkers.pairing import Difference, pair_rows
from harness.checkers.values import Row, encode, raw_select
from harness.checkers.worker import Worker, WorkerError
from harness.errors import InvariantError

__all__ = ["Comparison", "Difference", "Side", "SideError", "compare"]

_BUCKETS_MAX = 65_536
_ROWS_A_BUCKET = 8
_GROUP_BYTES_MAX = 32 * 1024 * 1024
_PARALLEL_ROWS = 100_000
_ALIGNED_ROWS = 5_000


class SideError(Exception):
    """One side's SQL failed; `right` says which."""

    def __init__(self, text: str, *, right: bool) -> None:
        """Keep SQLite's words."""
        super().__init__(text)
        self.right = right


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What a comparison found: exact counts, and as many differences as were asked for."""

    left_rows: int
    right_rows: int
    missing: int = 0
    invented: int = 0
    changed: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """How many rows differ in all."""
        return self.missing + self.invented + self.changed

    def add(self, differences: Iterable[Difference], *, listed_max: int) -> None:
        """Count more differences, and keep them while fewer than `listed_max` are kept."""
        for difference in differences:
            if difference.actual is None:
                self.missing += 1
            elif difference.expected is None:
                self.invented += 1
            else:
                self.changed += 1
            if len(self.differences) < listed_max:
                self.differences.append(difference)


def compare(
    left: Side,
    right: Side,
    *,
    listed_max: int = 25,
    parallel_rows: int = _PARALLEL_ROWS,
    connections: tuple[apsw.Connection, apsw.Connection] | None = None,
    worker: Worker | None = None,
    aligned_rows: int = _ALIGNED_ROWS,
) -> Comparison:
    """Compare two sides as multisets of typed rows; SideError where a side's SQL fails.

    Without a key, and where a key is NULL, rows are matched by content. From `parallel_rows` rows
    on, the right side is read by a second process. `connections` and `worker` are used where they
    are given, so that many comparisons share them.
    """
    if left.key != right.key or len(left.expressions) != len(right.expressions):
        raise InvariantError("two sides of a comparison must have the same columns and key")
    with ExitStack() as stack:
        if connections is None:
            with _speaking_of(right=False):
                ours = stack.enter_context(closing(left.connect()))
            with _speaking_of(right=True):
                connections = ours, stack.enter_context(closing(right.connect()))
        with _speaking_of(right=False):
            rows = count_rows(connections[0], left)
        if rows >= parallel_rows and worker is None:
            worker = stack.enter_context(Worker())
        helper = worker if rows >= parallel_rows else None
        if rows >= aligned_rows and left.row and right.row:
            quick = _aligned(connections, left, right, helper, rows=rows, listed_max=listed_max)
            if quick is not None:
                return quick
        buckets = 1
        while buckets < _BUCKETS_MAX and buckets * _ROWS_A_BUCKET < rows:
            buckets *= 2
        reader: _Here | _There = _Here(connections[1], right, buckets)
        if helper is not None:
            reader = _There(helper, right, buckets)
        return _compare(_Here(connections[0], left, buckets), reader, listed_max=listed_max)


def _aligned(
    connections: tuple[apsw.Connection, apsw.Connection],
    left: Side,
    right: Side,
    worker: Worker | None,
    *,
    rows: int,
    listed_max: int,
) -> Comparison | None:
    """Compare the rows where they lie, each with its namesake; None where that does not do."""
    with _speaking_of(right=True):
        # Alone first: beside the source, a name that is missing might be found there.
        look = raw_select([*right.expressions, right.row or "NULL"], right.source)
        connections[1].execute(f"EXPLAIN {look}").fetchall()
    try:
        first, second = split(connections[0], left)
        if worker:
            worker.ask_left_over(left, right, second)
            over = left_over(left, right, first)
            others = worker.left_over()
        else:
            over, others = left_over(left, right, first), left_over(left, right, second)
        if over is None or others is None:
            return None
        found = aligned(connections, left, right, left_rows=rows, over=over + others)
    except (apsw.Error, WorkerError):
        return None  # the digests will say whose SQL it was
    if found is None:
        return None
    result = Comparison(left_rows=found.left_rows, right_rows=found.right_rows)
    pending: dict[bytes, int] = {}
    _count_in(pending, map(encode, found.left), 1)
    _count_in(pending, map(encode, found.right), -1)
    result.add(_paired(pending, left.key), listed_max=listed_max)
    return result


@dataclass(slots=True)
class _Here:
    """Reads a side in this process, with a worker's manners: ask, then take."""

    connection: apsw.Connection
    side: Side
    buckets: int
    wanted: frozenset[int] = frozenset()

    def ask_digest(self) -> None:
        pass

    def digest(self) -> Digest:
        return digest(self.connection, self.side, buckets=self.buckets)

    def ask_rows(self, wanted: frozenset[int]) -> None:
        self.wanted = wanted

    def rows(self) -> Iterator[bytes]:
        return encoded_rows(self.connection, self.side, buckets=self.buckets, wanted=self.wanted)


@dataclass(slots=True)
class _There:
    """Reads a side in a worker."""

    worker: Worker
    side: Side
    buckets: int

    def ask_digest(self) -> None:
        self.worker.ask_digest(self.side, buckets=self.buckets)

    def digest(self) -> Digest:
        return self.worker.digest()

    def ask_rows(self, wanted: frozenset[int]) -> None:
        self.worker.ask_rows(self.side, buckets=self.buckets, wanted=wanted)

    def rows(self) -> Iterator[bytes]:
        return self.worker.rows()


def _compare(left: _Here, right: _Here | _There, *, listed_max: int) -> Comparison:
    right.ask_digest()
    with _speaking_of(right=False):
        ours = left.digest()
    with _speaking_of(right=True):
        theirs = right.digest()
    result = Comparison(left_rows=ours.rows, right_rows=theirs.rows)
    for wanted in _groups(ours, theirs):
        pending: dict[bytes, int] = {}
        right.ask_rows(wanted)
        left.ask_rows(wanted)
        with _speaking_of(right=False):
            _count_in(pending, left.rows(), 1)
        with _speaking_of(right=True):
            _count_in(pending, right.rows(), -1)
        result.add(_paired(pending, left.side.key), listed_max=listed_max)
    return result


def _groups(ours: Digest, theirs: Digest) -> Iterator[frozenset[int]]:
    """Yield the differing buckets, as many at a time as memory has room for their rows."""
    differing = np.flatnonzero((ours.sums != theirs.sums).any(axis=0)).tolist()
    bucket_bytes = max(ours.size, theirs.size) // ours.sums.shape[1] + 1
    step = max(1, _GROUP_BYTES_MAX // bucket_bytes)
    for start in range(0, len(differing), step):
        yield frozenset(differing[start : start + step])


def _count_in(pending: dict[bytes, int], rows: Iterable[bytes], step: int) -> None:
    for data in rows:
        if count := pending.pop(data, 0) + step:
            pending[data] = count


def _paired(pending: dict[bytes, int], key: tuple[int, ...]) -> list[Difference]:
    rows: tuple[list[Row], list[Row]] = ([], [])
    for data, count in pending.items():
        row = marshal.loads(data)  # noqa: S302 (our own bytes)
        rows[count < 0].extend([row] * abs(count))
    return pair_rows(rows[0], rows[1], key)


@contextmanager
def _speaking_of(*, right: bool) -> Iterator[None]:
    """Turn SQLite's complaint into one that says whose SQL it was."""
    try:
        yield
    except (apsw.Error, WorkerError) as error:
        raise SideError(str(error), right=right) from error
