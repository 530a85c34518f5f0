"""What is measured, each step run as a process of its own: `python -m bench.steps STEP ARGUMENT…`.

A step prints one JSON object on its last line. Times are taken inside the process, so that the
start of an interpreter counts for no side; CPU time, which a busy machine bends less, is that of
the process and of those that it waited for; memory is the peak of the process and, where it
starts another, of that one added.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from bench.fidelity import TYPE_DIFFERENCES, duplicates_found, told_apart
from bench.histories import invent, judge
from bench.machine import run_machine
from bench.migrating import migrate
from bench.planted import plant_in_legacy, plant_in_unified, reorder
from harness.candidate import Candidate
from harness.checkers import rows
from harness.checkers.evidence import Evidence
from harness.database import open_read_only, quote, row_tables
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.mapping import Mapping
from harness.snapshot import Snapshot

__all__ = ["main"]

Told = dict[str, Any]


def build_tree(out: str, *, scale: str, seed: str) -> Told:
    """Build the fixture: a million legacy rows at scale 1."""
    began = time.perf_counter()
    build(Recipe(profile="large", seed=int(seed), scale=float(scale)), Path(out))
    return {"seconds": time.perf_counter() - began}


def scan(*databases: str) -> Told:
    """Touch every value of every table once; SQLite does all of it."""
    began = time.perf_counter()
    counted = 0
    for database in databases:
        with closing(open_read_only(Path(database), at_rest=True)) as connection:
            for table in row_tables(connection):
                sums = ", ".join(f"sum(length({quote(c.name)}))" for c in table.columns)
                sql = f"SELECT count(*), {sums} FROM {quote(table.name)}"
                counted += int(str(connection.execute(sql).fetchall()[0][0]))
    return {"seconds": time.perf_counter() - began, "rows": counted}


def check(before: str, after: str) -> Told:
    """Run the rows checker through the mapping."""
    evidence = Evidence(
        before=Snapshot.of(Path(before)),
        mapping=Mapping.load(Candidate.load().mapping),
        after=Path(after),
    )
    began = time.perf_counter()
    result = rows.check(evidence)
    tables = result.details["tables"]
    return {
        "seconds": time.perf_counter() - began,
        "found": sum(t["missing"] + t["invented"] + t["changed"] for t in tables),
        "listed": len(result.findings),
        "rows": sum(result.examined.values()),
    }


def sqldiff(left: str, right: str) -> Told:
    """Compare two files of one shape with SQLite's own tool."""
    began = time.perf_counter()
    done = subprocess.run(
        ["sqldiff", "--primarykey", left, right], capture_output=True, check=True, text=True
    )
    took = time.perf_counter() - began
    changes = ("UPDATE", "DELETE", "INSERT")
    return {
        "seconds": took,
        "found": sum(line.startswith(changes) for line in done.stdout.splitlines()),
    }


def copy(source: str, target: str) -> Told:
    """Copy the legacy rows bare: the same tables without an index, INSERT … SELECT, one commit."""
    with closing(open_read_only(Path(source), at_rest=True)) as connection:
        tables = row_tables(connection)
    Path(target).unlink(missing_ok=True)
    began = time.perf_counter()
    with closing(apsw.Connection(target)) as connection:
        connection.execute("ATTACH ? AS source", (source,))
        with connection:
            for table in tables:
                name = quote(table.name)
                columns = ", ".join(f"{quote(c.name)} {c.declared_type}" for c in table.columns)
                connection.execute(f"CREATE TABLE main.{name} ({columns})")
                connection.execute(f"INSERT INTO main.{name} SELECT * FROM source.{name}")
    return {"seconds": time.perf_counter() - began}


def copy_keyed(source: str, target: str) -> Told:
    """Copy the legacy rows one by one, into tables as they are declared: keys, and no index more.

    What is ordered SQLite does not pass over as whole records, as it does in `copy`.
    """
    with closing(open_read_only(Path(source), at_rest=True)) as connection:
        names = [table.name for table in row_tables(connection)]
    Path(target).unlink(missing_ok=True)
    began = time.perf_counter()
    with closing(apsw.Connection(target)) as connection:
        connection.execute("ATTACH ? AS source", (source,))
        with connection:
            for name in names:
                declared = "SELECT sql FROM source.sqlite_master WHERE type = 'table' AND name = ?"
                connection.execute(str(connection.execute(declared, (name,)).fetchall()[0][0]))
                rows = f"SELECT * FROM source.{quote(name)} ORDER BY rowid"
                connection.execute(f"INSERT INTO main.{quote(name)} {rows}")
    return {"seconds": time.perf_counter() - began}


def fidelity() -> Told:
    """Ask for each of the type differences whether the checker tells it apart."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        missed = [d.name for d in TYPE_DIFFERENCES if not told_apart(d, folder)]
        counts = duplicates_found(folder)
    total = len(TYPE_DIFFERENCES)
    return {
        "total": total,
        "found": total - len(missed),
        "missed": missed,
        "duplicates_found": counts,
    }


def plant(unified: str, legacy: str, reordered: str) -> Told:
    """Plant the differences in a unified database and a copy of the legacy one; reorder that."""
    plant_in_unified(Path(unified))
    plant_in_legacy(Path(legacy))
    reorder(Path(legacy), Path(reordered))
    return {}


STEPS: dict[str, Callable[..., Told]] = {
    "build": lambda out, scale, seed: build_tree(out, scale=scale, seed=seed),
    "scan": scan,
    "check": check,
    "sqldiff": sqldiff,
    "migrate": migrate,
    "copy": copy,
    "copy_keyed": copy_keyed,
    "fidelity": fidelity,
    "plant": plant,
    "invent_history": invent,
    "judge_history": judge,
    "machine": run_machine,
}


def main(arguments: list[str]) -> None:
    """Run one step and print what it tells, with the peak memory in MiB."""
    spent = sum(os.times()[:4])
    told = STEPS[arguments[0]](*arguments[1:])
    told["cpu_seconds"] = sum(os.times()[:4]) - spent
    told["own_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    second = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    told["peak_mib"] = told["own_mib"] + second
    print(json.dumps(told))  # noqa: T201 - the answer to who started this process


if __name__ == "__main__":
    main(sys.argv[1:])
