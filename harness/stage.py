"""Sets the stage: a scenario's databases on disk, and copies of trees that are at rest."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw

from harness.candidate import Candidate
from harness.errors import BadInputError, EnvironmentFaultError
from harness.fixture.build import build
from harness.fixture.copy import copy_tree
from harness.fixture.folder import fixtures_folder
from harness.fixture.recipe import Recipe
from harness.model import DATABASES
from harness.scenario import FixtureSource, Scenario
from harness.snapshot import REGISTRY_LOG, Snapshot

__all__ = ["claimed", "cleared", "fresh", "lay", "prepare", "prepare_claimed", "take"]

_MARKER = ".migration-gate"
_COMING = "coming"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_APPROVALS = "approvals"  # so `harness approve` calls it, which is of a higher layer


def prepare(scenario: Scenario, out: Path) -> Path:
    """Put the scenario's legacy databases into `out`, made anew, and return it."""
    source = scenario.fixture
    fresh(out)
    if source.profile is not None:
        recipe = Recipe(
            profile=source.profile, seed=source.seed, scale=source.scale, hazards=source.hazards
        )
        build(recipe, out)
    elif source.copied is not None:
        copy_tree(source.copied, out)
    else:
        _inline(source, out, scenario)
    return out


def _inline(source: FixtureSource, out: Path, scenario: Scenario) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if source.config == "as-planned":
        shutil.copytree(fixtures_folder() / "tree", out, dirs_exist_ok=True)
    for name, statements in (source.inline or {}).items():
        path = out / DATABASES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if statements is None:
            path.touch()
            continue
        connection = apsw.Connection(str(path))
        connection.execute("PRAGMA journal_mode=WAL")
        for number, statement in enumerate(statements, start=1):
            try:
                connection.execute(statement)
            except apsw.Error as error:
                raise BadInputError(
                    f"{scenario.path}: statement {number} of `fixture.inline.{name}` fails: {error}"
                ) from error
        connection.close()
    if source.log is not None:
        log = out / REGISTRY_LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(source.log)


def fresh(directory: Path) -> Path:
    """Remove `directory` with all that is in it, and return it; its parent is made."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[Path]:
    """Hold `out` for one run: a new folder, an empty one, or one that an earlier run left.

    Nothing in it is removed before `cleared`. BadInputError where something else is in it, a
    report that somebody approved, or where another run holds it; EnvironmentFaultError where the
    disk is full, also later.
    """
    with contextlib.ExitStack() as stack:
        try:
            _refuse_foreign(out)
            out.mkdir(parents=True, exist_ok=True)
            marker = stack.enter_context((out / _MARKER).open("a", encoding="utf-8"))
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _refuse_approved(out)
            if not marker.tell():
                marker.write("A run of the migration gate; the next one removes what is here.\n")
                marker.flush()
        except BlockingIOError as error:
            raise BadInputError(
                f"{out} is in use by another run of the gate; wait until it has ended, or name"
                " another folder with --out"
            ) from error
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            yield out
        except (OSError, apsw.FullError) as error:
            if not _is_full(error):
                raise
            place = getattr(error, "filename", None) or out
            raise EnvironmentFaultError(
                f"the disk of {place} is full; make room there, or name a folder on another disk"
                " with --out"
            ) from error


def _is_full(error: Exception) -> bool:
    """Whether there was no room; `shutil.Error` has no number, but the words for each file."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    words = [os.strerror(number) for number in _FULL]
    return isinstance(error, apsw.FullError) or any(word in str(error) for word in words)


def cleared(out: Path, *, but: str | None = None) -> Path:
    """Remove what an earlier run left in `out`, which is claimed, and return it.

    The entry `but` stays. EnvironmentFaultError where something cannot be removed.
    """
    try:
        for entry in out.iterdir():
            if entry.name in (_MARKER, but):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise _unwritable(out, error) from error
    return out


def prepare_claimed(scenario: Scenario, out: Path) -> Path:
    """Put the scenario's databases into `fixture` of `out`, which is claimed; clear the rest.

    What cannot be used is refused while the report of an earlier run still stands there.
    """
    coming = prepare(scenario, out / _COMING)
    return coming.rename(cleared(out, but=_COMING) / "fixture")


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out} is no folder; name another with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / _MARKER).is_file():
        raise BadInputError(
            f"{out} holds files that no run of the gate left there; name another folder with --out"
        )


def _refuse_approved(out: Path) -> None:
    """Refuse a folder with approvals in it: a cutover can begin and go on with them alone."""
    for marker in out.rglob(_MARKER):
        approvals = marker.with_name(_APPROVALS)
        if approvals.is_dir() and any(approvals.iterdir()):
            raise BadInputError(
                f"{marker.parent} holds a report that was approved, and a new run would remove it"
                " with its approvals; name another folder with --out"
            )


def _unwritable(out: Path, error: OSError) -> EnvironmentFaultError:
    return EnvironmentFaultError(
        f"{out} cannot be written ({error.strerror}); name another folder with --out"
    )


def lay(source: Path, out: Path, *, without: Iterable[str] = ()) -> Path:
    """Copy a tree at rest with its WAL files to `out`, made anew, and return that.

    `without` are relative posix paths that stay behind, with what is below them.
    """
    left = {source / name for name in without}

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith("-shm") or Path(folder, name) in left]

    shutil.copytree(source, fresh(out), symlinks=True, ignore=ignored)
    return out


def take(tree: Path, out: Path, candidate: Candidate) -> Snapshot:
    """Copy what a candidate answers for: the tree without its backups and its own journal."""
    left = [*candidate.backups.values(), *candidate.state]
    lay(tree, out, without=left)
    for name in left:  # a folder that holds nothing but these is the candidate's too
        folder = (out / name).parent
        if folder != out and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Snapshot.of(out)
