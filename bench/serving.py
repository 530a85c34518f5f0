"""Before and after: the same requests to the legacy services and to the unified ones.

Both serve the same memories, the one from its legacy databases, the other from the migrated one.
Their turns alternate, and of each side's the best counts, since whatever else the machine does can
only slow one down. The processor's time that a service took for a request is told beside it, for
it says more where others are at work on the machine.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.load import Rate, Request, Requests, run_load
from bench.memories import MODEL, build_memories, sentence, vectors
from bench.migrating import migrate

__all__ = ["CLIENTS", "SIZES", "measure_serving", "serving_lines", "words_sought"]

SIZES = (1_000, 10_000, 100_000)
CLIENTS = (1, 8)
_ROUNDS = 8
_SAMPLE = 2_000
_WORDS = 16
_START_S = 60.0
_ROOT = Path(__file__).resolve().parent.parent
_LEGACY = "fixtures.services"
_UNIFIED = "devflow.services"

Told = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Side:
    """A service of one side as it runs."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Return the seconds of processor's time that it took so far; 0 where nobody tells."""
        try:
            told = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        except OSError:
            return 0.0
        user, system = map(int, told.split()[11:13])
        return (user + system) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is asked of `service`; `after` where the unified side has a way of its own for it."""

    name: str
    service: str
    before: Requests
    after: Requests | None = None


def operations(number: int, *, seed: int) -> tuple[Operation, ...]:
    """Return the operations on `number` memories."""
    asked = [v.tolist() for v in itertools.islice(vectors(256, seed=seed + 1), 256)]
    words = words_sought(number)

    def insert(n: int) -> Request:
        body = {"id": f"new-{n}", "content": sentence(n), "type": "note"}
        return Request("POST", "/memory", json.dumps(body).encode(), 201)

    def store(n: int) -> Request:
        vector = asked[n % len(asked)]
        body = {"id": f"stored-{n}", "content": sentence(n), "type": "note", "metadata": {"n": n}}
        body |= {"embedding": vector, "model_id": MODEL}
        return Request("POST", "/store", json.dumps(body).encode(), 201)

    def nearest(n: int) -> Request:
        body = {"embedding": asked[n % len(asked)], "limit": 10}
        return Request("POST", "/search", json.dumps(body).encode())

    def read(n: int) -> Request:
        return Request("GET", f"/memory/mem-{n * 7919 % number:07}")

    def listed(n: int) -> Request:
        return Request("GET", f"/memory?limit=50&offset={n % 20 * 10}")

    def found(words: Sequence[str], path: str) -> Requests:
        return lambda n: Request("GET", f"{path}{quote(words[n % len(words)])}&limit=20")

    def searches(kind: str, words: Sequence[str]) -> Iterator[Operation]:
        before = found(words, "/memory/search?q=")
        after = found(words, "/v2/search?in=memory&q=")
        yield Operation(name=f"search {kind} words, same request", service=manager, before=before)
        yield Operation(
            name=f"search {kind} words, by index", service=manager, before=before, after=after
        )

    manager, vector_memory = "database_manager", "vector_memory"
    return (
        Operation(name="insert a memory", service=manager, before=insert),
        Operation(name="read a memory", service=manager, before=read),
        Operation(name="list memories", service=manager, before=listed),
        *(one for kind, some in words.items() for one in searches(kind, some)),
        Operation(name="store text with its vector", service=vector_memory, before=store),
        Operation(name="search vectors", service=vector_memory, before=nearest),
    )


def words_sought(number: int) -> dict[str, list[str]]:
    """Return words of the memories by how many hold them: rare, middling and common ones.

    What is rare is held by one in two hundred at most, what is common by every third at least.
    """
    asked = range(0, number, max(number // _SAMPLE, 1))
    held = Counter(word for n in asked for word in set(sentence(n).split()))
    shares = {word: times / len(asked) for word, times in sorted(held.items())}
    found = {
        "rare": ["walrus", *(word for word, share in shares.items() if share <= 1 / 200)],
        "middling": [word for word, share in shares.items() if 1 / 20 <= share <= 1 / 5],
        "common": [word for word, share in shares.items() if share >= 1 / 3],
    }
    return {kind: words[:: max(len(words) // _WORDS, 1)][:_WORDS] for kind, words in found.items()}


def measure_serving(*, sizes: tuple[int, ...], seed: int, seconds: float, say: Say) -> list[Told]:
    """Measure every operation at each size with each number of clients; one dictionary a row."""
    measured: list[Told] = []
    for number in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            before, after = _trees(Path(folder), number, seed=seed)
            say(f"{number:,} memories built and migrated")
            with _served(before, after) as sides:
                for operation in operations(number, seed=seed):
                    measured += _compare(operation, sides, number, seconds=seconds)
            say(f"{number:,} memories served")
    return measured


def _trees(folder: Path, number: int, *, seed: int) -> tuple[Path, Path]:
    before, after = folder / "before", folder / "after"
    build_memories(before, number, seed=seed)
    shutil.copytree(before, after)
    migrate(str(after))
    return before, after


def _compare(
    operation: Operation, sides: dict[tuple[str, str], Side], number: int, *, seconds: float
) -> Iterator[Told]:
    numbers = itertools.count()
    asked = {"before": operation.before, "after": operation.after or operation.before}
    for clients in CLIENTS:
        rates: dict[str, list[Rate]] = {name: [] for name in asked}
        cpu_s = dict.fromkeys(asked, 0.0)
        for _ in range(_ROUNDS):
            for name, requests in asked.items():
                side = sides[name, operation.service]
                began = side.cpu_s()
                each = seconds / _ROUNDS
                rate = run_load(side.port, requests, numbers, clients=clients, seconds=each)
                cpu_s[name] += side.cpu_s() - began
                rates[name].append(rate)
        told = {name: _best(found, cpu_s[name]) for name, found in rates.items()}
        yield {
            "operation": operation.name,
            "memories": number,
            "clients": clients,
            "ratio": told["after"]["per_second"] / told["before"]["per_second"],
            "cpu_ratio": told["before"]["cpu_us"] / max(told["after"]["cpu_us"], 1e-9),
            **told,
        }


def _best(rates: list[Rate], cpu_s: float) -> Told:
    """Return the fastest round, and the processor's time of a request over all of them."""
    chosen = max(rates, key=lambda rate: rate.per_second)
    requests = sum(rate.requests for rate in rates)
    return {
        **asdict(chosen),
        "per_second": chosen.per_second,
        "cpu_us": 1e6 * cpu_s / requests,
    }


# Processes ---------------------------------------------------------------------------------------


@contextmanager
def _served(before: Path, after: Path) -> Iterator[dict[tuple[str, str], Side]]:
    """Start both sides' services; give each (side, service)."""
    legacy = {
        "database_manager": {"DATABASE_PATH": str(before / "data" / "devflow.sqlite")},
        "vector_memory": {"DATABASE_PATH": str(before / "data" / "vector.sqlite")},
    }
    with ExitStack() as stack:
        sides: dict[tuple[str, str], Side] = {}
        for service, variables in legacy.items():
            port = _free_port()
            command = [sys.executable, "-m", f"{_LEGACY}.{service}", str(port)]
            pid = stack.enter_context(_process(command, port, variables, before))
            sides["before", service] = Side(port, pid)
            port = _free_port()
            command = [sys.executable, "-m", _UNIFIED, service.replace("_", "-"), str(port)]
            unified = {"DEVFLOW_DB_PATH": str(after / "devflow.sqlite")}
            pid = stack.enter_context(_process(command, port, unified, after))
            sides["after", service] = Side(port, pid)
        yield sides


@contextmanager
def _process(command: list[str], port: int, variables: dict[str, str], tree: Path) -> Iterator[int]:
    own = ("DATABASE_PATH", "OPENBLAS_NUM_THREADS")  # what each side decides for itself
    inherited = {k: v for k, v in os.environ.items() if not any(name in k for name in own)}
    environment = {**inherited, **variables, "PYTHONPATH": str(_ROOT)}
    with (tree / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(port, process, tree / f"{port}.log")
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(_START_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"bench: a service did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Words -------------------------------------------------------------------------------------------


def serving_lines(measured: list[Told]) -> Iterator[str]:
    """Yield the table: one line for each operation, size and number of clients."""
    yield (
        "requests a second, before and after (the best of alternating rounds), and the processor's"
        " time that the service took for one"
    )
    yield ""
    header = f"  {'operation':<36}{'memories':>10}{'clients':>9}{'before':>11}{'after':>11}"
    yield header + f"{'ratio':>9}{'µs before':>12}{'µs after':>10}{'ratio':>9}"
    for row in measured:
        slower = "   slower than before" if row["ratio"] < 1 else ""
        yield (
            f"  {row['operation']:<36}{row['memories']:>10,}{row['clients']:>9}"
            f"{row['before']['per_second']:>11,.1f}{row['after']['per_second']:>11,.1f}"
            f"{row['ratio']:>8.2f}×{row['before']['cpu_us']:>12,.0f}{row['after']['cpu_us']:>10,.0f}"
            f"{row['cpu_ratio']:>8.2f}×{slower}"
        )
    slow = sum(row["ratio"] < 1 for row in measured)
    dear = sum(row["cpu_ratio"] < 1 for row in measured)
    yield ""
    yield (
        f"  faster after than before in {len(measured) - slow} of {len(measured)} rows,"
        f" and with less of the processor's time in {len(measured) - dear}"
    )
