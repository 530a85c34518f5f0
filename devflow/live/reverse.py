"""Lets what is written to the unified database flow back into the legacy databases.

`install` begins to note the keys of what is written; `drain` re-reads those rows and brings the
legacy rows to match, in their old shapes, ids and words (devflow.live.images says how, and which
new row goes where). Each legacy database is written in one transaction of its own, which saves in
it how far of the log it has: a transaction over several databases in WAL mode is not atomic. What
a drain writes depends on the state of the unified rows alone; so one that was cut off, between two
databases or within one, is simply run again.

What no legacy table can hold goes to the sidecar (devflow.live.sidecar), whose position is its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import apsw

from devflow.live.applying import Tally, forget, write_back
from devflow.live.dirty import log_of, position_of
from devflow.live.images import images
from devflow.live.replaying import Replayed, replay
from devflow.live.reverse_log import fence, install, last_noted, remove
from devflow.live.sidecar import counts_of, export_later_writes, keep_back

__all__ = [
    "Drained",
    "Replayed",
    "drain",
    "drain_all",
    "export_later_writes",
    "fence",
    "forget",
    "install",
    "remove",
    "replay",
]

LIMIT_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Drained:
    """What one drain did, in rows by `source.table`; `kept` is what the sidecar has, by table.

    `behind` is how many entries of the log the database that has least of it still lacks.
    """

    written: Mapping[str, int] = field(default_factory=dict)
    deleted: Mapping[str, int] = field(default_factory=dict)
    unchanged: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    behind: int = 0


def drain(
    unified: apsw.Connection,
    legacy: Mapping[str, apsw.Connection],
    *,
    sidecar: apsw.Connection,
    limit_rows: int | None = LIMIT_ROWS,
    sources: Collection[str] | None = None,
) -> Drained:
    """Bring each legacy database, then the sidecar, further along the log.

    `legacy` are the databases by source (`root`, `legacy`, `vector`): one that is left out counts
    as not there, and its rows are kept in the sidecar. Only `sources` of them are written, where
    given: one that its own service still writes to must not be. At most `limit_rows` entries are
    read a database, all of them where it is None. Of the connections `unified` alone may be in a
    transaction. Raises `MigrationError` where nobody notes what is written.
    """
    written = {
        source: connection
        for source, connection in legacy.items()
        if sources is None or source in sources
    }
    log, last = log_of(unified), last_noted(unified)
    if all(position_of(each, log) == last for each in (*written.values(), sidecar)):
        return Drained(kept=counts_of(sidecar))
    tally, shapes = Tally(), images(unified, legacy)
    behind = [
        write_back(unified, connection, source, shapes, limit_rows, tally)
        for source, connection in written.items()
    ]
    kept, left = keep_back(unified, legacy, sidecar, shapes, limit_rows)
    return Drained(tally.written, tally.deleted, tally.unchanged, kept, max([*behind, left]))


def drain_all(
    unified: apsw.Connection,
    legacy: Mapping[str, apsw.Connection],
    *,
    sidecar: apsw.Connection,
    sources: Collection[str] | None = None,
) -> Drained:
    """Drain until nothing is behind; for when nobody writes any more. Return the sums."""
    written: dict[str, int] = {}
    deleted: dict[str, int] = {}
    kept: dict[str, int] = {}
    unchanged = 0
    while True:
        done = drain(unified, legacy, sidecar=sidecar, sources=sources)
        for sums, more in ((written, done.written), (deleted, done.deleted)):
            for name, rows in more.items():
                sums[name] = sums.get(name, 0) + rows
        unchanged, kept = unchanged + done.unchanged, dict(done.kept)
        if not done.behind:
            return Drained(written, deleted, unchanged, kept, 0)
