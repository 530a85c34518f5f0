"""The backups checker: three backups, whole, self-contained, and of what they say they are."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import apsw

from harness.checkers.configuration import is_configuration
from harness.checkers.evidence import Evidence
from harness.database import open_read_only
from harness.errors import HarnessError
from harness.model import DATABASES, CheckResult, Finding
from harness.snapshot import (
    REGISTRY_LOG,
    DatabaseFacts,
    Snapshot,
    database_differences,
    database_facts,
    file_sha256,
)

__all__ = ["check"]

_VERIFIES: Final = (
    "The backups before, during and after are there, each with a manifest whose SHA-256 digests"
    " are those of its files; each database in them, taken alone without a WAL, opens and passes"
    " SQLite's integrity check; before and during hold the sources' logical content, log and"
    " configuration, and what was missing or of zero bytes is so in them; after holds the unified"
    " database."
)
_DOES_NOT_VERIFY: Final = (
    "That the candidate's rollback uses them (the rollback checker judges what it restores); that"
    " they lie on another disk; SQLite's journal mode, which a copy may change."
)
_MANIFEST: Final = "backup.manifest"
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


@dataclass(slots=True)
class _Work:
    """What one run of the checker gathers.

    `alone` is what each file of a backup holds, by its digest.
    """

    evidence: Evidence
    alone: dict[str, DatabaseFacts | str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    backups: int = 0
    files: int = 0
    databases: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def fault(
        self,
        rule: str,
        cause: str,
        *,
        key: str,
        database: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
    ) -> None:
        self.findings.append(
            Finding(
                rule=f"backups/{rule}",
                cause=cause,
                key=key,
                database=database,
                expected=expected,
                actual=actual,
            )
        )


def check(evidence: Evidence) -> CheckResult:
    """Judge the backups in the tree after `apply`; where none are declared: unknown."""
    work = _Work(evidence)
    if evidence.tree is not None:
        for when, folder in evidence.backups.items():
            _backup(work, when, evidence.tree / folder, folder)
    return CheckResult.judged(
        "backups",
        work.findings,
        {"backups": work.backups, "files": work.files, "databases": work.databases},
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details=work.details,
    )


def _backup(work: _Work, when: str, directory: Path, folder: str) -> None:
    work.backups += 1
    if not directory.is_dir():
        work.fault("missing", f"the backup {when} is not there", key=folder)
        return
    digests = _manifest(work, directory, folder)
    if digests is not None:
        _digests(work, directory, folder, digests)
    found = {
        name: _alone(work, directory / name, f"{folder}/{name}")
        for name in (*DATABASES.values(), "unified.sqlite")
        if (directory / name).is_file() and (directory / name).stat().st_size
    }
    if when == "after":
        _unified(work, found, folder)
    else:
        for source in DATABASES:
            _source(work, when, source, directory, found)
        _plain_files(work, when, directory, folder)


def _manifest(work: _Work, directory: Path, folder: str) -> dict[str, str] | None:
    key = f"{folder}/{_MANIFEST}"
    try:
        document = json.loads((directory / _MANIFEST).read_bytes())
    except OSError as error:
        work.fault("manifest-missing", f"there is no readable manifest: {error.strerror}", key=key)
        return None
    except ValueError as error:
        work.fault("manifest-broken", f"the manifest is not JSON: {error}", key=key)
        return None
    digests = document.get("digests") if isinstance(document, dict) else None
    if not isinstance(digests, dict) or not all(isinstance(d, str) for d in digests.values()):
        work.fault("manifest-broken", "the manifest has no `digests` by file name", key=key)
        return None
    return {str(name): str(digest) for name, digest in digests.items()}


def _digests(work: _Work, directory: Path, folder: str, digests: dict[str, str]) -> None:
    there = {
        path.relative_to(directory).as_posix(): path
        for path in sorted(directory.rglob("*"))
        if path.is_file() or path.is_symlink()
    }
    there.pop(_MANIFEST, None)
    for name, digest in digests.items():
        work.files += 1
        path = there.get(name)
        if path is None or path.is_symlink():
            cause = "the manifest lists a file that is not in the backup"
            work.fault("file-missing", cause, key=f"{folder}/{name}")
            continue
        actual = file_sha256(path)
        if actual != digest.lower():
            work.fault(
                "digest-differs",
                "the file is not the one that the manifest describes",
                key=f"{folder}/{name}",
                expected=digest,
                actual=actual,
            )
    for name in there.keys() - digests.keys():
        if not name.endswith("-shm"):
            cause = "the manifest does not list this file, so that nothing vouches for it"
            work.fault("file-unlisted", cause, key=f"{folder}/{name}")


def _alone(work: _Work, path: Path, key: str) -> DatabaseFacts | None:
    """Judge the main file of a database by itself, without a WAL, as a restore by `cp` would.

    Returns what it holds, None where it is not sound, which is then a finding. Backups often are
    the same bytes: equal files are read once.
    """
    work.databases += 1
    digest = file_sha256(path)
    if digest not in work.alone:
        if any(path.with_name(path.name + end).exists() for end in _SIDE_FILES):
            with tempfile.TemporaryDirectory(prefix="backup-") as folder:
                copy = Path(folder) / "alone.sqlite"
                shutil.copyfile(path, copy)
                work.alone[digest] = _judged(copy)
        else:
            work.alone[digest] = _judged(path)
    judged = work.alone[digest]
    if isinstance(judged, DatabaseFacts):
        return judged
    cause = f"the backup's database is not sound: {judged}"
    work.fault("database-damaged", cause, key=key, actual=judged)
    return None


def _judged(path: Path) -> DatabaseFacts | str:
    """Return what a sound database holds, or what is wrong with it."""
    try:
        connection = open_read_only(path, at_rest=True)
        try:
            answer = str(connection.execute("PRAGMA integrity_check(1)").get)
        finally:
            connection.close()
        return _without_journal_mode(database_facts(path)) if answer == "ok" else answer
    except (apsw.Error, UnicodeDecodeError) as error:
        return str(error)


def _without_journal_mode(facts: DatabaseFacts) -> DatabaseFacts:
    pragmas = {name: value for name, value in facts.pragmas.items() if name != "journal_mode"}
    return replace(facts, pragmas=pragmas)


def _source(
    work: _Work, when: str, source: str, directory: Path, found: dict[str, DatabaseFacts | None]
) -> None:
    """Compare one source in a backup with what it was, its logical content and its state."""
    name = DATABASES[source]
    key = f"{work.evidence.backups[when]}/{name}"
    path = directory / name
    try:
        was = work.evidence.before.state(source)
    except HarnessError:
        return  # the source itself is no database: the run has said so
    now = "missing" if not path.is_file() else "sqlite" if path.stat().st_size else "empty"
    if was != now:
        work.fault(
            "database-state",
            f"the {source} database was {was}, and in the backup {when} it is {now}",
            key=key,
            database=source,
            expected=was,
            actual=now,
        )
    elif was == "sqlite":
        facts = _without_journal_mode(database_facts(work.evidence.before.path(source)))
        _compare(work, facts, found[name], key, database=source)


def _compare(
    work: _Work, was: DatabaseFacts, now: DatabaseFacts | None, key: str, *, database: str
) -> None:
    if now is not None and was != now:
        work.findings += [
            replace(finding, cause=f"{key}: {finding.cause}", key=finding.key or key)
            for finding in database_differences(was, now, database=database, check="backups")
        ]


def _unified(work: _Work, found: dict[str, DatabaseFacts | None], folder: str) -> None:
    name = DATABASES["root"]
    key = f"{folder}/{name}"
    if name not in found:
        work.fault("database-state", "the unified database is not in the backup after", key=key)
    elif work.evidence.after is not None:
        try:
            was = _without_journal_mode(database_facts(work.evidence.after))
        except apsw.Error:
            return  # the integrity checker says that the unified database cannot be read
        _compare(work, was, found[name], key, database="unified")


def _plain_files(work: _Work, when: str, directory: Path, folder: str) -> None:
    """What a rollback needs beside the databases must be in the backup, byte by byte."""
    before = work.evidence.before.files()
    needed = {
        name: state
        for name, state in before.items()
        if name == REGISTRY_LOG or name.startswith("data/") or is_configuration(name)
    }
    there = Snapshot.of(directory).files()
    for name, state in needed.items():
        work.files += 1
        found = there.get(name)
        if found is None or found.sha256 != state.sha256:
            verb = "is not in" if found is None else "is another one in"
            work.fault(
                "file-missing" if found is None else "file-differs",
                f"the file {name} of the tree {verb} the backup {when}",
                key=f"{folder}/{name}",
                expected=state.sha256,
                actual=found.sha256 if found else None,
            )
