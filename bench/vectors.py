"""Vector search as the services do it beside the exact scan of every float32, on the same rows."""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.memories import build_memories, vectors
from bench.migrating import migrate
from devflow.services.store import Connection, Store
from devflow.services.vector_memory.index import Index
from devflow.services.vector_memory.nearest import Asked, nearest

__all__ = ["measure_vectors", "vector_lines"]

_QUERIES = 60
_WANTED = 10
# The plainest exact search that sqlite-vec offers over the table as it is.
_SCAN = (
    "SELECT seq FROM memory_block_embeddings ORDER BY vec_distance_cosine(embedding, ?), seq"
    f" LIMIT {_WANTED}"
)

Told = dict[str, Any]


def measure_vectors(
    *, sizes: tuple[int, ...], seed: int, queries: int = _QUERIES, say: Callable[[str], None]
) -> list[Told]:
    """Return a row for each size: median milliseconds of either search, ratio, recall@10.

    Both answer the same questions in turns. Recall is the share of the scan's ten nearest that
    the services' search found as well.
    """
    measured: list[Told] = []
    for number in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            database = _database(Path(folder), number, seed=seed)
            with Store(database) as store:
                measured.append(_measured(store, number, seed=seed, queries=queries))
        say(f"{number:,} vectors searched")
    return measured


def _database(folder: Path, number: int, *, seed: int) -> Path:
    tree = folder / "tree"
    build_memories(tree, number, seed=seed)
    migrate(str(tree))
    return Path(shutil.move(tree / "devflow.sqlite", folder / "devflow.sqlite"))


def _measured(store: Store, number: int, *, seed: int, queries: int) -> Told:
    index = Index(store)
    began = time.perf_counter()
    index.catch_up()
    indexed_s = time.perf_counter() - began
    scans: list[float] = []
    searches: list[float] = []
    found = 0
    for vector in itertools.islice(vectors(queries, seed=seed + 1), queries):
        exact, took = _timed(store, partial(_scanned, vector=vector))
        scans.append(took)
        quick, took = _timed(store, partial(_searched, index=index, vector=vector))
        searches.append(took)
        found += len(exact & quick)
    scan, search = statistics.median(scans), statistics.median(searches)
    return {
        "vectors": number,
        "queries": queries,
        "scan_ms": scan * 1000,
        "search_ms": search * 1000,
        "ratio": scan / search,
        "recall": found / (queries * min(_WANTED, number)),
        "index_seconds": indexed_s,
    }


def _timed(store: Store, work: Callable[[Connection], set[int]]) -> tuple[set[int], float]:
    began = time.perf_counter()
    seqs = store.read_now(work)
    return seqs, time.perf_counter() - began


def _scanned(connection: Connection, *, vector: np.ndarray) -> set[int]:
    return {row[0] for row in connection.execute(_SCAN, (vector.tobytes(),))}


def _searched(connection: Connection, *, index: Index, vector: np.ndarray) -> set[int]:
    asked = Asked(vector=vector.astype(np.float64), source="memory_block_embeddings AS e")
    hits = nearest(connection, index.reach, asked, _WANTED).hits
    return {hit.seq for hit in hits[:_WANTED]}


def vector_lines(measured: list[Told]) -> Iterator[str]:
    """Yield the figures as plain lines."""
    yield f"vector search, the {_WANTED} nearest of vectors with 768 dimensions, medians"
    header = f"  {'vectors':>9}{'exact scan':>14}{'search':>13}{'ratio':>9}"
    yield f"{header}{'recall@10':>12}{'indexed in':>13}"
    for row in measured:
        yield (
            f"  {row['vectors']:>9,}{row['scan_ms']:>11.1f} ms{row['search_ms']:>10.2f} ms"
            f"{row['ratio']:>8.1f}×{row['recall']:>12.4f}{row['index_seconds']:>11.1f} s"
        )
