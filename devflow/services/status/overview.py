"""What the database says of the system, all of it as one transaction sees it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from devflow.services.costs import budgets
from devflow.services.routing import platforms
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import parsed, text

__all__ = ["read"]

_COUNTED = {
    "tasks": "task_contexts",
    "memory blocks": "memory_blocks",
    "block embeddings": "memory_block_embeddings",
    "knowledge entities": "knowledge_entities",
    "relationships": "entity_relationships",
    "coordination sessions": "coordination_sessions",
    "sessions": "sessions",
    "recorded requests": "synthetic_usage",
    "routing decisions": "routing_decisions",
}
_PERIODS = ("day", "week", "month")
_DAYS_SHOWN = 30
_SHOWN = 10


def read(connection: Connection, path: Path, *, today: dt.date) -> Row:
    """Return the fields of `models.Overview`, but for the services."""
    return {
        "database": _database(connection, path),
        "costs": _costs(connection, today=today),
        "providers": _providers(connection),
        "routing": _routing(connection),
        "migration": _migration(connection),
    }


def _single(connection: Connection, sql: str, *bindings: object) -> int:
    row = one(connection, sql, bindings)
    return int(next(iter(row.values()))) if row else 0


def _database(connection: Connection, path: Path) -> Row:
    page = _single(connection, "PRAGMA page_size")
    wal = path.with_name(f"{path.name}-wal")
    return {
        "path": str(path),
        "bytes": page * _single(connection, "PRAGMA page_count"),
        "free_bytes": page * _single(connection, "PRAGMA freelist_count"),
        "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        "rows": [
            {"what": what, "rows": _single(connection, f"SELECT count(*) FROM {table}")}
            for what, table in _COUNTED.items()
        ],
    }


def _costs(connection: Connection, *, today: dt.date) -> Row:
    spent = {}
    for kind in _PERIODS:
        period = budgets.period_of(kind, today.isoformat())
        assert period is not None  # noqa: S101 - today is a date
        nanousd = budgets.spent_nanousd(connection, period=period, platform=None)
        spent[f"{kind}_usd"] = nanousd / 1e9
    # Whole dollars and the rest apart, so that no sum of nano-dollars leaves SQLite's integers.
    by_day = rows(
        connection,
        "SELECT date, sum(cost_nanousd / 1000000000) + sum(cost_nanousd % 1000000000) / 1e9"
        " AS cost_usd, sum(requests) AS requests FROM cost_sums"
        " WHERE date > ? AND date <= ? GROUP BY date ORDER BY date",
        ((today - dt.timedelta(_DAYS_SHOWN)).isoformat(), today.isoformat()),
    )
    kept = rows(connection, "SELECT * FROM cost_budgets ORDER BY seq LIMIT ?", (_SHOWN,))
    unseen = _single(connection, "SELECT count(*) FROM cost_alerts WHERE acknowledged_at IS NULL")
    return {
        **spent,
        "by_day": by_day,
        "budgets": [_budget(connection, budget, today=today) for budget in kept],
        "alerts_unseen": unseen,
    }


def _budget(connection: Connection, budget: Row, *, today: dt.date) -> Row:
    state = budgets.state(connection, budget, today=today)
    names = ("name", "period", "platform", "spent_usd", "limit_usd", "percent")
    return {name: state[name] for name in names}


def _providers(connection: Connection) -> list[Row]:
    found = rows(
        connection,
        "SELECT name, status, is_active, enabled, last_checked FROM model_providers"
        " ORDER BY position, seq LIMIT ?",
        (_SHOWN,),
    )
    return [
        {
            "name": row["name"],
            "status": row["status"],
            "active": bool(row["is_active"]),
            "enabled": bool(row["enabled"]),
            "last_checked": text(row["last_checked"]),
        }
        for row in found
    ]


def _routing(connection: Connection) -> Row:
    latest = rows(
        connection,
        "SELECT id, platform, capability_domain, task_type, decided_at, success"
        " FROM routing_decisions ORDER BY seq DESC LIMIT ?",
        (_SHOWN,),
    )
    return {
        "platforms": platforms.listed(connection),
        "latest": [
            row | {"success": None if row["success"] is None else bool(row["success"])}
            for row in latest
        ],
    }


def _migration(connection: Connection) -> Row:
    version = one(
        connection,
        "SELECT version, applied_at FROM schema_versions ORDER BY seq DESC LIMIT 1",
    )
    counted: dict[str, int] = {}
    steps = rows(connection, "SELECT counts FROM migration_steps WHERE done = 1")
    for step in steps:
        counts = parsed(step["counts"])
        for what, number in counts.items() if isinstance(counts, dict) else ():
            counted[what] = counted.get(what, 0) + int(number)
    return {
        "schema_version": text(version["version"]) if version else None,
        "applied_at": text(version["applied_at"]) if version else None,
        "steps": len(steps),
        "counts": [{"what": w, "rows": n} for w, n in sorted(counted.items()) if n],
    }
