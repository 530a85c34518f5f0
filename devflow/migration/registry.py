"""Brings the model registry's log into the database: its lines as they are, and what they tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

__all__ = ["import_log"]

_STARTED = "Starting Model Registry Service"
_CHECKED = "Health check completed"
_FAILED = "health check failed"
_HOST_SUFFIX = "Host"


def import_log(connection: apsw.Connection, log: Path) -> dict[str, int]:
    """Fill the registry's tables from `log`, if there; return how many rows of each kind.

    Every line is kept as bytes, also one that is cut off or no JSON: the tables beside it hold
    only what could be read.
    """
    if not log.exists():
        return {"lines": 0}
    content = log.read_bytes()
    lines = content.split(b"\n")
    ends_with_newline = not lines[-1]
    if ends_with_newline:
        lines.pop()
    connection.execute(
        "INSERT INTO migration_facts VALUES ('registry.last_newline', ?)", (int(ends_with_newline),)
    )
    connection.executemany(
        "INSERT INTO model_registry_log (line_no, raw) VALUES (?, ?)", enumerate(lines, start=1)
    )
    history = _History()
    for number, entry in _entries(lines):
        history.read(number, entry)
    return {"lines": len(lines), **_store(connection, history)}


def _entries(lines: list[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield number, entry


def _text(value: object) -> str | None:
    """Return a JSON string as text that SQLite can hold, None for anything else."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode("utf-8", "replace")


@dataclass
class _History:
    """What the lines read so far tell of providers, checks and failovers."""

    hosts: dict[str, str | None] = field(default_factory=dict)
    seen: dict[str, str | None] = field(default_factory=dict)
    checks: list[tuple[str, int, str | None, str | None, int]] = field(default_factory=list)
    failovers: list[tuple[str, str, str | None, str | None, int]] = field(default_factory=list)
    errors: dict[str, str | None] = field(default_factory=dict)
    latest: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    streaks: dict[str, tuple[int, int]] = field(default_factory=dict)
    active: str | None = None

    def read(self, number: int, entry: dict[str, Any]) -> None:
        """Take in one line of the log."""
        message = entry.get("message")
        at = _text(entry.get("timestamp"))
        if message == _STARTED:
            for key, value in entry.items():
                if key.endswith(_HOST_SUFFIX) and len(key) > len(_HOST_SUFFIX):
                    self._see(key.removesuffix(_HOST_SUFFIX), at)
                    self.hosts[key.removesuffix(_HOST_SUFFIX)] = _text(value)
        elif message == _CHECKED:
            self._check(number, entry, at)
        elif isinstance(message, str) and message.endswith(_FAILED):
            self.errors[message.split(" ", 1)[0].lower()] = _text(entry.get("error"))

    def status(self, provider: str) -> str:
        """Return what the last check said of the provider."""
        if provider not in self.latest:
            return "unknown"
        return "healthy" if self.latest[provider][0] else "unhealthy"

    def _see(self, provider: str, at: str | None) -> None:
        self.seen.setdefault(provider, at)

    def _check(self, number: int, entry: dict[str, Any], at: str | None) -> None:
        for key, healthy in entry.items():
            provider = _text(key) or ""
            if isinstance(healthy, bool):
                self._see(provider, at)
                error = None if healthy else self.errors.get(provider)
                self.checks.append((provider, int(healthy), error, at, number))
                self.latest[provider] = (int(healthy), at)
                failures, successes = self.streaks.get(provider, (0, 0))
                self.streaks[provider] = (0, successes + 1) if healthy else (failures + 1, 0)
        self.errors.clear()
        active = _text(entry.get("active"))
        if active is None:
            return
        self._see(active, at)
        if self.active is not None and active != self.active:
            was = self.latest.get(self.active, (1, None))[0]
            reason = None if was else f"{self.active} was unhealthy"
            self.failovers.append((self.active, active, at, reason, number))
        self.active = active


def _store(connection: apsw.Connection, history: _History) -> dict[str, int]:
    providers = [
        (
            name,
            history.hosts.get(name),
            history.status(name),
            int(name == history.active),
            first_seen,
            history.latest.get(name, (0, None))[1],
            *history.streaks.get(name, (0, 0)),
            position,
        )
        for position, (name, first_seen) in enumerate(history.seen.items())
    ]
    connection.executemany(
        "INSERT INTO model_providers (name, base_url, status, is_active, first_seen, last_checked,"
        " consecutive_failures, consecutive_successes, position, in_log)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
        sorted(providers),
    )
    # What has a day is summed below, and marked so: the registry must not sum it again.
    connection.executemany(
        "INSERT INTO model_health_history (provider, healthy, error, checked_at, line_no,"
        " rolled_up) VALUES (?1, ?2, ?3, ?4, ?5, ?4 IS NOT NULL)",
        history.checks,
    )
    connection.executemany(
        "INSERT INTO failover_events (from_provider, to_provider, occurred_at, reason, line_no)"
        " VALUES (?, ?, ?, ?, ?)",
        history.failovers,
    )
    connection.execute(
        "INSERT INTO provider_performance_metrics"
        " (provider, day, checks, healthy_checks, availability)"
        " SELECT provider, substr(checked_at, 1, 10), count(*), sum(healthy), avg(healthy)"
        " FROM model_health_history WHERE checked_at IS NOT NULL"
        " GROUP BY provider, substr(checked_at, 1, 10) ORDER BY 1, 2"
    )
    return {
        "providers": len(providers),
        "health checks": len(history.checks),
        "failovers": len(history.failovers),
    }
