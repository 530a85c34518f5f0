"""Moves one service to the unified database while its clients wait for a few milliseconds.

The order is what keeps every write in one place: requests are held and those in flight end; the
legacy database is locked; the last notes are taken up; the fence is set, and with it the lock let
go; then the unified database says that it answers from now on; then the gate opens towards it.
Whatever fails before the fence leaves everything as it was. A crash behind the fence leaves
requests held, until this is run again, which goes on there. Both databases are locked, and the gate
is asked once more, before the fence is set: behind it there is nothing left to wait for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

import apsw

from devflow.live import capture
from devflow.live.authority import LEGACY, SOURCE_OF, UNIFIED, authority_of, give_authority
from devflow.live.catching_up import behind, catch_up
from devflow.live.control import GateControl
from devflow.live.following import following
from devflow.live.throttle import Throttle
from devflow.migration.database import (
    open_writable,
    transaction,
    wait_eagerly,
    wait_until_free,
)
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

__all__ = ["NEAR", "Limits", "cut_over", "follow"]

NEAR = 200
"""How many notes are few enough to move a service; until then clients are let breathe."""
_AT_HAND = 8
"""How many notes are few enough to be taken up while clients wait."""
_ROUNDS_MAX = 20
_AHEAD_OF_DEADLINE = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a cutover may keep clients waiting, and how often it may be tried.

    Past `hold_s` it backs out to the state before, waits `pause_s` and tries again, `attempts`
    times in all. `lease_s` is how long a gate stays held when nobody releases it.
    """

    hold_s: float = 0.5
    lease_s: float = 5.0
    attempts: int = 20
    pause_s: float = 0.25


class _LateError(Exception):
    """The attempt would keep clients waiting for too long."""


def follow(
    connection: apsw.Connection,
    source: str,
    *,
    near: int = 0,
    before_each: Callable[[], None] | None = None,
) -> int:
    """Catch up until at most `near` notes are left; return how many were taken up.

    `before_each` portion something may wait, as a `Throttle` does. Each round is shorter than the
    one before, unless more is written than can be followed: then it ends, with more left, after
    some rounds that came no nearer.
    """
    notes, rounds, least = 0, 0, behind(connection, source)
    while (left := behind(connection, source)) > near and rounds < _ROUNDS_MAX:
        rounds = 0 if left < least else rounds + 1
        least = min(left, least)
        if before_each is not None:
            before_each()
        notes += catch_up(connection, source).notes
    return notes


def cut_over(tree: Tree, service: str, gate: GateControl, limits: Limits) -> dict[str, int]:
    """Let the unified database answer for `service`; return how long it was held, in microseconds.

    Raises `MigrationError`, with the legacy service answering as before, when no attempt was
    short enough.
    """
    source = SOURCE_OF.get(service)
    with following(tree, tree.path("root")) as unified, _opened(tree, source) as legacy:
        if authority_of(unified, service) == UNIFIED:
            gate.let_go(UNIFIED)
            return {}
        locked = [unified] if legacy is None else [unified, legacy]
        for connection in locked:
            wait_eagerly(connection, limits.hold_s)
        for attempt in range(1, limits.attempts + 1):
            with suppress(_LateError, apsw.BusyError):
                if source is not None:
                    follow(unified, source, near=NEAR, before_each=Throttle([gate]).wait)
                    follow(unified, source, near=_AT_HAND)
                wait_until_free(*locked)  # clients need not wait for what others have begun
                return {"attempts": attempt, **_attempt(unified, legacy, service, gate, limits)}
            time.sleep(limits.pause_s)
    text = (
        f"{service} could not be moved: {limits.attempts} times its requests or its database were"
        f" not free within {limits.hold_s:g} s. It goes on as before; apply again later"
    )
    raise MigrationError("cutover-late", text, definite=False)


def _attempt(
    unified: apsw.Connection,
    legacy: apsw.Connection | None,
    service: str,
    gate: GateControl,
    limits: Limits,
) -> dict[str, int]:
    begun = time.perf_counter()
    until = begun + limits.hold_s
    if not gate.hold(drain_s=limits.hold_s / _AHEAD_OF_DEADLINE, lease_s=limits.lease_s):
        raise _LateError
    locked_us, is_fenced = 0, False
    try:
        if legacy is not None:
            with _locked(legacy, until) as was_fenced:
                locked, is_fenced = time.perf_counter(), was_fenced
                while not was_fenced and behind(unified, SOURCE_OF[service]):
                    if time.perf_counter() > until:
                        raise _LateError
                    catch_up(unified, SOURCE_OF[service])
                with transaction(unified):
                    if not gate.is_held():
                        raise _LateError
                    capture.fence(legacy)
                    legacy.execute("COMMIT")
                    is_fenced = True
                    give_authority(unified, service, UNIFIED)
                locked_us = _us(locked)
        else:
            with transaction(unified):
                give_authority(unified, service, UNIFIED)
    except BaseException:
        if is_fenced:
            _back_out(unified, legacy, service, gate)
        else:  # nothing was changed, and clients wait: open at once
            gate.let_go(LEGACY)
        raise
    gate.release(UNIFIED)
    return {"held us": _us(begun), "locked us": locked_us}


@contextmanager
def _opened(tree: Tree, source: str | None) -> Iterator[apsw.Connection | None]:
    """Open the source's database, its schema read, before anybody waits; None: there is none."""
    if source is None or not tree.has_database(source):
        yield None
        return
    with closing(open_writable(tree.path(source))) as legacy:
        capture.is_fenced(legacy)
        yield legacy


@contextmanager
def _locked(legacy: apsw.Connection, until: float) -> Iterator[bool]:
    """Hold the database's write lock within; yields whether it was fenced already."""
    wait_eagerly(legacy, until - time.perf_counter())
    try:
        legacy.execute("BEGIN IMMEDIATE")
    except apsw.BusyError as error:
        raise _LateError from error
    try:
        yield capture.is_fenced(legacy)
    finally:
        if legacy.in_transaction:
            legacy.execute("ROLLBACK")


def _back_out(
    unified: apsw.Connection, legacy: apsw.Connection | None, service: str, gate: GateControl
) -> None:
    """Give a fenced service back to the legacy side, as far as the databases let us."""
    with suppress(apsw.Error):
        if authority_of(unified, service) == UNIFIED:
            gate.let_go(UNIFIED)
            return
        if legacy is not None:
            with transaction(legacy):
                capture.open_fence(legacy)
        gate.let_go(LEGACY)


def _us(since: float) -> int:
    return round((time.perf_counter() - since) * 1_000_000)
