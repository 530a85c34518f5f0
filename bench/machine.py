"""The live migration's state machine as fast as two processes can run it, and what they reached.

The machine itself is a test (tests/devflow/live_machine.py): writes, steps, kills and ways back in
any order, against plain dicts. Here it is only counted; a run that breaks a rule ends the whole.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

__all__ = ["EXAMPLES", "STEPS_MAX", "machine_lines", "measure_machine", "run_machine"]

EXAMPLES = 6_000
STEPS_MAX = 12
"""How many rules a run goes through at most."""
_PROCESSES = 2
_MODULES = Path(__file__).resolve().parent.parent / "tests" / "devflow"
_TOLD = (
    "writes after cutover",
    "writes after cutover and a rollback",
    "kills",
    "backed out",
    "writes refused by a fence",
    "migrated again",
)
Told = dict[str, Any]


def run_machine(examples: str, seed: str) -> Told:
    """Run so many examples in this process; how many runs came to what is in `reached`."""
    sys.path.insert(0, str(_MODULES))
    machine = importlib.import_module("live_machine")
    gc.freeze()  # what was imported is not looked through again at each collection
    began = time.perf_counter()
    run_state_machine_as_test(
        seeded(int(seed))(machine.LiveMachine),
        settings=settings(
            max_examples=int(examples),
            stateful_step_count=STEPS_MAX,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return {"seconds": time.perf_counter() - began, "reached": dict(machine.REACHED)}


def measure_machine(step: Callable[..., Told | None], *, examples: int, seed: int) -> Told:
    """Share the examples among processes; the time is that of all, their start included."""
    shares = [examples // _PROCESSES + (n < examples % _PROCESSES) for n in range(_PROCESSES)]
    began = time.perf_counter()
    with ThreadPoolExecutor(_PROCESSES) as pool:
        done = list(pool.map(lambda n: step("machine", shares[n], seed + n), range(_PROCESSES)))
    took_s = time.perf_counter() - began
    reached: Counter[str] = Counter()
    for one in done:
        if one is None:
            raise SystemExit("bench: the state machine did not end in time; ask for less")
        reached.update(one["reached"])
    runs = reached.pop("runs")
    return {
        "runs": runs,
        "seconds": took_s,
        "per_minute": 60 * runs / took_s,
        "processes": _PROCESSES,
        "reached": dict(reached),
    }


def machine_lines(measured: Told) -> Iterator[str]:
    """Yield the figures as plain lines."""
    yield (
        f"state machine of the live migration: {measured['runs']:,} runs in"
        f" {measured['seconds']:.1f} s by {measured['processes']} processes,"
        f" {measured['per_minute']:,.0f} a minute, none of which lost or doubled a write"
    )
    for what in _TOLD:
        times = measured["reached"].get(what, 0)
        yield f"  {what:<38}{times:>8,} runs {100 * times / measured['runs']:>6.1f} %"
