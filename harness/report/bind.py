"""Makes the subjects of a report: digests of sources, results, candidate, mapping and harness.

The names are fixed here, for `harness.attest` finds by them what it is asked to compare:
`before` and `before/<path>`, `after/<path>`, `candidate`, `mapping`, `policy`, `scenario/<name>`
and `harness`; in a gate, those of a scenario have `<scenario>:` before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.candidate import Candidate
from harness.model import DATABASES
from harness.report.digests import file_digest, harness_digest
from harness.report.model import Method, Subject
from harness.snapshot import REGISTRY_LOG, Snapshot, database_digest

__all__ = [
    "bind_candidate",
    "bind_database",
    "bind_file",
    "bind_harness",
    "bind_snapshot",
    "keep_copies",
]


def bind_snapshot(snapshot: Snapshot, *, kept: str | None = None, run: str = "") -> list[Subject]:
    """Return the subjects of the sources as they were: the whole, each database, the log.

    `kept` is the snapshot's directory relative to the report's folder, where it stays there;
    `run` the scenario's name in a gate.
    """
    prefix = f"{run}:" if run else ""
    subjects = [
        Subject(name=f"{prefix}before", digest=snapshot.digest(), method=Method.SNAPSHOT, path=kept)
    ]
    for name, relative in DATABASES.items():
        if snapshot.state(name) == "sqlite":
            path = f"{kept}/{relative}" if kept else None
            called = f"{prefix}before/{relative}"
            subjects.append(bind_database(snapshot.path(name), name=called, kept=path))
    if snapshot.state("registry") == "file":
        log = snapshot.path("registry")
        path = f"{kept}/{REGISTRY_LOG}" if kept else None
        subjects.append(bind_file(log, name=f"{prefix}before/{REGISTRY_LOG}", kept=path))
    return subjects


def bind_database(database: Path, *, name: str, kept: str | None = None) -> Subject:
    """Return the subject of one database, such as `after/devflow.sqlite`."""
    return Subject(
        name=name,
        digest=database_digest(database),
        method=Method.DATABASE,
        path=kept,
        sha256=file_digest(database) if kept else None,
    )


def bind_file(file: Path, *, name: str, kept: str | None = None) -> Subject:
    """Return the subject of one plain file: `mapping`, `policy`, `scenario/<name>`."""
    return Subject(name=name, digest=file_digest(file), method=Method.FILE, path=kept)


def bind_candidate(candidate: Candidate) -> Subject:
    """Return the subject of the migration under test: all that lies beside its manifest."""
    return Subject(name="candidate", digest=candidate.digest, method=Method.CANDIDATE)


def bind_harness() -> Subject:
    """Return the subject of the running harness: the digest of its own files."""
    return Subject(name="harness", digest=harness_digest(), method=Method.TREE)


def keep_copies(files: Iterable[tuple[str, Path]], out: Path) -> list[Subject]:
    """Copy small bound files (name, path) into `out`/evidence and return their subjects.

    So the report can be checked by itself, without the checkout that it was made in.
    """
    subjects = []
    for name, path in files:
        kept = f"evidence/{name}{path.suffix}"
        copy = out / kept
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        subjects.append(bind_file(copy, name=name, kept=kept))
    return subjects
