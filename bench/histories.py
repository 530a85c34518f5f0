"""The history checkers at a size: a log that clients of one right copy would write, and its cost.

The clients are those of a real load; what answers them is a dictionary. Each request takes effect
at a drawn moment between its beginning and its end; of some nobody hears again, done or not.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from harness.checkers import downtime, history
from harness.checkers.holdings import holding
from harness.generators.load import COLLECTIONS, Asked, Outcome, Session, Shared
from harness.history import Log, Operation, read_history, told

__all__ = ["OPERATIONS", "history_lines", "invent", "judge", "measure_history"]

OPERATIONS = 500_000
_CLIENTS = 32
_UNSURE = 0.001
_PAGE = 20
_TABLES = {
    "task": ("task_contexts", "title"),
    "memory": ("memory_blocks", "content"),
    "session": ("sessions", "context"),
    "usage": ("synthetic_usage", "model"),
    "vector": ("memory_blocks", "content"),
}

Told = dict[str, Any]


class _Copy:
    """The one copy of all things: what a request does to it, and what an answer shows."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, str]] = {each.name: {} for each in COLLECTIONS}
        self._latest: dict[str, deque[str]] = {
            each.name: deque(maxlen=_PAGE) for each in COLLECTIONS
        }

    def ask(self, asked: Asked) -> Outcome:
        """Do what is asked, at once."""
        name, key = asked.collection.name, asked.key
        mine = self.things[name]
        if key is None:
            shown = [(each, told(mine[each])) for each in self._latest[name] if each in mine]
            return Outcome("ok", 200, saw=tuple(shown))
        if asked.kind != "create" and key not in mine:
            return Outcome("ok", 200 if asked.kind == "search" else 404, saw=((key, None),))
        if asked.kind == "delete":
            del mine[key]
            return Outcome("ok", 200)
        if asked.words is not None:
            mine[key] = asked.words
            if asked.kind == "create":
                self._latest[name].append(key)
            return Outcome("ok", 200, acknowledged=key, saw=((key, told(asked.words)),))
        return Outcome("ok", 200, saw=((key, told(mine[key])),))


class _Sent(NamedTuple):
    """A request under way: ordered by its next moment."""

    at_ns: int
    order: int
    session: Session
    asked: Asked | None = None
    number: int = -1
    came: Outcome | None = None


def invent(folder: str, operations: str, seed: str) -> Told:
    """Write `log.jsonl` and `unified.sqlite` into a folder."""
    began = time.perf_counter()
    rng = random.Random(f"history {seed}")  # noqa: S311 - drawn again
    log = Log.begin(Path(folder) / "log.jsonl", prefix="bench-", seed=int(seed))
    copy, shared = _Copy(), Shared()
    services = {each.service for each in COLLECTIONS}
    orders, numbers = itertools.count(), iter(range(int(operations)))
    sessions = [
        Session(n, seed=int(seed), prefix="bench-", services=services, shared=shared)
        for n in range(_CLIENTS)
    ]
    under_way = [_Sent(rng.randrange(10**6), next(orders), each) for each in sessions]
    heapq.heapify(under_way)
    while under_way:
        sent = heapq.heappop(under_way)
        after_ns = sent.at_ns + rng.randrange(100_000, 3_000_000)
        moved = _moved(sent, log, copy, numbers, rng)
        if moved is not None:
            heapq.heappush(under_way, moved._replace(at_ns=after_ns, order=next(orders)))
    log.close()
    _keep(copy, Path(folder) / "unified.sqlite")
    return {"seconds": time.perf_counter() - began}


def _moved(
    sent: _Sent, log: Log, copy: _Copy, numbers: Iterator[int], rng: random.Random
) -> _Sent | None:
    """Let a request begin, take effect or end; return its next step, None at the end of all."""
    session, asked, came = sent.session, sent.asked, sent.came
    if asked is None:
        number = next(numbers, None)
        if number is None:
            return None
        asked = session.next()
        _write(log, sent._replace(asked=asked, number=number), "invoke")
        return sent._replace(asked=asked, number=number)
    if came is None:
        if rng.random() >= _UNSURE:
            return sent._replace(came=copy.ask(asked))
        if rng.random() < 0.5:
            copy.ask(asked)
        return sent._replace(came=Outcome("info", error="no answer within 10 s"))
    _write(log, sent, came.type)
    session.settled(asked, came)
    return sent._replace(asked=None, came=None)


def _write(log: Log, sent: _Sent, type_: Any) -> None:
    asked, came = sent.asked, sent.came or Outcome("ok")
    if asked is None:
        return
    begins = type_ == "invoke"
    log.append(
        Operation(
            type_, sent.number, sent.session.number, asked.collection.service, asked.kind,
            sent.at_ns,
            asked.collection.name if begins and asked.collection.stored != "" else None,
            asked.key if begins else None, asked.value if begins else None,
            came.status, came.error, came.acknowledged, came.saw,
        )
    )  # fmt: skip


def _keep(copy: _Copy, path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for table, column in dict.fromkeys(_TABLES.values()):
            database.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, {column} TEXT)")
        for name, (table, _) in _TABLES.items():
            database.executemany(f"INSERT INTO {table} VALUES (?, ?)", copy.things[name].items())


def judge(folder: str) -> Told:
    """Read the log and judge it; the seconds of each part."""
    took: Told = {}
    began = time.perf_counter()
    found = read_history(Path(folder) / "log.jsonl")
    took["read_s"] = time.perf_counter() - began
    began = time.perf_counter()
    place = holding(Path(folder) / "unified.sqlite", "unified", prefix=found.start.prefix)
    services = {each.service for each in COLLECTIONS}
    judged = history.check(found, dict.fromkeys(services, place))
    took["history_s"] = time.perf_counter() - began
    began = time.perf_counter()
    felt = downtime.check(found, downtime.Limits(failed_max=len(found.calls)))
    took["downtime_s"] = time.perf_counter() - began
    return {
        **took,
        "seconds": sum(took.values()),
        "operations": len(found.calls),
        "log_mib": (Path(folder) / "log.jsonl").stat().st_size / 2**20,
        "keys": judged.details["keys"],
        "indefinite": judged.details["indefinite"],
        "verdicts": [judged.verdict.value, felt.verdict.value],
        "examined": dict(judged.examined),
    }


def measure_history(
    folder: Path, step: Callable[..., Told | None], *, scale: float, seed: int
) -> list[Told]:
    """Measure at a tenth and at the whole of `OPERATIONS` times `scale`, each as processes."""
    measured = []
    for share in (0.1, 1.0):
        place = folder / f"at-{share}"
        place.mkdir()
        operations = max(100, int(OPERATIONS * scale * share))
        step("invent_history", place, operations, seed)
        judged = step("judge_history", place)
        if judged is None or judged["verdicts"] != ["valid", "valid"]:
            raise SystemExit(f"bench: a right history of {operations:,} was not judged so")
        measured.append(judged)
    return measured


def history_lines(measured: list[Told]) -> Iterator[str]:
    """Yield the figures as plain lines."""
    yield "history, of 32 simulated clients on one right copy: read from its log and judged"
    yield (
        f"  {'operations':>10} {'log':>9} {'read':>8} {'history':>8} {'downtime':>9} {'CPU':>8}"
        f" {'a CPU second':>13} {'peak':>9}"
    )
    for one in measured:
        yield (
            f"  {one['operations']:>10,} {one['log_mib']:>5.0f} MiB {one['read_s']:>6.2f} s"
            f" {one['history_s']:>6.2f} s {one['downtime_s']:>7.2f} s {one['cpu_seconds']:>6.2f} s"
            f" {one['operations'] / one['cpu_seconds']:>13,.0f} {one['own_mib']:>5.0f} MiB"
        )
    small, large = measured[0], measured[-1]
    cost, other = (one["cpu_seconds"] / one["operations"] for one in (large, small))
    yield f"  an operation of the larger one takes {cost / other:.2f} times that of the smaller one"
