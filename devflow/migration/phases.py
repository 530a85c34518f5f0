"""The five phases and the way back, as named steps that may each be run again."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from devflow.live import later
from devflow.migration import backups, configuration, shadow, validation
from devflow.migration.database import (
    back_up,
    number,
    open_source,
    open_writable,
    put_log_away,
    remove,
    sync_directory,
)
from devflow.migration.errors import MigrationError
from devflow.migration.journal import Journal
from devflow.migration.tree import SOURCES, Tree

__all__ = [
    "AT_REST",
    "GUARDED",
    "PHASES",
    "Allow",
    "Progress",
    "Step",
    "Way",
    "apply",
    "is_going_back",
    "plan",
    "rollback",
    "run_of",
    "status",
]

Counts = dict[str, int]
Progress = Callable[[Mapping[str, object]], None]
"""Told every event of the contract as it happens; may block, and so hold the migration."""
Allow = Callable[[str], None]
"""Asked with the run's name before the first step of a guarded phase; raises to refuse it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a phase: idempotent, and durable once it returns what it counted."""

    phase: str
    name: str
    run: Callable[[Tree], Counts]


@dataclass(frozen=True, slots=True)
class Way:
    """How a migration goes: its steps through the phases, and those of the two ways back.

    `back` restores the backup `before`; after `keeping` the legacy databases have what was written
    since, too, and `may_keep` raises where that cannot be. The steps in `unbacked` are run even
    where no backup was finished; without one, the others have nothing to bring back.
    """

    name: str
    forward: tuple[Step, ...]
    back: tuple[Step, ...]
    keeping: tuple[Step, ...]
    may_keep: Callable[[Tree], None]
    unbacked: frozenset[str]

    def returning(self, *, keep_writes: bool) -> tuple[Step, ...]:
        """Return the steps of one way back."""
        return self.keeping if keep_writes else self.back


def _back_up(when: str) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        return backups.back_up_tree(tree, when, keep_old=when == "before")

    return run


def _build(step: str) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        return shadow.run_step(tree, step)

    return run


def _back_up_during(tree: Tree) -> Counts:
    """Back up once more, and refuse to go on if anybody wrote since the first backup."""
    counts = backups.back_up_tree(tree, "during")
    for name in SOURCES:
        before, now = (tree.backup(when) / tree.paths[name] for when in ("before", "during"))
        if before.exists() != now.exists() or (
            before.exists() and not backups.same_pages(before, now)
        ):
            text = (
                f"{tree.path(name)} was written to after its backup;"
                " stop its service, roll back and apply again"
            )
            raise MigrationError("written-since-backup", text, definite=False)
    return counts


def _switch(tree: Tree) -> Counts:
    """Write the unified database over the root in place: one atomic transaction there."""
    with (
        closing(open_source(tree.backup("during") / tree.shadow.name, immutable=True)) as unified,
        closing(open_writable(tree.path("root"))) as root,
    ):
        put_log_away(root)
        back_up(unified, root, name=str(tree.path("root")))
    with closing(open_writable(tree.path("root"))) as root:
        root.execute("PRAGMA journal_mode = WAL").fetchall()
        tables = number(root, "SELECT count(*) FROM sqlite_master WHERE type = 'table'")
    sync_directory(tree.directory)
    return {"tables": tables}


def _configure(tree: Tree) -> Counts:
    return configuration.rewrite(tree.directory)


def _remove_data(tree: Tree) -> Counts:
    """Remove the old databases and their directory: all in it is in the backup `before`."""
    saved = backups.manifest_of(tree.backup("before"))["digests"]
    removed = 0
    for path in backups.other_data_files(tree):
        relative = path.relative_to(tree.directory).as_posix()
        if relative not in saved:
            text = (
                f"{path} came after the backup; move it out of the data directory and apply again"
            )
            raise MigrationError("data-not-backed-up", text, definite=False)
    for name in ("legacy", "vector"):
        removed += tree.path(name).exists()
        remove(tree.path(name))
    directory = tree.path("legacy").parent
    if directory != tree.directory and directory.is_dir():
        shutil.rmtree(directory)
    sync_directory(tree.directory)
    return {"databases": removed}


def _remove_shadow(tree: Tree) -> Counts:
    remove(tree.shadow)
    backups.forget_partial(tree)
    return {"shadows": 1}


STEPS: tuple[Step, ...] = (
    Step("backup", "backup.before", _back_up("before")),
    *(Step("shadow", f"shadow.{name}", _build(name)) for name in shadow.STEPS),
    Step("cutover", "cutover.backup-during", _back_up_during),
    Step("cutover", "cutover.switch", _switch),
    Step("cutover", "cutover.configuration", _configure),
    Step("validate", "validate.integrity", validation.check_integrity),
    Step("validate", "validate.inverse", validation.check_inverse),
    Step("validate", "validate.backup-after", _back_up("after")),
    Step("cleanup", "cleanup.data", _remove_data),
    Step("cleanup", "cleanup.shadow", _remove_shadow),
)
PHASES: tuple[str, ...] = ("backup", "shadow", "cutover", "validate", "cleanup")
GUARDED = PHASES[PHASES.index("cutover") :]
"""The phases that change what services see: who may begin them, `Allow` says."""


def _restore(name: str) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        return backups.restore_database(tree, name)

    return run


def _forget(tree: Tree) -> Counts:
    remove(tree.shadow)
    backups.forget_partial(tree)
    return {}


_RESTORING = tuple(Step("rollback", f"rollback.{name}", _restore(name)) for name in SOURCES)
FILES = Step("rollback", "rollback.files", backups.restore_files)
FORGETTING = Step("rollback", "rollback.shadow", _forget)
BACK: tuple[Step, ...] = (*_RESTORING, FILES, FORGETTING)
AT_REST = Way(
    name="at rest",
    forward=STEPS,
    back=BACK,
    keeping=(
        Step("rollback", "rollback.set-aside", later.set_aside),
        *_RESTORING,
        Step("rollback", "rollback.give-back", later.give_back),
        FILES,
        FORGETTING,
    ),
    may_keep=later.check,
    unbacked=frozenset({FORGETTING.name}),
)
"""Nobody writes while it runs, there or back."""


def plan(
    tree: Tree, until: str, way: Way = AT_REST, *, keep_writes: bool = False
) -> Iterator[Step]:
    """Yield the steps that `apply` would still run, then those of a rollback."""
    tree.check()
    done = _done(tree, way)
    last = PHASES.index(until)
    if not validation.is_unified(tree) or done:
        yield from (
            step
            for step in way.forward
            if PHASES.index(step.phase) <= last and step.name not in done
        )
    yield from way.returning(keep_writes=keep_writes)


def _done(tree: Tree, way: Way) -> set[str]:
    if not Journal.exists(tree.work):
        return set()
    with closing(Journal(tree.work)) as journal:
        _same_way(tree, journal, way)
        return {step.name for step in way.forward if journal.counts_of(step.name) is not None}


def _same_way(tree: Tree, journal: Journal, way: Way) -> None:
    begun = journal.way(way.name)
    if begun != way.name:
        text = (
            f"the migration of {tree.directory} was begun {begun}, not {way.name};"
            " go on with it, or roll it back, as it was begun"
        )
        raise MigrationError("other-way", text)


def status(tree: Tree) -> str:
    """Return the last phase that is done, `none` before the first."""
    if not Journal.exists(tree.work):
        return PHASES[-1] if validation.is_unified(tree) else "none"
    with closing(Journal(tree.work)) as journal:
        return journal.state()


def run_of(tree: Tree) -> str | None:
    """Return the name of the run that was begun in this tree, None where there is none."""
    if not Journal.exists(tree.work):
        return None
    with closing(Journal(tree.work)) as journal:
        return None if journal.rolling_back() else journal.run()


def is_going_back(tree: Tree) -> bool:
    """Return whether a rollback was begun in this tree and has not ended."""
    if not Journal.exists(tree.work):
        return False
    with closing(Journal(tree.work)) as journal:
        return journal.rolling_back()


@contextmanager
def _alone(tree: Tree) -> Iterator[None]:
    """Hold the tree for this process: two migrations at once would build one shadow together."""
    descriptor = os.open(tree.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = f"{tree.directory} is being migrated by another process; wait for it and retry"
            raise MigrationError("running", text) from error
        yield
    finally:
        os.close(descriptor)


def apply(
    tree: Tree, until: str, tell: Progress, allow: Allow | None = None, way: Way = AT_REST
) -> str:
    """Run the phases up to `until`, each step once; return the last phase that is done.

    A rollback that was cut off is first brought to its end. `allow` is asked once, while this
    process holds the tree.
    """
    with _alone(tree):
        return _apply(tree, until, tell, allow, way)


def _apply(tree: Tree, until: str, tell: Progress, allow: Allow | None, way: Way) -> str:
    tree.check()
    if Journal.exists(tree.work):
        with closing(Journal(tree.work)) as journal:
            _same_way(tree, journal, way)
            interrupted = journal.rolling_back()
        if interrupted:
            _rollback(tree, tell, way)
    elif validation.is_unified(tree):
        return PHASES[-1]
    tree.work.mkdir(exist_ok=True)
    with closing(Journal(tree.work)) as journal:
        _same_way(tree, journal, way)
        for phase in PHASES[: PHASES.index(until) + 1]:
            if allow is not None and phase in GUARDED and _to_do(phase, journal, way):
                allow(journal.run())
                allow = None
            tell({"event": "phase_started", "phase": phase})
            with shadow.kept_open():
                for step in way.forward:
                    if step.phase == phase:
                        _run(step, tree, journal, tell)
            journal.finish(phase)
            tell({"event": "phase_done", "phase": phase})
        return journal.state()


def _to_do(phase: str, journal: Journal, way: Way) -> bool:
    return any(step.phase == phase and journal.counts_of(step.name) is None for step in way.forward)


def _run(step: Step, tree: Tree, journal: Journal, tell: Progress) -> None:
    line = {"phase": step.phase, "step": step.name}
    counts = journal.counts_of(step.name)
    tell({"event": "step_started", **line})
    if counts is not None:
        tell({"event": "step_done", **line, "counts": counts, "skipped": True})
        return
    counts = step.run(tree)
    journal.enter(step.phase, step.name, counts)
    tell({"event": "step_done", **line, "counts": counts})


def rollback(tree: Tree, tell: Progress, way: Way = AT_REST, *, keep_writes: bool = False) -> str:
    """Bring databases and configuration back to what they were before the first phase.

    With `keep_writes` the legacy databases then have what was written to the unified one since;
    the services are to be stopped meanwhile. A rollback that was cut off goes on as it was begun.
    """
    with _alone(tree):
        return _rollback(tree, tell, way, keep_writes=keep_writes)


def _rollback(tree: Tree, tell: Progress, way: Way, *, keep_writes: bool = False) -> str:
    if not Journal.exists(tree.work):
        if validation.is_unified(tree):
            text = (
                f"{tree.directory} has no journal of a migration; restore {tree.backup('before')}"
            )
            raise MigrationError("no-journal", text)
        return "none"
    journal = Journal(tree.work)
    _same_way(tree, journal, way)
    keep_writes = _keeps(tree, journal, way, asked=keep_writes)
    journal.begin_rollback(keep_writes=keep_writes)
    backed_up = journal.counts_of("backup.before") is not None
    tell({"event": "phase_started", "phase": "rollback"})
    for step in way.returning(keep_writes=keep_writes):
        line = {"phase": "rollback", "step": step.name}
        tell({"event": "step_started", **line})
        # Without a finished backup no later phase has begun: there is nothing to bring back.
        counts = step.run(tree) if backed_up or step.name in way.unbacked else {}
        tell({"event": "step_done", **line, "counts": counts})
    journal.delete()
    if not later.clear_away(tree):
        shutil.rmtree(tree.work, ignore_errors=True)
    tell({"event": "phase_done", "phase": "rollback"})
    return "none"


def _keeps(tree: Tree, journal: Journal, way: Way, *, asked: bool) -> bool:
    """Return whether this rollback keeps writes: it goes on as it was begun."""
    if journal.rolling_back():
        if asked and not journal.keeps_writes():
            text = (
                f"{tree.directory} is being rolled back without keeping writes already;"
                " run rollback again without it"
            )
            raise MigrationError("rollback-begun", text)
        return journal.keeps_writes()
    if asked:  # what cannot be is said before anything is changed
        way.may_keep(tree)
    return asked
