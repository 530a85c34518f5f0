"""The record of uses: which approved report began which cutover, so that none begins a second.

A file of JSON lines that is only ever appended to. Each line holds the digest of the line before,
so that one that was changed or taken out in between is noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devflow.migration.database import sync_directory
from devflow.migration.errors import MigrationError

__all__ = ["begun_by", "record_use"]

_FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class _Line:
    """One use as it stands there: its values, and the digest of its bytes."""

    entry: Mapping[str, Any]
    digest: str


def begun_by(path: Path, run: str | None) -> bool:
    """Say whether the run has a use in the record; raises `MigrationError` where it is spoilt."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return any(line.entry["run"] == run for line in _lines(path, content))


def record_use(path: Path, approval: Mapping[str, Any], *, run: str, tree: Path) -> None:
    """Append that `run` uses the approval, durably, unless it stands there already.

    `approval` is what the verifier says of it. Raises `MigrationError` where another run has used
    the report: between the verifier's look and this one somebody may have begun with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = _lines(path, path.read_bytes())
        for line in lines:
            same = line.entry["report"] == approval["report"]
            if line.entry["run"] == run and same:
                return
            if same or line.entry["report_nonce"] == approval["report_nonce"]:
                text = f"the report was used before, at {line.entry['at']} for {line.entry['tree']}"
                raise MigrationError(
                    "approval-used", f"{text}; rehearse again and have it approved"
                )
        entry = {
            **approval,
            "run": run,
            "tree": str(tree),
            "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "previous": lines[-1].digest if lines else _FIRST,
        }
        written = json.dumps(entry, sort_keys=True).encode() + b"\n"
        if os.write(file.fileno(), written) != len(written):
            text = f"{path} could not be written whole; make room, and mend its last line"
            raise MigrationError("record-unwritable", text)
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _lines(path: Path, content: bytes) -> list[_Line]:
    """Return the lines in their order; raises `MigrationError` where they are not whole."""
    lines: list[_Line] = []
    previous = _FIRST
    for number, text in enumerate(content.splitlines(), start=1):
        entry = _entry(text)
        if entry is None or entry["previous"] != previous or not content.endswith(b"\n"):
            said = f"{path}:{number}: the record of uses was changed or cut off here"
            raise MigrationError("record-spoilt", f"{said}; put it back from a copy")
        previous = hashlib.sha256(text).hexdigest()
        lines.append(_Line(entry, previous))
    return lines


def _entry(text: bytes) -> Mapping[str, Any] | None:
    try:
        entry = json.loads(text)
        names = ("report", "report_nonce", "run", "tree", "at", "previous")
        return entry if all(isinstance(entry[name], str) for name in names) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
