"""The measurements in words: plain lines, each ratio beside its goal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["lines"]

_NOT_MEASURED = "not measured"
_SLOWEST_STEPS = 8


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield what `make bench` prints of its result."""
    large, small = result["large"], result["small"]
    rows = f"{large['scale'] * 1_000_000:,.0f}"
    yield ""
    yield f"{rows} legacy rows, seed {result['seed']}, SQLite {result['sqlite']}; one run, medians"
    yield ""
    yield from _comparison(large, small, planted=result["planted"])
    yield ""
    yield from _migration(large)
    yield ""
    yield _fidelity(result["fidelity"])


def _comparison(large: dict[str, Any], small: dict[str, Any], *, planted: int) -> Iterator[str]:
    check, scan = large.get("check"), large.get("scan")
    sqldiff, reordered = large.get("sqldiff"), large.get("sqldiff_reordered")
    yield _row("rows checker, through the mapping", check, note=_found(check, planted))
    yield _row("plain scan of the same bytes", scan)
    yield _row("sqldiff, equal shapes", sqldiff, note=_found(sqldiff, planted))
    yield _row("sqldiff, rows in another order", reordered, note=_found(reordered, planted))
    yield _ratio("checker / scan", check, scan)
    yield _ratio("checker / sqldiff", check, sqldiff, goal="below 1")
    yield _ratio("checker / sqldiff, other order", check, reordered, goal="below 1")
    if check and small.get("check"):
        yield (
            f"  checker's memory: {_memory(check)}; on a tenth {_memory(small['check'])}"
            "   goal: at most 150, flat"
        )


def _memory(told: dict[str, Any]) -> str:
    """Say what both processes took; the second one starts for large tables only."""
    second = told["peak_mib"] - told["own_mib"]
    alone = f"{told['own_mib']:.0f} MiB"
    return f"{alone} and {second:.0f} MiB in a second process" if second else f"{alone} alone"


def _migration(large: dict[str, Any]) -> Iterator[str]:
    migrate, copy, keyed = large.get("migrate"), large.get("copy"), large.get("copy_keyed")
    yield _row("the migration, apply", migrate)
    yield _row("bare INSERT … SELECT", copy, note="no keys; SQLite passes records over undecoded")
    yield _row("INSERT … SELECT row by row", keyed, note="into tables with the legacy keys")
    yield _ratio("migration / bare copy", migrate, copy)
    if not migrate:
        return
    steps = migrate["steps"]
    copying = sum(took for name, took in steps.items() if name.startswith("shadow.copy."))
    yield _ratio("its copying steps / bare copy", {"seconds": copying}, copy, goal="at most 4")
    yield _ratio("its copying steps / row by row", {"seconds": copying}, keyed)
    yield "  the copying steps write two rows for one, the second compared with its source"
    slowest = sorted(steps, key=lambda name: -steps[name])[:_SLOWEST_STEPS]
    told = ", ".join(f"{name} {steps[name]:.1f} s" for name in slowest)
    yield f"  slowest steps: {told}"


def _fidelity(fidelity: dict[str, Any]) -> str:
    missed = f"; missed: {', '.join(fidelity['missed'])}" if fidelity["missed"] else ""
    counted = "found" if fidelity["duplicates_found"] else "missed"
    return (
        f"type differences found {fidelity['found']} of {fidelity['total']}{missed};"
        f" a row three times and twice: {counted}"
    )


def _row(name: str, told: dict[str, Any] | None, *, note: str = "") -> str:
    if told is None:
        return f"  {name:<36} {_NOT_MEASURED}"
    figures = (
        f"{told['seconds']:8.2f} s  {told['cpu_seconds']:8.2f} s CPU  {told['peak_mib']:6.0f} MiB"
    )
    return f"  {name:<36} {figures}  {note}".rstrip()


def _found(told: dict[str, Any] | None, planted: int) -> str:
    return "" if told is None else f"{told['found']} differences, {planted} planted"


def _ratio(
    name: str, one: dict[str, Any] | None, other: dict[str, Any] | None, *, goal: str = ""
) -> str:
    if one is None or other is None:
        return f"  {name:<36} {_NOT_MEASURED}"
    ratio = one["seconds"] / other["seconds"]
    told = f"  {name:<36} {ratio:8.2f} ×"
    if "cpu_seconds" in one and "cpu_seconds" in other:
        told += f"  {one['cpu_seconds'] / other['cpu_seconds']:8.2f} × CPU"
    return told + (f"   goal: {goal}" if goal else "")
