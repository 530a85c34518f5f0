"""Who answers for a service now: read from the databases, so that no crash can leave two at it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from devflow.live import capture
from devflow.migration.database import has_table, uri

__all__ = [
    "LEGACY",
    "NOBODY",
    "SERVICES",
    "SOURCE_OF",
    "UNIFIED",
    "Authority",
    "authority_of",
    "give_authority",
    "may_write",
]

LEGACY, UNIFIED = "legacy", "unified"
NOBODY = "nobody"
"""In a side's place while a backup is restored under both."""
SERVICES = ("vector-memory", "model-registry", "database-manager")
"""The services that have something to move, in the order in which they are moved.

The Database Manager comes last: the first usage that it records afterwards takes the opening
balances of all costs, and no requests are to be held while everybody who writes waits for that.
"""
SOURCE_OF = {"database-manager": "legacy", "vector-memory": "vector"}
"""Which database each legacy service writes to; the Model Registry keeps none."""
_BUSY_MS = 2_000


def authority_of(connection: apsw.Connection, service: str) -> str:
    """Return the side that answers for `service`, as the unified database says.

    One that says nothing of it was not moved while services ran, or is done with it.
    """
    row = connection.execute(
        "SELECT value FROM migration_facts WHERE name = ?", (f"live.authority.{service}",)
    ).fetchone()
    return UNIFIED if row is None else str(row[0])


def may_write(connection: apsw.Connection, service: str) -> bool:
    """Return whether the unified side answers for `service` here, in the caller's transaction.

    It does not before its cutover, after the way back, and where the root is back in its place.
    """
    return has_table(connection, "main", "migration_facts") and (
        authority_of(connection, service) == UNIFIED
    )


def give_authority(connection: apsw.Connection, service: str, side: str) -> None:
    """Let `side` answer for `service` from the end of the caller's transaction on."""
    connection.execute(
        "INSERT INTO migration_facts VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (f"live.authority.{service}", side),
    )


@dataclass(frozen=True, slots=True)
class Authority:
    """Where it is written who answers for `service`.

    `legacy` is the database that the legacy service writes to, None where it keeps none.
    """

    service: str
    unified: Path
    legacy: Path | None

    def side(self) -> str | None:
        """Return who answers, None while a cutover or a way back is between the two.

        The fence of the legacy database is set before the unified one takes over, and opened after
        the legacy one has it back: fenced without a successor, nobody may answer.
        """
        if self.unified.exists():
            with closing(_reader(self.unified)) as connection:
                if has_table(connection, "main", "migration_facts"):
                    side = authority_of(connection, self.service)
                    if side != LEGACY:
                        return UNIFIED if side == UNIFIED else None
        if self.legacy is None or not self.legacy.exists():
            return LEGACY
        with closing(_reader(self.legacy)) as connection:
            return None if capture.is_fenced(connection) else LEGACY


def _reader(path: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(uri(path, mode="ro"), flags=flags)
    connection.set_busy_timeout(_BUSY_MS)
    return connection
