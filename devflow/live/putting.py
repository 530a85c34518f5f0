"""Puts a finished database in the place of one that is in use, in one transaction there."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw

from devflow.migration.database import open_source, open_writable
from devflow.migration.errors import MigrationError

__all__ = ["put_over"]

_AGAIN_S = 0.01


def put_over(
    source: Path, target: Path, *, is_current: Callable[[], bool], deadline_s: float = 30.0
) -> bool:
    """Write `source`, at rest, over `target`; return False, with nothing done, if it grew stale.

    The first page takes the target's write lock: `is_current` is asked under it whether `source`
    holds all that was written to the target until then. Readers go on with what was there before.
    Raises `MigrationError` when the lock is not to be had within `deadline_s` seconds.
    """
    until = time.monotonic() + deadline_s
    while True:
        try:
            return _try(source, target, is_current)
        except (apsw.BusyError, apsw.LockedError) as error:
            if time.monotonic() > until:
                text = (
                    f"{target} is locked by another process for {deadline_s:g} s;"
                    " stop it and apply again"
                )
                raise MigrationError("locked", text, definite=False) from error
            time.sleep(_AGAIN_S)


def _try(source: Path, target: Path, is_current: Callable[[], bool]) -> bool:
    with (
        closing(open_source(source, immutable=True)) as reader,
        closing(open_writable(target)) as writer,
        writer.backup("main", reader, "main") as backup,
    ):
        backup.step(1)
        if not is_current():
            return False
        while not backup.done:
            backup.step(-1)
    return True
