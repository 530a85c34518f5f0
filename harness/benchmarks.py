"""Reads what `make bench` measured last, so that a report can show it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import BadInputError
from harness.report.model import Benchmark, Benchmarks, Figure

__all__ = ["read_benchmarks"]

_SHOWN = ("serving", "vectors", "routing", "knowledge", "machine", "moves")
_POLICIES = ("thompson", "static", "uniform", "greedy")
_FILES = ("development", "held-out")


def read_benchmarks(path: Path) -> Benchmarks | None:
    """Return the measurements in `path`; None where none were made of the services.

    BadInputError where the file is there and is not what `make bench` writes.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not any(document.get(part) for part in _SHOWN):
            return None
        return Benchmarks(
            measured_at=str(document["measured_at"]),
            commit=str(document["commit"]),
            rows=tuple(
                Benchmark(
                    operation=str(row["operation"]),
                    memories=int(row["memories"]),
                    clients=int(row["clients"]),
                    before=float(row["before"]["per_second"]),
                    after=float(row["after"]["per_second"]),
                )
                for row in document.get("serving") or ()
            ),
            figures=tuple(_figures(document)),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path} is not what `make bench` writes; remove it or measure again"
        ) from error


def _figures(document: dict[str, Any]) -> Iterator[Figure]:
    for row in document.get("vectors") or ():
        yield Figure(
            what=f"the nearest of {row['vectors']:,} vectors",
            told=f"{row['search_ms']:.2f} ms, {row['ratio']:.1f} times as fast as the exact scan"
            f" ({row['scan_ms']:.1f} ms); recall@10 is {row['recall']:.4f}",
        )
    if worlds := document.get("routing"):
        worth = {
            name: statistics.fmean(float(world[name]["worth"]) for world in worlds)
            for name in _POLICIES
        }
        best, *others = (f"{worth[name]:.3f} by {name} choice" for name in _POLICIES)
        yield Figure(
            what=f"what a routed task is worth, in {len(worlds)} simulated worlds",
            told=f"{best.removesuffix(' choice')} sampling; {', '.join(others)}",
        )
    if known := document.get("knowledge"):
        for name in _FILES:
            found = known[name]["all"]
            yield Figure(
                what=f"entities found in {int(known[name]['notes'])} {name} notes",
                told=f"precision {found['precision']:.3f}, recall {found['recall']:.3f}"
                f" of {int(found['labelled'])} labels",
            )
        learning = known["learning"]
        yield Figure(
            what=f"learning {int(learning['blocks']):,} memory blocks",
            told=f"{learning['per_second']:,.0f} a second; again, where nothing changed,"
            f" {100 * learning['again_ratio']:.1f} % of that time",
        )
    if machine := document.get("machine"):
        back = int(machine["reached"]["writes after cutover and a rollback"])
        yield Figure(
            what=f"{int(machine['runs']):,} runs of the live migration's state machine",
            told=f"{float(machine['per_minute']):,.0f} a minute; none lost or doubled a write;"
            f" {back:,} wrote after a cutover and went back, {int(machine['reached']['kills']):,}"
            " were killed on the way",
        )
    for row in document.get("moves") or ():
        gap, quiet, locked = (
            f"{float(row[f'{what}_median']):.1f} ms ({float(row[f'{what}_p99']):.0f} at the 99th"
            " percentile)"
            for what in ("gap_ms", "quiet_gap_ms", "locked_ms")
        )
        yield Figure(
            what=f"moving services {int(row['holds'])} times, requests {row['load']}",
            told=f"nobody was answered for {gap}, at quiet times for {quiet}; databases were"
            f" locked for {locked}, with {float(row['written_per_s']):,.0f} writes a second;"
            f" {int(row['failed']):,} of {int(row['requests']):,} requests failed",
        )
