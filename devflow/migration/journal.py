"""The durable journal of phases and steps, in a small database of its own beside the shadow.

A step is entered when its effect is durable. Steps are idempotent, so one that was cut off
between its effect and its entry is simply run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from devflow.migration.database import open_writable, remove, transaction

__all__ = ["Journal"]

_NAME = "journal.sqlite"


class Journal:
    """Which steps of this tree's migration are done, and whether a rollback has begun."""

    def __init__(self, directory: Path) -> None:
        """Open or create the journal in `directory`."""
        self._path = directory / _NAME
        self._connection = open_writable(self._path)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS steps (phase TEXT NOT NULL, step TEXT PRIMARY KEY,"
            " counts TEXT NOT NULL, number INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS phases (phase TEXT PRIMARY KEY, number INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS rollback (begun INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS keeping (writes INTEGER NOT NULL);"
            "CREATE TABLE IF NOT EXISTS run (id TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS way (name TEXT NOT NULL);"
            "INSERT INTO run SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM run)"
        )

    @staticmethod
    def exists(directory: Path) -> bool:
        """Return whether a migration of this tree was begun and not rolled back."""
        return (directory / _NAME).exists()

    def run(self) -> str:
        """Return the name of this run of the migration: drawn once, and gone with a rollback."""
        return str(self._connection.execute("SELECT id FROM run").fetchall()[0][0])

    def way(self, name: str) -> str:
        """Return how this run goes; `name` is taken down where nothing was said before."""
        self._connection.execute(
            "INSERT INTO way SELECT ? WHERE NOT EXISTS (SELECT 1 FROM way)", (name,)
        )
        return str(self._connection.execute("SELECT name FROM way").fetchall()[0][0])

    def counts_of(self, step: str) -> dict[str, int] | None:
        """Return the counts with which `step` was done, None while it is not."""
        row = self._connection.execute(
            "SELECT counts FROM steps WHERE step = ?", (step,)
        ).fetchone()
        return None if row is None else dict(json.loads(str(row[0])))

    def enter(self, phase: str, step: str, counts: Mapping[str, int]) -> None:
        """Record that `step` is done."""
        self._connection.execute(
            "INSERT OR REPLACE INTO steps SELECT ?, ?, ?, 1 + count(*) FROM steps",
            (phase, step, json.dumps(dict(counts), sort_keys=True)),
        )

    def finish(self, phase: str) -> None:
        """Record that all steps of `phase` are done."""
        self._connection.execute(
            "INSERT OR IGNORE INTO phases SELECT ?, 1 + count(*) FROM phases", (phase,)
        )

    def state(self) -> str:
        """Return the last phase that is done, `none` before the first."""
        row = self._connection.execute(
            "SELECT phase FROM phases ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return "none" if row is None else str(row[0])

    def begin_rollback(self, *, keep_writes: bool = False) -> None:
        """Record that from now on the only way is back, and whether later writes come along."""
        with transaction(self._connection):
            if not self.rolling_back():
                self._connection.execute("INSERT INTO rollback VALUES (1)")
                self._connection.execute("INSERT INTO keeping VALUES (?)", (keep_writes,))

    def keeps_writes(self) -> bool:
        """Return whether the rollback that was begun brings later writes along."""
        return self._connection.execute("SELECT 1 FROM keeping WHERE writes").fetchone() is not None

    def rolling_back(self) -> bool:
        """Return whether a rollback was begun and has not ended."""
        return self._connection.execute("SELECT 1 FROM rollback").fetchone() is not None

    def close(self) -> None:
        """Close the journal's database."""
        self._connection.close()

    def delete(self) -> None:
        """Forget everything: the rollback has ended."""
        self.close()
        remove(self._path)
