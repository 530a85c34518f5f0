"""Services on copies of a run's databases: what the checks of services start from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import apsw

from harness.candidate_services import Service, stand_ins
from harness.checkers.evidence import Evidence
from harness.errors import BadInputError, InvariantError
from harness.fixture.folder import fixtures_folder
from harness.model import DATABASES
from harness.providers import Providers, providers
from harness.services import Live, running

__all__ = ["UNASKED", "Served", "copied", "digest_copy", "put_in", "served_after", "served_before"]

# How often a service works by itself: not while anything is compared.
UNASKED = {"DEVFLOW_HEALTH_INTERVAL_S": "86400", "DEVFLOW_LEARN_INTERVAL_S": "86400"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Services that run, by name; the tree that they work on; and the providers they see."""

    services: Mapping[str, Live]
    tree: Path
    providers: Providers

    @property
    def database(self) -> Path:
        """The unified database."""
        return self.tree / DATABASES["root"]


@contextmanager
def served_after(
    evidence: Evidence, services: Iterable[Service], place: str, *, first: Iterable[str] = ()
) -> Iterator[Served]:
    """Start `services` on a copy of the migrated tree in the folder `place` of the run.

    `first` are SQL statements that are run on the copy before.
    """
    folder = _folder(evidence, place)
    assert evidence.tree is not None  # noqa: S101 - `_folder` saw to it
    tree = copied(evidence.tree, folder / "after", without=evidence.backups.values())
    put_in(tree / DATABASES["root"], tuple(first))
    with providers() as seen:
        environment = {
            **seen.environment,
            "DEVFLOW_DB_PATH": str(tree / DATABASES["root"]),
            **UNASKED,
            "DEVFLOW_SEED": "1",
        }
        with running(services, environment=environment, logs=folder / "logs") as found:
            yield Served(services=found, tree=tree, providers=seen)


def put_in(path: Path, statements: tuple[str, ...]) -> None:
    """Run SQL on a database that nobody serves yet; BadInputError where it does not fit."""
    if not statements:
        return
    with closing(apsw.Connection(str(path))) as database:
        for statement in statements:
            try:
                database.execute(statement)
            except apsw.Error as error:
                raise BadInputError(
                    f"what a recipe's `holds` puts in before does not fit: {error}: {statement}"
                ) from error


@contextmanager
def served_before(evidence: Evidence, names: Iterable[str], place: str) -> Iterator[Served]:
    """Start the legacy stand-ins of `names` on a copy of the tree as it was before."""
    folder = _folder(evidence, place)
    tree = copied(evidence.before.directory, folder / "before")
    known = {service.name: service for service in stand_ins(fixtures_folder() / "services")}
    with providers() as seen:
        chosen = [replace(known[name], directory=tree) for name in names]
        environment = seen.environment
        logs = folder / "logs-before"
        with running(chosen, environment=environment, logs=logs) as found:
            yield Served(services=found, tree=tree, providers=seen)


def _folder(evidence: Evidence, place: str) -> Path:
    if evidence.work is None or evidence.tree is None:
        raise InvariantError("a check of services was asked for a run without a migrated tree")
    return (evidence.work / place).resolve()  # a service has a working directory of its own


def copied(tree: Path, to: Path, *, without: Iterable[str] = ()) -> Path:
    """Copy a tree that nobody works on, `without` some of its folders; return the copy."""
    left = {tree / name for name in without}

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith("-shm") or Path(folder, name) in left]

    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(tree, to, symlinks=True, ignore=ignored)
    return to


def digest_copy(database: Path, to: Path) -> Path:
    """Copy a database that is being served, as one transaction sees it, and return the copy."""
    to.unlink(missing_ok=True)
    source = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    copy = apsw.Connection(str(to))
    try:
        source.set_busy_timeout(5_000)
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
    finally:
        copy.close()
        source.close()
    return to
