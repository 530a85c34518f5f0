"""The little candidate of these tests, and trees of the size that it can move."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import apsw

from harness.candidate import Candidate

CHECKERS = ("rows", "in-use", "ledger", "integrity", "rollback", "idempotence")
"""The checks that a candidate of so little can pass: it makes no manifest for its backups."""

MANIFEST = Path(__file__).parent / "small" / "candidate.yaml"


def small(*, fault: str = "", timeout_s: float = 20.0) -> Candidate:
    """Return the little candidate, with something wrong about it where `fault` names it."""
    made = Candidate.load(MANIFEST)
    return replace(made, environment={"FAULT": fault}, timeout_s=timeout_s)


def small_tree(directory: Path, *, rows: int = 3) -> Path:
    """Make a tree of two databases with a table `notes` each."""
    for name, notes in (("devflow.sqlite", 2), ("data/devflow.sqlite", rows)):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = apsw.Connection(str(path))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (id TEXT, text TEXT)")
        for number in range(notes):
            connection.execute("INSERT INTO notes VALUES (?, ?)", (f"n{number}", name))
        connection.close()
    return directory


def copied(tree: Path, to: Path) -> Path:
    """Copy a tree."""
    shutil.copytree(tree, to)
    return to
