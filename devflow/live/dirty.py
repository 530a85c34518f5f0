"""What a stretch of the log says: the keys of each unified table that were written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import apsw

from devflow.live.reverse_log import LOG, START
from devflow.migration.database import has_table, number
from devflow.migration.errors import MigrationError

__all__ = ["POSITION", "Dirty", "keys_in", "log_of", "position_of", "save_position", "stretch"]

POSITION = "reverse_position"


@dataclass(frozen=True, slots=True)
class Dirty:
    """The keys written after a position, by unified table; `upto` is the last of the log.

    `whole` are the tables without keys that were written. `behind` counts what comes after `upto`.
    """

    keys: Mapping[str, tuple[int, ...]]
    whole: frozenset[str]
    upto: int
    behind: int

    def of(self, table: str) -> tuple[int, ...]:
        """Return the keys of one table."""
        return self.keys.get(table, ())


def log_of(unified: apsw.Connection) -> int:
    """Return the log's own number, by which a position is known to be in it.

    Raises `MigrationError` where nobody notes what is written.
    """
    if not has_table(unified, "main", LOG):
        text = "nobody notes what is written to the unified database; install the capture first"
        raise MigrationError("no-capture", text)
    return number(unified, f"SELECT key FROM {START} WHERE target = ''")


def stretch(unified: apsw.Connection, after: int, limit_rows: int | None) -> Dirty:
    """Read at most `limit_rows` entries of the log after `after`."""
    limit = -1 if limit_rows is None else limit_rows
    found: dict[str, set[int]] = {}
    whole: set[str] = set()
    upto = after
    for n, target, key in unified.execute(
        f"SELECT n, target, key FROM {LOG} WHERE n > ? ORDER BY n LIMIT ?", (after, limit)
    ):
        upto = int(str(n))
        if key is None:
            whole.add(str(target))
        else:
            found.setdefault(str(target), set()).add(int(str(key)))
    behind = number(unified, f"SELECT count(*) FROM {LOG} WHERE n > :after", {"after": upto})
    keys = {table: tuple(sorted(each)) for table, each in found.items()}
    return Dirty(keys, frozenset(whole), upto, behind)


def keys_in(keys: Iterable[int]) -> str:
    """Return keys as one binding, for `IN (SELECT value FROM json_each(?))`."""
    return json.dumps(list(keys))


def position_of(connection: apsw.Connection, log: int | None = None) -> int:
    """Return how far of the log this database has; 0 where `log` names another than it has."""
    if not has_table(connection, "main", POSITION):
        return 0
    found = connection.execute(f"SELECT n, log FROM {POSITION}").fetchall()[0]
    return 0 if log is not None and found[1] != log else int(str(found[0]))


def save_position(connection: apsw.Connection, upto: int, log: int) -> None:
    """Write how far this database has the log, in the transaction of what it has."""
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {POSITION} (n INTEGER NOT NULL, log INTEGER NOT NULL)"
    )
    connection.execute(f"DELETE FROM {POSITION}")
    connection.execute(f"INSERT INTO {POSITION} VALUES (?, ?)", (upto, log))
