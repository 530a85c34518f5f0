"""Accounts for every object of the legacy schemas: what becomes of it in the unified one."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files

import apsw

from devflow.migration.carrying import Unplanned, create_dependants, renamed, unplanned
from devflow.migration.database import objects as objects_of
from devflow.migration.decisions import DECIDED, Decision
from devflow.migration.rebuilding import over_rebuilt_rows
from devflow.migration.tables import planned
from devflow.migration.tree import SOURCES

__all__ = ["decide", "script", "unplanned_of"]


@lru_cache(maxsize=1)
def script() -> str:
    """Return the unified schema's SQL."""
    return (files("devflow.schema") / "unified.sql").read_text(encoding="utf-8")


def unplanned_of(connection: apsw.Connection, source: str) -> list[Unplanned]:
    """Return what `source` holds beyond the plan, with names that are free there."""
    kept = _declared()
    taken = {name.lower() for _, name in kept}
    for other in SOURCES:
        known = {*DECIDED[other], *(kept if other == "root" else ())}
        objects = unplanned(connection, other, known=known, taken=taken)
        if other == source:
            return objects
    return []


@lru_cache(maxsize=1)
def _declared() -> frozenset[tuple[str, str]]:
    """Return (type, name) of all that the unified schema declares."""
    with closing(apsw.Connection(":memory:")) as scratch:
        scratch.execute(script()).fetchall()
        rows = scratch.execute(
            "SELECT CASE WHEN l.type = 'virtual' THEN 'virtual table' ELSE m.type END, m.name"
            " FROM sqlite_master AS m LEFT JOIN pragma_table_list AS l ON l.name = m.name"
        )
        return frozenset((str(kind), str(name)) for kind, name in rows)


def decide(connection: apsw.Connection) -> dict[str, int]:
    """Create the unplanned dependants, and write down what became of every legacy object."""
    counts: dict[str, int] = {}
    for source in SOURCES:
        objects = unplanned_of(connection, source)
        rebuilt = _over_rebuilt_rows(connection, source, objects)
        reasons = create_dependants(connection, [rebuilt.get(item, item) for item in objects])
        carried = {(item.kind, item.name): item for item in objects}
        for kind, name, _, _ in sorted(objects_of(connection, f"src_{source}")):
            decision = _decision(source, kind, name, carried, reasons)
            if decision.decision == "carried" and carried[kind, name] in rebuilt:
                decision = replace(decision, decision="repaired", rule="reads-the-rebuilt-rows")
            connection.execute(
                "INSERT INTO schema_decisions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    source,
                    kind,
                    name,
                    decision.decision,
                    decision.rule,
                    decision.unified_name,
                    decision.reason,
                ),
            )
            counts[decision.decision] = counts.get(decision.decision, 0) + 1
    return counts


def _over_rebuilt_rows(
    connection: apsw.Connection, source: str, objects: list[Unplanned]
) -> dict[Unplanned, Unplanned]:
    """Return the views that read replaced tables, each with the one that reads rebuilt rows."""
    views = [item for item in objects if item.kind == "view"]
    rewritten = over_rebuilt_rows(connection, source) if views else {}
    return {
        item: replace(item, sql=renamed(rewritten[item.name], item.unified_name))
        for item in views
        if item.name in rewritten
    }


def _decision(
    source: str,
    kind: str,
    name: str,
    carried: dict[tuple[str, str], Unplanned],
    reasons: dict[tuple[str, str], str | None],
) -> Decision:
    item = carried.get((kind, name))
    if item is not None:
        reason = reasons[kind, name]
        if reason is None:
            return Decision("carried", "unplanned", item.unified_name)
        return Decision("dropped", "does-not-compile", None, reason)
    known = DECIDED[source].get((kind, name))
    if known is not None:
        return known
    plan = planned(source, name) if kind == "table" else None
    if plan is None or source == "root":
        return Decision("kept", "kept", name)
    return Decision("merged", "unified-table", plan.targets[0].table)
