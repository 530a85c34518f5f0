"""The way back while clients use the services: every later write goes with it.

What was written to the unified database is drained into the legacy ones while it still serves; then
requests are held, it is locked against everybody, the rest is drained, the legacy databases are
locked too, and it says that the legacy side answers again. Only then are the fences opened, one
database a transaction, and the gates. A crash in between leaves requests held, until the way back
is taken up again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

from devflow.live import capture, later, reverse
from devflow.live.authority import (
    LEGACY,
    SERVICES,
    SOURCE_OF,
    UNIFIED,
    authority_of,
    give_authority,
)
from devflow.live.control import GateControl
from devflow.live.cutover import Limits
from devflow.live.dirty import position_of
from devflow.live.putting import put_when_near
from devflow.live.reverse_log import LOG
from devflow.migration import validation
from devflow.migration.backups import manifest_of
from devflow.migration.database import (
    has_table,
    number,
    open_source,
    open_writable,
    remove,
    transaction,
    wait_eagerly,
    wait_until_free,
)
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

__all__ = [
    "Databases",
    "drain_live",
    "export_writes",
    "forget",
    "give_back",
    "prove",
    "put_root_back",
    "returning_root",
    "set_older_aside",
    "sidecar_of",
]

EXPORTS = "later-writes"
_NEAR = 100
_ROUNDS_MAX = 5
Counts = dict[str, int]
Gates = Mapping[str, GateControl]


def sidecar_of(tree: Tree) -> Path:
    """Return the database that keeps what no legacy database can hold."""
    return tree.work / later.SIDECAR


def returning_root(tree: Tree) -> Path:
    """Return the root as it was when the unified database took its place, and what came since."""
    return tree.work / "root.sqlite"


def _root_back(tree: Tree) -> Path:
    return tree.work / "root-back.sqlite"


@contextmanager
def _unified(tree: Tree) -> Iterator[apsw.Connection | None]:
    """Open the unified database, once for a step: its schema takes longer to read than its rows.

    None where the root is no unified database.
    """
    if not tree.has_database("root"):
        yield None
        return
    with closing(open_writable(tree.path("root"))) as root:
        yield root if validation.is_unified_here(root) else None


@contextmanager
def _captured(tree: Tree) -> Iterator[apsw.Connection | None]:
    """Open the unified database; None where there is none, or nobody notes what is written."""
    with _unified(tree) as unified:
        yield unified if unified is not None and has_table(unified, "main", LOG) else None


@contextmanager
def _legacy(tree: Tree) -> Iterator[dict[str, apsw.Connection]]:
    """Open the legacy databases that writes to the unified one flow back to."""
    with ExitStack() as stack:
        legacy = {}
        for source in ("legacy", "vector"):
            if tree.has_database(source):
                legacy[source] = stack.enter_context(closing(open_writable(tree.path(source))))
        if returning_root(tree).exists():
            legacy["root"] = stack.enter_context(closing(open_writable(returning_root(tree))))
        yield legacy


def _flowing(
    unified: apsw.Connection, legacy: Mapping[str, apsw.Connection]
) -> dict[str, apsw.Connection]:
    """Return those that take what is written to the unified database: their services rest.

    A service that was not moved, or was given back by a run that was cut off then, writes to its
    own: nothing may be written over what it has.
    """
    own = {
        source for service, source in SOURCE_OF.items() if authority_of(unified, service) != UNIFIED
    }
    return {source: connection for source, connection in legacy.items() if source not in own}


@dataclass(frozen=True, slots=True)
class _Opened:
    """The databases between which writes flow back."""

    unified: apsw.Connection
    legacy: Mapping[str, apsw.Connection]
    sidecar: apsw.Connection


class Databases:
    """What the way back reads and writes, kept open from its drain to where requests are held.

    Who opens a database reads its schema first, and compiles each statement: clients need not wait
    for that.
    """

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._stack = ExitStack()
        self._kept: _Opened | None = None

    @contextmanager
    def opened(self, tree: Tree, *, keep: bool = False) -> Iterator[_Opened | None]:
        """Yield them, opened if need be, and `keep` them open for the next who asks.

        None where there is no unified database, or nobody notes what is written to it.
        """
        with self._stack.pop_all() as stack:
            opened, self._kept = self._kept or _open(tree, stack), None
            yield opened
            if keep:
                self._stack, self._kept = stack.pop_all(), opened


def _open(tree: Tree, stack: ExitStack) -> _Opened | None:
    unified = stack.enter_context(_captured(tree))
    if unified is None:
        return None
    legacy = stack.enter_context(_legacy(tree))
    return _Opened(unified, legacy, stack.enter_context(closing(open_writable(sidecar_of(tree)))))


def drain_live(tree: Tree, databases: Databases) -> Counts:
    """Bring the legacy databases near to the unified one, which still serves."""
    with databases.opened(tree, keep=True) as opened:
        return {} if opened is None else _drain(opened, for_good=True)


def _drain(opened: _Opened, *, for_good: bool) -> Counts:
    """Drain into those whose services rest; what others would take is kept beside `for_good`."""
    flowing = _flowing(opened.unified, opened.legacy)
    takers = flowing if for_good else opened.legacy
    return _come_near(opened.unified, takers, opened.sidecar, set(flowing))


def _come_near(
    unified: apsw.Connection,
    legacy: Mapping[str, apsw.Connection],
    sidecar: apsw.Connection,
    sources: set[str],
    near: int = _NEAR,
) -> Counts:
    """Drain until near, or until some rounds came no nearer: the rest is for when nobody writes."""
    rows, rounds, least = 0, 0, math.inf
    while True:
        done = reverse.drain(unified, legacy, sidecar=sidecar, sources=sources)
        rows += sum(done.written.values()) + sum(done.deleted.values())
        rounds = 0 if done.behind < least else rounds + 1
        least = min(least, done.behind)
        if done.behind <= near or rounds == _ROUNDS_MAX:
            return {"rows": rows, "rows kept beside": sum(done.kept.values())}


def prove(tree: Tree) -> Counts:
    """Show, before any service is moved, that the way back can be gone: go its first steps.

    Raises `MigrationError` where it cannot: then no cutover begins.
    """
    with Databases().opened(tree) as opened:
        if opened is None:
            text = f"nobody notes what is written to {tree.path('root')}; roll back and begin anew"
            raise MigrationError("no-way-back", text, definite=False)
        _check_root(tree)
        return _drain(opened, for_good=False)


def _check_root(tree: Tree) -> None:
    """Raise `MigrationError` where the root, as it was, could not be put back."""
    kept = manifest_of(tree.backup("before"))["databases"]
    if kept["root"]["state"] == "sqlite":
        if not returning_root(tree).exists():
            text = f"{returning_root(tree)} is gone, so the root could not be put back; roll back"
            raise MigrationError("no-way-back", text, definite=False)
        with closing(open_source(returning_root(tree))) as root:
            answers = root.execute("PRAGMA quick_check(1)").fetchall()
        if answers != [("ok",)]:
            text = f"{returning_root(tree)} is damaged ({answers[0][0]}); roll back and begin anew"
            raise MigrationError("no-way-back", text, definite=False)


def give_back(tree: Tree, databases: Databases, gates: Gates, limits: Limits) -> Counts:
    """Let the legacy services answer again; return how long requests were held.

    Raises `MigrationError`, with the unified services answering as before, when no attempt was
    short enough.
    """
    with databases.opened(tree) as opened:
        if opened is not None:
            return _give_back(opened, gates, limits)
    _open_fences(tree)
    return {}


def _give_back(opened: _Opened, gates: Gates, limits: Limits) -> Counts:
    locked = (opened.unified, *opened.legacy.values())
    for connection in locked:
        wait_eagerly(connection, limits.hold_s)
    moved = [name for name in SERVICES if authority_of(opened.unified, name) == UNIFIED]
    for attempt in range(1, limits.attempts + 1):
        held: list[str] = []
        try:
            _drain(opened, for_good=True)
            wait_until_free(*locked)
            begun = time.perf_counter()
            for name in moved:
                if not _hold(gates[name], limits):
                    raise _LateError
                held.append(name)
            _drain_and_pass(opened, [gates[name] for name in moved], limits)
            _let_go(gates, gates, LEGACY)
            held_us = round((time.perf_counter() - begun) * 1_000_000)
            return {"attempts": attempt, "held us": held_us}
        except (apsw.BusyError, _LateError):
            pass  # tried again below, and told where no attempt was short enough
        finally:
            _let_go_unmoved(gates, held, opened.unified)
        time.sleep(limits.pause_s)
    text = (
        f"the services could not be given back: {limits.attempts} times their requests or the"
        f" database were not free within {limits.hold_s:g} s. They go on as before; try again"
    )
    raise MigrationError("rollback-late", text, definite=False)


def _hold(gate: GateControl, limits: Limits) -> bool:
    return gate.hold_if_there(drain_s=limits.hold_s / 2, lease_s=limits.lease_s)


def _let_go(gates: Gates, names: Mapping[str, object] | list[str], side: str) -> None:
    for name in names:
        gates[name].let_go(side)


class _LateError(Exception):
    """The attempt would keep clients waiting for too long."""


def _let_go_unmoved(gates: Gates, held: list[str], unified: apsw.Connection) -> None:
    """Open the gates where the unified side still answers; else the databases are not done yet."""
    if unified.in_transaction:
        unified.execute("ROLLBACK")
    with suppress(apsw.Error):  # a gate that nobody opens asks the databases once its lease ends
        _let_go(gates, [name for name in held if authority_of(unified, name) == UNIFIED], UNIFIED)


def _drain_and_pass(opened: _Opened, asked: list[GateControl], limits: Limits) -> None:
    """Lock everything, drain the rest behind the lock, and let the legacy side answer.

    The gates in `asked` are asked once more at the end: one that opened by itself, because its
    lease ended or it was started anew, lets requests through to the unified side.
    """
    until = time.perf_counter() + limits.lease_s / 2
    unified, legacy = opened.unified, opened.legacy
    unified.execute("BEGIN IMMEDIATE")
    reverse.drain_all(unified, _flowing(unified, legacy), sidecar=opened.sidecar)
    with ExitStack() as fences:
        for source in SOURCE_OF.values():
            if source in legacy and capture.is_fenced(legacy[source]):
                fences.enter_context(transaction(legacy[source]))
                capture.open_fence(legacy[source])
        if time.perf_counter() > until or not all(
            gate.is_held() or gate.is_gone() for gate in asked
        ):
            raise _LateError
        for service in SERVICES:
            give_authority(unified, service, LEGACY)
        unified.execute("COMMIT")


def _open_fences(tree: Tree) -> None:
    for source in SOURCE_OF.values():
        if tree.has_database(source):
            with closing(open_writable(tree.path(source))) as legacy:
                if capture.is_fenced(legacy):
                    with transaction(legacy):
                        capture.open_fence(legacy)


def put_root_back(tree: Tree) -> Counts:
    """Put the root, with what was written to it since, in the unified database's place."""
    with _unified(tree) as unified:
        if unified is None or not returning_root(tree).exists():
            return {}
        return {
            "attempts": put_when_near(_root_back(tree), tree.path("root"), _Near(tree, unified))
        }


class _Near:
    """How near the root that is to go back is to what was written to the unified database."""

    def __init__(self, tree: Tree, unified: apsw.Connection) -> None:
        self._tree, self._unified, self._followed = tree, unified, -1

    def bring(self) -> None:
        """Let flow back what there is, all of it where nobody writes, and make the root anew."""
        tree = self._tree
        with (
            closing(open_writable(returning_root(tree))) as root,
            closing(open_writable(sidecar_of(tree))) as sidecar,
        ):
            # The others answer for themselves again: nothing may be written over what they have.
            _come_near(self._unified, {"root": root}, sidecar, {"root"}, near=0)
            self._followed = position_of(root)
        _copy_without_traces(returning_root(tree), _root_back(tree))

    def is_current(self) -> bool:
        """Return whether nothing was written since."""
        query = f"SELECT count(*) FROM {LOG} WHERE n > :followed"
        return not number(self._unified, query, {"followed": self._followed})


def _copy_without_traces(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())
    with closing(open_writable(target)) as copy:
        reverse.forget(copy)


def export_writes(tree: Tree, to: Path | None = None) -> Counts:
    """Write what came since the unified database began to a file, before it is given up.

    By itself it is one below `backups`, and none that an earlier way back has left.
    The cleanup took the notes away: then what differs from what was switched on was written since.
    """
    with _unified(tree) as unified:
        if unified is None:
            return {}
        folder = tree.directory / "backups" / EXPORTS
        file = to or later.free_path(folder / "later-writes.sqlite")
        file.parent.mkdir(parents=True, exist_ok=True)
        if has_table(unified, "main", LOG):
            rows = reverse.export_later_writes(unified, file)
        else:
            rows = later.export(tree, file)
    if not rows:
        remove(file)
    return rows


def set_older_aside(tree: Tree) -> None:
    """Keep the sidecar of an earlier way back under another name: its keys are that one's."""
    number_of = 1
    while sidecar_of(tree).with_suffix(f".{number_of}.sqlite").exists():
        number_of += 1
    if sidecar_of(tree).exists():
        sidecar_of(tree).rename(sidecar_of(tree).with_suffix(f".{number_of}.sqlite"))


def forget(tree: Tree) -> None:
    """Remove what the way back made beside the databases, the sidecar if it has no rows."""
    remove(returning_root(tree))
    remove(_root_back(tree))
    if sidecar_of(tree).exists():
        with closing(open_source(sidecar_of(tree))) as sidecar:
            kept = has_table(sidecar, "main", "kept") and number(
                sidecar, "SELECT count(*) FROM kept"
            )
        if not kept:
            remove(sidecar_of(tree))
