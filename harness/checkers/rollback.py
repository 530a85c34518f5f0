"""The rollback checker: after `rollback` everything is what it was before the first phase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import apsw

from harness.checkers.evidence import Evidence
from harness.database import quote
from harness.errors import HarnessError
from harness.model import DATABASES, CheckResult, Finding, Severity
from harness.snapshot import Snapshot, differences

__all__ = ["check"]

_VERIFIES: Final = (
    "After the rollback each database has the rows (typed, in any order), schema text, pragmas and"
    " AUTOINCREMENT numbers that it had, and is missing or empty where it was; log and"
    " configuration are the same bytes with the same permissions; no file is left over besides the"
    " backups."
)
_DOES_NOT_VERIFY: Final = (
    "Pages, free space and rowids that no column shows; times and owners of files; writes made"
    " after the cutover (nobody writes in this run)."
)


def check(evidence: Evidence) -> CheckResult:
    """Judge the tree after `rollback` against the tree before; without one: unknown."""
    findings: list[Finding] = []
    examined: dict[str, int] = {}
    if evidence.rolled_back is not None:
        examined = _counted(evidence.before)
        ignored = tuple(evidence.backups.values())
        try:
            found = differences(
                evidence.before, evidence.rolled_back, check="rollback", ignored=ignored
            )
            findings += [f for f in found if not _older_backup(f, ignored)]
        except (apsw.Error, UnicodeDecodeError, HarnessError) as error:
            findings.append(
                Finding(
                    rule="rollback/unreadable",
                    cause=f"what the rollback left cannot be read: {error}",
                    actual=str(error),
                )
            )
        findings += _left_over(evidence.before, evidence.rolled_back, ignored)
        findings += _database_modes(evidence.before, evidence.rolled_back)
    return CheckResult.judged(
        "rollback",
        findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
    )


def _older_backup(finding: Finding, ignored: tuple[str, ...]) -> bool:
    """Whether a file belongs to a backup of an earlier run that was moved aside, never deleted."""
    name = finding.key or ""
    return finding.rule == "rollback/file-invented" and any(
        name.startswith(f"{folder}.") for folder in ignored
    )


def _counted(before: Snapshot) -> dict[str, int]:
    counts = {"databases": 0, "schema objects": 0, "rows": 0, "files": len(before.files())}
    for name in DATABASES:
        try:
            counts["databases"] += 1  # that it is missing or empty is compared too
            if before.state(name) != "sqlite":
                continue
            tables = before.tables(name)
            connection = before.open(name)
        except HarnessError:
            continue
        try:
            objects = connection.execute("SELECT count(*) FROM sqlite_master").get
            counts["schema objects"] += int(str(objects))
            for table in tables:
                rows = connection.execute(f"SELECT count(*) FROM {quote(table.name)}").get
                counts["rows"] += int(str(rows))
        finally:
            connection.close()
    return counts


def _left_over(before: Snapshot, after: Snapshot, ignored: tuple[str, ...]) -> Iterator[Finding]:
    """Warn of empty folders that the rollback left; files in them are findings of their own."""
    homes = {str(parent) for folder in ignored for parent in PurePosixPath(folder).parents}
    for path in sorted(after.directory.rglob("*")):
        if not path.is_dir() or path.is_symlink() or any(path.iterdir()):
            continue
        name = path.relative_to(after.directory).as_posix()
        backup = name in homes or any(name.startswith(folder) for folder in ignored)
        if not backup and not (before.directory / name).exists():
            yield Finding(
                rule="rollback/folder-left-over",
                severity=Severity.WARNING,
                cause=f"the rollback left an empty folder {name}",
                key=name,
            )


def _database_modes(before: Snapshot, after: Snapshot) -> Iterator[Finding]:
    for name in DATABASES:
        paths = before.path(name), after.path(name)
        if not all(path.is_file() for path in paths):
            continue
        was, now = (path.stat().st_mode & 0o7777 for path in paths)
        if was != now:
            yield Finding(
                rule="rollback/database-mode",
                severity=Severity.WARNING,
                cause=f"the {name} database has other permissions",
                database=name,
                expected=f"{was:o}",
                actual=f"{now:o}",
            )
