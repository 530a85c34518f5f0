"""What the migration itself checks before it lets go of the old databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import apsw

from devflow.migration.database import columns, number, open_source, open_writable, quote, uri
from devflow.migration.errors import MigrationError
from devflow.migration.inverse import inverse_expression
from devflow.migration.shapes import is_planned_here, other_columns
from devflow.migration.tables import PLANNED
from devflow.migration.targets import TableMap
from devflow.migration.tree import SOURCES, Tree

__all__ = ["check_integrity", "check_inverse", "fill_indexes", "is_unified", "is_unified_here"]

_FULL_TEXT = ("memory_fts", "tasks_fts", "knowledge_entities_fts")


def is_unified(tree: Tree) -> bool:
    """Return whether the root is a unified database already."""
    if tree.state("root") != "sqlite":
        return False
    with closing(open_source(tree.path("root"))) as connection:
        return is_unified_here(connection)


def is_unified_here(connection: apsw.Connection) -> bool:
    """Return whether the database that is open is a unified one."""
    query = (
        "SELECT count(*) FROM sqlite_master"
        " WHERE name IN ('migration_facts', 'added_rows', 'origin_root_task_contexts')"
    )
    return number(connection, query) == 3


def _fail(tree: Tree, problem: str) -> MigrationError:
    text = f"{tree.path('root')} failed its validation: {problem}; roll back"
    return MigrationError("validation-failed", text, definite=False)


def check_integrity(tree: Tree) -> dict[str, int]:
    """Have SQLite check the pages, and FTS5 each full-text index against its content."""
    with closing(open_writable(tree.path("root"))) as connection:
        # A carried row that broke its table's CHECK before is an old fault, no damage.
        connection.execute("PRAGMA ignore_check_constraints = ON")
        answers = connection.execute("PRAGMA quick_check(5)").fetchall()
        if answers != [("ok",)]:
            raise _fail(tree, str(answers[0][0]))
        for name, error in _out_of_step(connection):
            raise _fail(tree, f"{name} is out of step ({error})") from error
        orphans = number(connection, "SELECT count(*) FROM pragma_foreign_key_check")
    return {"full-text indexes": len(_FULL_TEXT), "dangling references": orphans}


def fill_indexes(tree: Tree) -> dict[str, int]:
    """Fill each full-text index anew that is out of step with its rows, as live writers leave one.

    An index holds nothing of its own: it is made of the rows, so nothing can be lost by this.
    """
    with closing(open_writable(tree.path("root"))) as connection:
        stale = [name for name, _ in _out_of_step(connection)]
        for name in stale:
            connection.execute(f"INSERT INTO {name} ({name}) VALUES ('rebuild')")
    return {"indexes filled anew": len(stale)}


def _out_of_step(connection: apsw.Connection) -> Iterator[tuple[str, apsw.Error]]:
    """Yield each full-text index that does not say what its rows say, and what SQLite finds."""
    for name in _FULL_TEXT:
        try:
            connection.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)")
        except apsw.BusyError as error:  # SQLite checks it behind the write lock
            path = connection.db_filename("main")
            text = f"{path} is locked by another process; let that end and apply again"
            raise MigrationError("locked", text, definite=False) from error
        except apsw.Error as error:
            yield name, error


def check_inverse(tree: Tree) -> dict[str, int]:
    """Rebuild every planned legacy row from the unified database, and compare it in SQLite."""
    rows = 0
    with closing(open_source(tree.path("root"))) as connection:
        for source in SOURCES:
            path = tree.backup("before") / tree.paths[source]
            there = path.exists() and path.stat().st_size
            where = uri(path, mode="ro", immutable=True) if there else ":memory:"
            connection.execute(f"ATTACH ? AS src_{source}", (where,))
        for table in PLANNED:
            if is_planned_here(connection, table):
                rows += _check_table(connection, tree, table)
    return {"rows": rows}


def _check_table(connection: apsw.Connection, tree: Tree, table: TableMap) -> int:
    source = f"src_{table.source}.{quote(table.table)}"
    present = columns(connection, f"src_{table.source}", table.table)
    pairs = [
        (f"s.{quote(name)}", inverse_expression(table, name))
        for name in table.inverse
        if name in present
    ]
    pairs += [
        (f"s.{quote(name)}", f"o.{quote('x_' + name)}") for name in other_columns(connection, table)
    ]
    alike = " AND ".join(
        f"typeof({left}) = typeof({right}) AND {left} IS {right} COLLATE BINARY"
        for left, right in pairs
    )
    rows = number(connection, f"SELECT count(*) FROM {source}")
    # No row is counted twice: an origin has one row a source row, and both keys are unique. An
    # outer join of the rebuilt rows would first gather them all in a table of its own.
    lost = rows - number(
        connection,
        f"SELECT count(*) FROM {table.joined} JOIN {source} AS s ON s.rowid = o.source_rowid"
        f" WHERE {alike}",
    )
    if lost:
        raise _fail(tree, f"{lost} rows of {table.name} cannot be rebuilt from it")
    return rows
