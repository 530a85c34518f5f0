"""Puts a finished database in the place of one that is in use, in one transaction there."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import apsw

from devflow.migration.database import open_source, open_writable
from devflow.migration.errors import MigrationError

__all__ = ["Near", "put_over", "put_when_near"]

_PATIENT = 2
"""How often it is tried before writers have to wait: beyond that they would never let it be."""
_AGAIN_S = 0.01


class Near(Protocol):
    """How near the database that is to be put is to the one in whose place it goes."""

    def bring(self) -> None:
        """Bring into it what was written to the other since."""

    def is_current(self) -> bool:
        """Return whether it holds all that was written to the other."""


def put_when_near(source: Path, target: Path, near: Near) -> int:
    """Put `source` in the place of `target` once it has all of it; return the attempts it took.

    Writers to the target go on, unless they are too busy to let it ever come near: after some
    attempts they wait until it is put. Raises `MigrationError` as `put_over` does.
    """
    attempts, is_put = 0, False
    while not is_put:
        attempts += 1
        is_patient = attempts <= _PATIENT
        if is_patient:
            near.bring()
        bring_up = None if is_patient else near.bring
        is_put = put_over(source, target, is_current=near.is_current, bring_up=bring_up)
    return attempts


def put_over(
    source: Path,
    target: Path,
    *,
    is_current: Callable[[], bool],
    bring_up: Callable[[], None] | None = None,
    deadline_s: float = 30.0,
) -> bool:
    """Write `source`, at rest, over `target`; return False, with nothing done, if it grew stale.

    The first page takes the target's write lock: `is_current` is asked under it whether `source`
    holds all that was written to the target until then. `bring_up` is called before, while writers
    to the target wait, to bring the last of it into `source`: where they never pause, nothing else
    would get there. Readers go on with what was there before. Raises `MigrationError` when the lock
    is not to be had within `deadline_s` seconds.
    """
    until = time.monotonic() + deadline_s
    while True:
        try:
            return _try(source, target, is_current, bring_up)
        except (apsw.BusyError, apsw.LockedError) as error:
            if time.monotonic() > until:
                text = (
                    f"{target} is locked by another process for {deadline_s:g} s;"
                    " stop it and apply again"
                )
                raise MigrationError("locked", text, definite=False) from error
            time.sleep(_AGAIN_S)


def _try(
    source: Path,
    target: Path,
    is_current: Callable[[], bool],
    bring_up: Callable[[], None] | None,
) -> bool:
    with ExitStack() as stack:
        waiting = None
        if bring_up is not None:
            waiting = stack.enter_context(closing(open_writable(target)))
            waiting.execute("BEGIN IMMEDIATE")
            bring_up()
        reader = stack.enter_context(closing(open_source(source, immutable=True)))
        writer = stack.enter_context(closing(open_writable(target)))
        backup = stack.enter_context(closing(writer.backup("main", reader, "main")))
        if waiting is not None:  # the next statement takes the lock, before those who wait wake up
            waiting.execute("ROLLBACK")
        backup.step(1)
        if not is_current():
            return False
        while not backup.done:
            backup.step(-1)
    return True
