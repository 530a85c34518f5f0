"""Sets the stage: a scenario's databases on disk, and copies of trees that are at rest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
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

__all__ = ["claim", "fresh", "lay", "prepare", "take"]

_MARKER = ".migration-gate"


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


def claim(out: Path) -> Path:
    """Make `out` ours and empty: a new folder, an empty one, or one that an earlier run left.

    BadInputError where something else is in it, for all that is in it will be removed.
    """
    marker = out / _MARKER
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out} is no folder; name another with --out")
    if out.is_dir() and any(out.iterdir()) and not marker.is_file():
        raise BadInputError(
            f"{out} holds files that no run of the gate left there; name another folder with --out"
        )
    try:
        fresh(out).mkdir()
        marker.write_text("A run of the migration gate; the next one removes what is here.\n")
    except OSError as error:
        raise EnvironmentFaultError(
            f"{out} cannot be written ({error.strerror}); name another folder with --out"
        ) from error
    return out


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
