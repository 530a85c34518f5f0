"""The rollback checker: after `rollback` everything is what it was before the first phase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import apsw

from harness.checkers.evidence import Evidence
from harness.database import quote
from harness.errors import HarnessError
from harness.model import DATABASES, CheckResult, Finding
from harness.snapshot import Snapshot, differences

__all__ = ["check"]

_VERIFIES: Final = (
    "After the rollback each database has the rows (typed, in any order), schema text, pragmas and"
    " AUTOINCREMENT numbers that it had, and is missing or empty where it was; log and"
    " configuration are the same bytes; databases, files and folders, empty ones too, are all"
    " there with the permissions that they had; nothing is left over besides the backups."
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
        findings += _folders(evidence.before, evidence.rolled_back, ignored)
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


def _folders(before: Snapshot, after: Snapshot, ignored: tuple[str, ...]) -> Iterator[Finding]:
    """Compare folders and their permissions, but for those of the backups."""
    homes = {str(parent) for folder in ignored for parent in PurePosixPath(folder).parents}
    were, are = _modes(before.directory), _modes(after.directory)
    for name in sorted({*were, *are} - homes):
        if any(name == one or name.startswith((f"{one}/", f"{one}.")) for one in ignored):
            continue
        was, now = were.get(name), are.get(name)
        if was == now:
            continue
        rule, what = "folder-mode", "has other permissions"
        if was is None:
            rule, what = "folder-left-over", "was left over"
        elif now is None:
            rule, what = "folder-lost", "is gone"
        yield Finding(
            rule=f"rollback/{rule}",
            cause=f"the folder {name} {what}",
            key=name,
            expected=None if was is None else f"{was:o}",
            actual=None if now is None else f"{now:o}",
        )


def _modes(directory: Path) -> dict[str, int]:
    return {
        path.relative_to(directory).as_posix(): path.stat().st_mode & 0o7777
        for path in directory.rglob("*")
        if path.is_dir() and not path.is_symlink()
    }


def _database_modes(before: Snapshot, after: Snapshot) -> Iterator[Finding]:
    for name in DATABASES:
        paths = before.path(name), after.path(name)
        if not all(path.is_file() for path in paths):
            continue
        was, now = (path.stat().st_mode & 0o7777 for path in paths)
        if was != now:
            yield Finding(
                rule="rollback/database-mode",
                cause=f"the {name} database has other permissions",
                database=name,
                expected=f"{was:o}",
                actual=f"{now:o}",
            )
