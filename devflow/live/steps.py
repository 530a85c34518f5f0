"""The live way through the phases: the same five, with services that write all the while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from devflow.live import capture, returning, reverse
from devflow.live.authority import (
    LEGACY,
    NOBODY,
    SERVICES,
    SOURCE_OF,
    UNIFIED,
    authority_of,
    give_authority,
)
from devflow.live.catching_up import behind, drop_indexes, index_origins, position, set_position
from devflow.live.control import GateControl
from devflow.live.cutover import NEAR, Limits, cut_over, follow
from devflow.live.following import (
    begin_capture,
    check_unbroken,
    end_capture,
    following,
    take_capture_out,
)
from devflow.live.putting import put_when_near
from devflow.live.throttle import Throttle
from devflow.migration import backups, phases, validation
from devflow.migration.database import (
    copy_database,
    open_source,
    open_writable,
    remove,
    sync_directory,
    transaction,
)
from devflow.migration.errors import MigrationError
from devflow.migration.phases import Step, Way
from devflow.migration.registry import follow_log
from devflow.migration.shadow import let_go
from devflow.migration.tree import SOURCES, Tree

__all__ = ["live_way"]

Counts = dict[str, int]
Gates = Mapping[str, GateControl]


def live_way(gates: Gates, limits: Limits | None = None, export: Path | None = None) -> Way:
    """Return the live way; `gates` has the gate proxy's control of each service.

    Where later writes are not kept in the legacy databases, they are left in the file `export`; by
    itself in one below `backups/later-writes`.

    Raises `MigrationError` where a service has no gate, or a gate no such service.
    """
    unknown = sorted(set(gates) - set(SERVICES))
    missing = [name for name in SERVICES if name not in gates]
    if unknown or missing:
        wrong = f"{unknown[0]!r} is none" if unknown else f"{missing[0]} has none"
        text = f"a live migration needs a gate for each of {', '.join(SERVICES)}; {wrong}"
        raise MigrationError("bad-request", text)
    at_rest = {step.name: step for step in phases.STEPS}
    shadow = (step for step in phases.STEPS if step.phase == "shadow")
    forward = (
        Step("backup", "backup.capture", begin_capture),
        Step("backup", "backup.before", _back_up("before")),
        *shadow,
        Step("shadow", "shadow.follow", partial(_follow, gates=gates)),
        Step("shadow", "shadow.put", _put),
        Step("cutover", "cutover.unbroken", _check_unbroken),
        Step("cutover", "cutover.way-back", returning.prove),
        Step("cutover", "cutover.backup-during", _back_up("during")),
        *(
            Step("cutover", f"cutover.{name}", _cut_over(name, gates[name], limits or Limits()))
            for name in SERVICES
        ),
        at_rest["cutover.configuration"],
        Step("validate", "validate.indexes", validation.fill_indexes),
        at_rest["validate.integrity"],
        Step("validate", "validate.followed", _validate),
        at_rest["validate.backup-after"],
        Step("cleanup", "cleanup.capture", _forget_live),
        at_rest["cleanup.data"],
        at_rest["cleanup.shadow"],
    )
    return Way(
        name="live",
        forward=forward,
        back=_to_backup(gates, export),
        keeping=_keeping(gates, limits or Limits()),
        may_keep=_refuse_cleaned,
        unbacked=frozenset({"rollback.capture", phases.FORGETTING.name}),
    )


def _keeping(gates: Gates, limits: Limits) -> tuple[Step, ...]:
    databases = returning.Databases()
    give_back = partial(returning.give_back, databases=databases, gates=gates, limits=limits)
    return (
        Step("rollback", "rollback.drain", partial(returning.drain_live, databases=databases)),
        Step("rollback", "rollback.services", give_back),
        Step("rollback", "rollback.root", returning.put_root_back),
        Step("rollback", "rollback.capture", _end_capture),
        phases.FILES,
        phases.FORGETTING,
    )


def _to_backup(gates: Gates, export: Path | None) -> tuple[Step, ...]:
    at_rest = [step for step in phases.AT_REST.back if step != phases.FORGETTING]
    # The root comes last of the databases: until then it says that nobody answers.
    at_rest.sort(key=lambda step: step.name == "rollback.root")
    files = [step for step in at_rest if step == phases.FILES]
    return (
        Step("rollback", "rollback.hold", _hold_all(gates, Limits())),
        Step("rollback", "rollback.export", partial(returning.export_writes, to=export)),
        *(step for step in at_rest if step != phases.FILES),
        *files,
        Step("rollback", "rollback.capture", _end_capture),
        Step("rollback", "rollback.release", _release_all(gates)),
        phases.FORGETTING,
    )


def _refuse_cleaned(tree: Tree) -> None:
    if not (tree.backup("before") / backups.MANIFEST).exists():
        return
    backed_up = backups.manifest_of(tree.backup("before"))["databases"]
    for source in SOURCE_OF.values():
        if backed_up[source]["state"] == "sqlite" and tree.state(source) == "missing":
            text = (
                f"{tree.path(source)} was removed by the cleanup, so nothing can flow back into it;"
                " roll back to the backup, which leaves later writes in a file"
            )
            raise MigrationError("cleaned-up", text)


def _end_capture(tree: Tree) -> Counts:
    counts = end_capture(tree)
    returning.forget(tree)
    return counts


def _back_up(when: str) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        return backups.back_up_tree(tree, when, keep_old=when == "before", clean=take_capture_out)

    return run


def _follow(tree: Tree, *, gates: Gates) -> Counts:
    """Bring the shadow near to what the sources are now; from here on it follows their notes."""
    captured = _captured(tree)
    notes, throttle = 0, Throttle(gates.values())
    let_go()
    with following(tree, tree.shadow) as shadow:
        index_origins(shadow)
        with transaction(shadow):
            for source in SOURCES:
                set_position(shadow, source, max(captured[source], position(shadow, source)))
            for service in SERVICES:
                give_authority(shadow, service, LEGACY)
            lines = follow_log(shadow, tree.path("registry"))["lines"]
        for source in SOURCES:
            notes += follow(shadow, source, near=NEAR, before_each=throttle.wait)
        returning.set_older_aside(tree)
        # From here on whoever writes to it is noted: in the root's place, that may be anybody.
        reverse.install(shadow)
    return {"notes": notes, "lines": lines, "waited ms": round(throttle.waited_s * 1000)}


def _put(tree: Tree) -> Counts:
    """Put the unified database in the root's place: those who write there go on in it."""
    if validation.is_unified(tree):
        return {}
    attempts = put_when_near(tree.shadow, tree.path("root"), _Near(tree))
    with closing(open_writable(tree.path("root"))) as root:
        root.execute("PRAGMA journal_mode = WAL").fetchall()
    sync_directory(tree.directory)
    return {"attempts": attempts}


class _Near:
    """How near the shadow, and what is kept of the root, are to the root itself."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._kept = self._followed = -1

    def bring(self) -> None:
        """Keep the root as it is, and follow it."""
        self._kept = _keep_root(self._tree)
        with following(self._tree, self._tree.shadow) as shadow:
            follow(shadow, "root")
            self._followed = position(shadow, "root")

    def is_current(self) -> bool:
        """Return whether nothing was written to the root since either."""
        if self._kept != self._followed:
            return False
        with closing(open_source(self._tree.path("root"))) as root:
            return not capture.is_installed(root) or self._followed == capture.high_water_mark(root)


def _keep_root(tree: Tree) -> int:
    """Keep a copy of the root for the way back; return up to where its writes were noted."""
    if not tree.has_database("root"):
        return 0
    copy = returning.returning_root(tree)
    remove(copy)
    copy_database(tree.path("root"), copy, name=str(tree.path("root")))
    with closing(open_writable(copy)) as root:
        return take_capture_out(root)


def _captured(tree: Tree) -> dict[str, int]:
    """Return up to where each source had noted its writes when it was backed up."""
    databases = backups.manifest_of(tree.backup("before"))["databases"]
    return {source: int(databases[source].get("captured", 0)) for source in SOURCES}


def _check_unbroken(tree: Tree) -> Counts:
    captured = _captured(tree)
    check_unbroken(tree, {source: captured[source] for source in SOURCE_OF.values()})
    return {"databases": len(SOURCE_OF)}


def _cut_over(service: str, gate: GateControl, limits: Limits) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        return cut_over(tree, service, gate, limits)

    return run


def _validate(tree: Tree) -> Counts:
    """Check that nothing was left behind: the fenced databases say no more than was followed."""
    with following(tree, tree.path("root")) as unified:
        for service, source in SOURCE_OF.items():
            if authority_of(unified, service) != UNIFIED or behind(unified, source):
                text = f"{service} was written to behind its cutover; roll back"
                raise MigrationError("validation-failed", text, definite=False)
        with transaction(unified):
            lines = follow_log(unified, tree.path("registry"))["lines"]
    return {"lines": lines}


def _forget_live(tree: Tree) -> Counts:
    """Leave nothing of the live migration in the unified database."""
    with closing(open_writable(tree.path("root"))) as unified:
        reverse.remove(unified)
        drop_indexes(unified)
        with transaction(unified):
            unified.execute("DELETE FROM migration_facts WHERE name GLOB 'live.*'")
    return {}


def _hold_all(gates: Gates, limits: Limits) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        held = sum(
            gate.hold_if_there(drain_s=limits.hold_s, lease_s=limits.lease_s)
            for gate in gates.values()
        )
        if validation.is_unified(tree):  # to restore may take longer than gates stay held
            with closing(open_writable(tree.path("root"))) as unified:
                reverse.fence(unified)
                with transaction(unified):
                    for service in SERVICES:
                        give_authority(unified, service, NOBODY)
        return {"gates held": held}

    return run


def _release_all(gates: Gates) -> Callable[[Tree], Counts]:
    def run(tree: Tree) -> Counts:
        del tree
        for gate in gates.values():
            gate.let_go(LEGACY)
        return {"gates": len(gates)}

    return run
