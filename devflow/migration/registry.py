"""Brings the model registry's log into the database: its lines as they are, and what they tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

__all__ = ["follow_log", "import_log"]

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
    lines, ends_with_newline = _lines_of(log)
    _keep_lines(connection, lines, after=0, ends_with_newline=ends_with_newline)
    return {"lines": len(lines), **_store(connection, _history(lines))}


def follow_log(connection: apsw.Connection, log: Path) -> dict[str, int]:
    """Bring in what was appended to `log` since; the caller holds the transaction.

    A last line that had no newline yet may have grown: it is read again. Sums are left to the
    registry, which rolls up what it finds.
    """
    if not log.exists():
        return {"lines": 0}
    lines, ends_with_newline = _lines_of(log)
    last, ended = connection.execute(
        "SELECT (SELECT COALESCE(max(line_no), 0) FROM model_registry_log),"
        " (SELECT value FROM migration_facts WHERE name = 'registry.last_newline')"
    ).fetchall()[0]
    after = int(str(last))
    if ended == 0 and after and lines[after - 1 : after] != _last_of(connection):
        after -= 1
    for table in ("model_health_history", "failover_events", "model_registry_log"):
        connection.execute(f"DELETE FROM {table} WHERE line_no > ?", (after,))
    _keep_lines(connection, lines, after=after, ends_with_newline=ends_with_newline)
    history = _history(lines)
    _store_providers(connection, history)
    _store_events(connection, history, after=after, rolled_up=False)
    return {"lines": len(lines) - after}


def _last_of(connection: apsw.Connection) -> list[bytes]:
    query = "SELECT raw FROM model_registry_log ORDER BY line_no DESC LIMIT 1"
    return [bytes(raw) for (raw,) in connection.execute(query)]


def _lines_of(log: Path) -> tuple[list[bytes], bool]:
    """Return the lines without their newlines, and whether the last one has one."""
    lines = log.read_bytes().split(b"\n")
    ends_with_newline = not lines[-1]
    if ends_with_newline:
        lines.pop()
    return lines, ends_with_newline


def _keep_lines(
    connection: apsw.Connection, lines: list[bytes], *, after: int, ends_with_newline: bool
) -> None:
    connection.execute(
        "INSERT INTO migration_facts VALUES ('registry.last_newline', ?1)"
        " ON CONFLICT (name) DO UPDATE SET value = ?1",
        (int(ends_with_newline),),
    )
    connection.executemany(
        "INSERT INTO model_registry_log (line_no, raw) VALUES (?, ?)",
        enumerate(lines[after:], start=after + 1),
    )


def _history(lines: list[bytes]) -> _History:
    history = _History()
    for number, entry in _entries(lines):
        history.read(number, entry)
    return history


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
    providers = _store_providers(connection, history)
    # What has a day is summed below, and marked so: the registry must not sum it again.
    _store_events(connection, history, after=0, rolled_up=True)
    connection.execute(
        "INSERT INTO provider_performance_metrics"
        " (provider, day, checks, healthy_checks, availability)"
        " SELECT provider, substr(checked_at, 1, 10), count(*), sum(healthy), avg(healthy)"
        " FROM model_health_history WHERE checked_at IS NOT NULL"
        " GROUP BY provider, substr(checked_at, 1, 10) ORDER BY 1, 2"
    )
    return {
        "providers": providers,
        "health checks": len(history.checks),
        "failovers": len(history.failovers),
    }


def _store_providers(connection: apsw.Connection, history: _History) -> int:
    """Write what the log says of each provider, over what an earlier reading of it said."""
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
    if history.active is not None:  # there is one at most
        connection.execute("UPDATE model_providers SET is_active = 0")
    connection.executemany(
        "INSERT INTO model_providers (name, base_url, status, is_active, first_seen, last_checked,"
        " consecutive_failures, consecutive_successes, position, in_log)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (name) DO UPDATE SET"
        " base_url = COALESCE(base_url, excluded.base_url), status = excluded.status,"
        " is_active = excluded.is_active, last_checked = excluded.last_checked,"
        " consecutive_failures = excluded.consecutive_failures,"
        " consecutive_successes = excluded.consecutive_successes, in_log = 1",
        sorted(providers),
    )
    return len(providers)


def _store_events(
    connection: apsw.Connection, history: _History, *, after: int, rolled_up: bool
) -> None:
    """Write the checks and failovers of the lines behind `after`."""
    connection.executemany(
        "INSERT INTO model_health_history (provider, healthy, error, checked_at, line_no,"
        " rolled_up) VALUES (?1, ?2, ?3, ?4, ?5, ?6 AND ?4 IS NOT NULL)",
        [(*check, int(rolled_up)) for check in history.checks if check[-1] > after],
    )
    connection.executemany(
        "INSERT INTO failover_events (from_provider, to_provider, occurred_at, reason, line_no)"
        " VALUES (?, ?, ?, ?, ?)",
        [failover for failover in history.failovers if failover[-1] > after],
    )
