"""Twenty differences, planted alike in a unified database and in a copy of the legacy one.

In each of the five big legacy tables two rows change by a value, one is lost and one invented.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw

from harness.database import quote

__all__ = ["PLANTED", "plant_in_legacy", "plant_in_unified", "reorder"]

_CHANGED = {
    "task_contexts": ("task_contexts", "title"),
    "memory_blocks": ("memory_blocks", "content"),
    "memory_block_embeddings": ("memory_block_embeddings", "model_id"),
    "synthetic_usage": ("synthetic_usage", "cost_usd"),
    "sessions": ("sessions", "name"),
}
"""Of each legacy table the unified table, and the column whose value changes in two rows."""
_UNIFIED_NAMES = {"model_id": "model"}
PLANTED = 4 * len(_CHANGED)

_ROW = "(SELECT min({column}) + (max({column}) - min({column})) * {share} / 10 FROM {table})"
_NEW_VALUE = "CASE typeof({0}) WHEN 'text' THEN {0} || ' ' ELSE {0} + 1 END"


def plant_in_unified(database: Path) -> None:
    """Spoil the unified `database`: two rows change, one loses its origin, one origin is new."""
    with closing(apsw.Connection(str(database))) as connection, connection:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)  # they would stamp the rows
        for table, (unified, column) in _CHANGED.items():
            origin = quote(f"origin_legacy_{table}")
            name = quote(_UNIFIED_NAMES.get(column, column))
            for share in (3, 7):
                row = _ROW.format(column="source_rowid", table=origin, share=share)
                connection.execute(
                    f"UPDATE {quote(unified)} SET {name} = {_NEW_VALUE.format(name)} WHERE seq ="
                    f" (SELECT seq FROM {origin} WHERE source_rowid = {row})"
                )
            row = _ROW.format(column="source_rowid", table=origin, share=5)
            connection.execute(f"DELETE FROM {origin} WHERE source_rowid = {row}")
            connection.execute(
                f"INSERT INTO {origin} (source_rowid, seq, rule, residue, x_id)"
                f" SELECT source_rowid + 1, seq, rule, residue | 1, 'nobody wrote this'"
                f" FROM {origin} ORDER BY source_rowid DESC LIMIT 1"
            )
    _settle(database)


def plant_in_legacy(database: Path) -> None:
    """Spoil a copy of the legacy database in the same way."""
    with closing(apsw.Connection(str(database))) as connection, connection:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        for table, (_, column) in _CHANGED.items():
            name = quote(column)
            for share in (3, 7):
                row = _ROW.format(column="rowid", table=table, share=share)
                connection.execute(
                    f"UPDATE {table} SET {name} = {_NEW_VALUE.format(name)} WHERE rowid = {row}"
                )
            row = _ROW.format(column="rowid", table=table, share=5)
            connection.execute(f"DELETE FROM {table} WHERE rowid = {row}")
            names = [str(found[1]) for found in connection.execute(f"PRAGMA table_info({table})")]
            others = ", ".join(quote(name) for name in names if name != "id")
            connection.execute(
                f"INSERT INTO {table} (id, {others}) SELECT 'nobody wrote this', {others}"
                f" FROM {table} ORDER BY rowid DESC LIMIT 1"
            )
    _settle(database)


def reorder(database: Path, target: Path) -> None:
    """Write the legacy `database` to `target` with the same rows in another order."""
    target.unlink(missing_ok=True)
    with closing(apsw.Connection(str(target))) as connection:
        connection.execute("ATTACH ? AS given", (str(database),))
        schema = connection.execute(
            "SELECT name, type, sql FROM given.sqlite_master WHERE sql IS NOT NULL"
            " AND type IN ('table', 'index') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            " ORDER BY type DESC"
        ).fetchall()
        with connection:
            for name, kind, sql in schema:
                connection.execute(str(sql))
                if kind == "table":
                    table = quote(str(name))
                    connection.execute(
                        f"INSERT INTO {table} SELECT * FROM given.{table}"
                        " ORDER BY rowid * 2654435761 & 4294967295"
                    )


def _settle(database: Path) -> None:
    """Bring the write-ahead log into the file, so that it can be read at rest."""
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
