"""`make bench`: measure migration and services, print ratios from this run, keep them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import apsw

from bench.histories import history_lines, measure_history
from bench.knowledge import BLOCKS, knowledge_lines, measure_knowledge
from bench.machine import EXAMPLES, machine_lines, measure_machine
from bench.moves import measure_moves, move_lines
from bench.outcome import lines
from bench.planted import PLANTED
from bench.routing import measure_routing, routing_lines
from bench.serving import SIZES, measure_serving, serving_lines
from bench.vectors import measure_vectors, vector_lines

_TIMES = 3
_SMALL_SHARE = 0.1
_DEADLINE_S = 240.0
_SERVING_S = 2.5
_ROUNDS = 6
_ROOT = Path(__file__).resolve().parent.parent

Told = dict[str, Any]
Part = tuple[Told, Iterable[str]]


def step(name: str, *arguments: object) -> Told | None:
    """Run one step as a process; None where it did not end in time."""
    command = [sys.executable, "-m", "bench.steps", name, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise SystemExit(f"bench: {name} failed: {done.stderr.strip()[-2000:]}")
    told: Told = json.loads(done.stdout.splitlines()[-1])
    return told


def repeated(name: str, *arguments: object, times: int) -> Told | None:
    """Run a step several times; return the one of median duration, of all the highest memory."""
    runs = [run for run in (step(name, *arguments) for _ in range(times)) if run is not None]
    if not runs:
        return None
    middle = statistics.median_low([run["seconds"] for run in runs])
    chosen = next(run for run in runs if run["seconds"] == middle)
    return {**chosen, "peak_mib": max(run["peak_mib"] for run in runs)}


def measure(work: Path, *, scale: float, seed: int, times: int, full: bool) -> Told:
    """Build, migrate, spoil and compare at one scale; `full` asks for the ratios too."""
    before, tree = work / "before", work / "tree"
    measured: Told = {"scale": scale, "build": step("build", before, scale, seed)}
    say(f"built {scale * 1_000_000:,.0f} legacy rows")
    shutil.copytree(before, tree)
    measured["migrate"] = step("migrate", tree)
    if measured["migrate"] is None:
        say(f"the migration did not end within {_DEADLINE_S:.0f} s: nothing to compare")
        return measured
    say(f"migrated in {measured['migrate']['seconds']:.1f} s")
    legacy, unified = before / "data" / "devflow.sqlite", tree / "devflow.sqlite"
    spoiled, reordered = work / "spoiled.sqlite", work / "reordered.sqlite"
    shutil.copyfile(legacy, spoiled)
    step("plant", unified, spoiled, reordered)
    measured["check"] = repeated("check", before, unified, times=times)
    say("compared through the mapping")
    if full:
        measured["scan"] = repeated("scan", legacy, unified, times=times)
        if shutil.which("sqldiff"):
            for name, other in (("sqldiff", spoiled), ("sqldiff_reordered", reordered)):
                measured[name] = repeated("sqldiff", legacy, other, times=times)
        for name in ("copy", "copy_keyed"):
            measured[name] = repeated(name, legacy, work / "copy.sqlite", times=times)
        say("scanned, compared by sqldiff and copied bare")
    return measured


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    sys.stderr.write(f"bench: {text}\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is a million legacy rows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, default=_TIMES, help="of which the median counts")
    parser.add_argument("--out", type=Path, default=_ROOT / "reports" / "bench.json")
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="this part; all where it is left out"
    )
    given = parser.parse_args()
    result: Told = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "sqlite": apsw.sqlite_lib_version(),
        "seed": given.seed,
    }
    told: list[str] = []
    for part in given.only or PARTS:
        measured, said = PARTS[part](given)
        result |= measured
        told += ["", *said]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for line in told:
        print(line)  # noqa: T201 - what the command is for
    print(f"as JSON: {given.out}")  # noqa: T201


def _migration(given: argparse.Namespace) -> Part:
    """Measure the migration and the checker on a tenth of the rows, then on all of them."""
    result: Told = {"planted": PLANTED, "fidelity": step("fidelity")}
    for name, scale in (("small", given.scale * _SMALL_SHARE), ("large", given.scale)):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            result[name] = measure(
                Path(folder), scale=scale, seed=given.seed, times=given.times, full=name == "large"
            )
    return result, lines({**result, "seed": given.seed, "sqlite": apsw.sqlite_lib_version()})


def _sizes(given: argparse.Namespace) -> tuple[int, ...]:
    return tuple(max(10, int(size * given.scale)) for size in SIZES)


def _serving(given: argparse.Namespace) -> Part:
    found = measure_serving(sizes=_sizes(given), seed=given.seed, seconds=_SERVING_S, say=say)
    return {"serving": found}, serving_lines(found)


def _vectors(given: argparse.Namespace) -> Part:
    found = measure_vectors(sizes=_sizes(given), seed=given.seed, say=say)
    return {"vectors": found}, vector_lines(found)


def _routing(given: argparse.Namespace) -> Part:
    found = measure_routing(seed=given.seed)
    return {"routing": found}, routing_lines(found)


def _knowledge(given: argparse.Namespace) -> Part:
    blocks = max(100, int(BLOCKS * given.scale))
    found = measure_knowledge(blocks=blocks, seed=given.seed, say=say)
    return {"knowledge": found}, knowledge_lines(found)


def _history(given: argparse.Namespace) -> Part:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = measure_history(Path(folder), step, scale=given.scale, seed=given.seed)
    return {"history": found}, history_lines(found)


def _machine(given: argparse.Namespace) -> Part:
    examples = max(100, int(EXAMPLES * given.scale))
    found = measure_machine(step, examples=examples, seed=given.seed)
    return {"machine": found}, machine_lines(found)


def _moves(given: argparse.Namespace) -> Part:
    rounds = max(1, int(_ROUNDS * given.scale))
    found = measure_moves(rounds=rounds, seed=given.seed, say=say)
    return {"moves": found}, move_lines(found)


PARTS: Mapping[str, Callable[[argparse.Namespace], Part]] = {
    "migration": _migration,
    "serving": _serving,
    "vectors": _vectors,
    "routing": _routing,
    "history": _history,
    "knowledge": _knowledge,
    "machine": _machine,
    "moves": _moves,
}


def _commit() -> str:
    asked = ["git", "describe", "--always", "--abbrev=40", "--dirty"]
    done = subprocess.run(asked, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
