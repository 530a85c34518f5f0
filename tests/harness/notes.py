"""The little service of these tests as the harness declares it, and its database."""

from __future__ import annotations

import sys
from pathlib import Path

import apsw

from harness.candidate_services import Service

NOTES = "CREATE TABLE notes (id TEXT PRIMARY KEY, text TEXT NOT NULL)"
MARKS = "CREATE TABLE marks (note TEXT NOT NULL REFERENCES notes (id))"


def notes_service(*, fault: str = "", replaces: str | None = None) -> Service:
    """Return the little service, with something wrong about it where `fault` names it."""
    script = Path(__file__).parent / "notes_service.py"
    return Service(
        name="notes",
        command=(sys.executable, str(script), "{port}"),
        directory=script.parent,
        environment={"FAULT": fault},
        replaces=replaces,
    )


def notes_database(path: Path, *, rows: int = 3) -> Path:
    """Make a database with a table of notes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute(f"{NOTES}; {MARKS}")
    for number in range(rows):
        connection.execute("INSERT INTO notes VALUES (?, ?)", (f"n{number}", f"note {number}"))
    connection.close()
    return path
