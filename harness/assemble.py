"""Puts a report together from runs: sections, crash points, what is bound, who vouches."""

from __future__ import annotations

import importlib.metadata
import platform
import secrets
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw

import harness
from harness.attest import attest
from harness.keys import SigningKey
from harness.model import CheckResult
from harness.report import write
from harness.report.bind import bind_database, bind_snapshot
from harness.report.model import (
    CrashPoint,
    GitState,
    Ledger,
    LedgerTable,
    ReportInput,
    Residue,
    RunSection,
    SchemaDecision,
    Step,
    Subject,
    Vouching,
)
from harness.run import RunResult
from harness.snapshot import Snapshot

__all__ = [
    "bound",
    "crash_points",
    "git_state",
    "in_checkout",
    "new_nonce",
    "now",
    "publish",
    "section",
    "versions",
    "vouching",
]

_MOMENTS = {"before": "started", "mid": "started", "after": "done"}


def now() -> str:
    """Return the time in UTC, ISO 8601 with a `Z`."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def new_nonce() -> str:
    """Return a number that is used once, in hexadecimal."""
    return secrets.token_hex(16)


def versions() -> dict[str, str]:
    """Return the versions of what the verdict depends on."""
    return {
        "harness": importlib.metadata.version("devflow-migration-gate"),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "apsw": apsw.apsw_version(),
        "sqlite-vec": importlib.metadata.version("sqlite-vec"),
        "deepdiff": importlib.metadata.version("deepdiff"),
        "sqlglot": importlib.metadata.version("sqlglot"),
    }


def git_state() -> GitState | None:
    """Return the commit that the harness runs from, None where it is no checkout."""
    folder = Path(harness.__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    return GitState(commit=commit.strip(), clean=not changed.strip())


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, timeout=20, check=True
    ).stdout


def vouching(key: SigningKey) -> Vouching:
    """Return who vouches for a report that `key` signs."""
    return Vouching(key_id=key.key_id, throwaway=key.throwaway)


def publish(report: ReportInput, out: Path, key: SigningKey) -> Path:
    """Write and sign the report in `out`, and return the page's path."""
    write(report, out)
    attest(out, key)
    return out / "report.html"


def in_checkout(path: Path) -> str:
    """Return a file's path in the checkout, its name where it lies elsewhere."""
    checkout = Path(harness.__file__).resolve().parent.parent
    inside = path.resolve().is_relative_to(checkout)
    return path.resolve().relative_to(checkout).as_posix() if inside else path.name


def section(
    result: RunResult, *, fixture: str = "", summary: str = "", file: str | None = None
) -> RunSection:
    """Return a run as the report holds it; `file` is the scenario's path in the checkout."""
    details = {check.checker: check.details for check in result.results}
    return RunSection(
        name=result.name,
        verdict=result.verdict,
        results=result.results,
        steps=tuple(
            Step(
                name=step.name,
                phase=step.phase,
                outcome=step.outcome,
                elapsed_s=step.elapsed_s,
                counts=step.counts,
            )
            for step in result.steps
        ),
        summary=summary,
        fixture=fixture,
        seed=result.seed,
        expectation=result.expectation,
        elapsed_s=result.elapsed_s,
        replay=result.replay,
        file=file,
        ledger=_ledger(details.get("ledger", {})),
        residue=tuple(Residue(**one) for one in details.get("rows", {}).get("residue", ())),
        decisions=tuple(
            SchemaDecision(**one) for one in details.get("schema", {}).get("decisions", ())
        ),
    )


def _ledger(details: Mapping[str, Any]) -> Ledger | None:
    if "root" not in details:
        return None
    return Ledger(
        root=details["root"],
        leaves=details["leaves"],
        dispositions=details["dispositions"],
        tables=tuple(LedgerTable(**table) for table in details.get("tables", ())),
    )


def crash_points(results: Iterable[RunResult]) -> tuple[CrashPoint, ...]:
    """Return every point at which a candidate was killed, with what was tried after it."""
    return tuple(
        CrashPoint(
            phase=str(point["phase"]),
            step=str(point["step"]),
            moment=_MOMENTS[str(point["moment"])],
            then=str(point["then"]),
            converged=bool(point["converged"]),
            run=result.name,
            text=None if point["text"] is None else str(point["text"]),
            replay=result.replay,
        )
        for result in results
        for check in result.results
        for point in _points(check)
    )


def _points(check: CheckResult) -> Iterable[Mapping[str, object]]:
    points: Iterable[Mapping[str, object]] = check.details.get("points", ())
    return points


def bound(result: RunResult, *, run: str = "", kept: str | None = None) -> list[Subject]:
    """Return the subjects of one run: sources and result; `kept` is where they stay in the report.

    `run` is the scenario's name in a gate.
    """
    rehearsed = result.out / "run" if (result.out / "run").is_dir() else result.out
    subjects: list[Subject] = []
    if (rehearsed / "before").is_dir():
        place = None if kept is None else f"{kept}/before"
        subjects += bind_snapshot(Snapshot.of(rehearsed / "before"), run=run, kept=place)
    unified = rehearsed / "after" / "devflow.sqlite"
    if result.refused is None and unified.is_file():
        prefix = f"{run}:" if run else ""
        place = None if kept is None else f"{kept}/after/devflow.sqlite"
        subjects.append(bind_database(unified, name=f"{prefix}after/devflow.sqlite", kept=place))
    return subjects
