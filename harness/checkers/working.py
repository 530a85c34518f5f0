"""Whether a schema works, tried on a throwaway copy: views, triggers, full-text indexes, rename."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial

import apsw

from harness.checkers.ddl import virtual_shape, words
from harness.checkers.ddl_diff import Catalog, Item, Kind
from harness.checkers.firing import fire, fire_alone
from harness.database import quote
from harness.model import Finding, Severity

__all__ = ["Trial", "select_problem", "text_index_problem", "try_schema", "virtual_problem"]


@dataclass(slots=True)
class Trial:
    """What was tried and what came of it; `silent` are triggers that nothing made fire."""

    views: int = 0
    triggers: int = 0
    virtual_tables: int = 0
    findings: list[Finding] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


def select_problem(connection: apsw.Connection, name: str) -> str | None:
    """Select every column of a view or table inside SQLite; return the error, None if it works."""
    try:
        connection.execute("SAVEPOINT probe")
        try:
            connection.execute(
                f"CREATE TEMP TABLE harness_probe AS SELECT * FROM main.{quote(name)} LIMIT 1000"
            )
        finally:
            connection.execute("ROLLBACK TO probe; RELEASE probe")
    except apsw.Error as error:
        return str(error)
    return None


def text_index_problem(connection: apsw.Connection, name: str) -> str | None:
    """Run FTS5's own check against the content (rank 1); return what it says, None if in step."""
    table = quote(name)
    try:
        connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
    except apsw.Error as error:
        return str(error)
    return None


def virtual_problem(connection: apsw.Connection, item: Item) -> str | None:
    """Select from a virtual table; a full-text one is checked, rebuilt, checked and searched."""
    problem = select_problem(connection, item.name)
    shape = virtual_shape(item.sql)
    if problem or shape.module != "fts5":
        return problem
    table = quote(item.name)
    if problem := text_index_problem(connection, item.name):
        return f"its own check fails: {problem}"
    try:
        if dict(shape.options).get("content") != "":  # nothing to rebuild an index from
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")
        connection.execute(f"SELECT count(*) FROM {table} WHERE {table} MATCH 'probe'").fetchall()
    except apsw.Error as error:
        return str(error)
    return text_index_problem(connection, item.name)


def try_schema(
    connection: apsw.Connection, catalog: Catalog, *, excused: Callable[[Item], bool]
) -> Trial:
    """Select each view, fire each trigger, check each virtual table, rename a table.

    `excused` says of a dead object that it is a source's own, carried as it was: a warning.
    """
    trial = Trial()
    for item in catalog.values():
        if item.kind is Kind.VIEW:
            trial.views += 1
            trial.findings += _dead(item, select_problem(connection, item.name), excused)
        elif item.kind is Kind.VIRTUAL:
            trial.virtual_tables += 1
            trial.findings += _dead(item, virtual_problem(connection, item), excused)
        elif item.kind is Kind.TRIGGER:
            trial.triggers += 1
            trial.findings += _try_trigger(connection, item, trial, excused)
    trial.findings += _indexes_that_fall_behind(catalog, excused)
    trial.findings += _try_rename(connection, catalog, dead=bool(trial.findings))
    trial.findings += _quick_check(connection)
    return trial


def _dead(item: Item, problem: str | None, excused: Callable[[Item], bool]) -> Iterator[Finding]:
    if problem is None:
        return
    carried = excused(item)
    yield Finding(
        rule=f"schema/{item.kind.replace(' ', '-')}-dead",
        severity=Severity.WARNING if carried else Severity.ERROR,
        cause=f"the {item.kind} {item.name} does not work: {problem}"
        + (" (it did not in its source either, and nobody planned for it)" if carried else ""),
        database="unified",
        table=item.table,
        key=item.name,
        actual=problem,
    )


def _try_trigger(
    connection: apsw.Connection, item: Item, trial: Trial, excused: Callable[[Item], bool]
) -> Iterator[Finding]:
    firing = fire(connection, item)
    if firing.outcome == "failed":
        alone = fire_alone(connection, item)
        fault = "" if alone.outcome == "failed" else " (with the other triggers; alone it fires)"
        yield from _dead(item, firing.error + fault, excused)
    elif firing.outcome == "silent":
        trial.silent.append(item.name)
        yield Finding(
            rule="schema/trigger-not-fired",
            severity=Severity.WARNING,
            cause=f"no made-up row brought the trigger {item.name} to fire, so it is not verified",
            database="unified",
            table=item.table,
            key=item.name,
        )


def _indexes_that_fall_behind(
    catalog: Catalog, excused: Callable[[Item], bool]
) -> Iterator[Finding]:
    """Say which triggers leave a full-text index over their table out of step."""
    kinds = (Kind.TABLE, Kind.VIRTUAL, Kind.TRIGGER)
    items = sorted((i for i in catalog.values() if i.kind in kinds), key=lambda i: i.key)
    for item, problem in _out_of_step(tuple(items)):
        yield from _dead(item, problem, excused)


@lru_cache(maxsize=32)
def _out_of_step(items: tuple[Item, ...]) -> tuple[tuple[Item, str], ...]:
    """Fire each trigger that writes to a full-text index over its table, and check that index.

    This is done on an empty copy of the schema, where the index's own check costs nothing.
    """
    found: list[tuple[Item, str]] = []
    triggers = [item for item in items if item.kind is Kind.TRIGGER]
    with closing(apsw.Connection(":memory:")) as empty:
        for kind in (Kind.TABLE, Kind.VIRTUAL, Kind.TRIGGER):
            for item in items:
                if item.kind is kind:
                    with suppress(apsw.Error):  # dead on arrival: `decided` asks what became of it
                        empty.execute(item.sql)
        for index in items:
            shape = virtual_shape(index.sql) if index.kind is Kind.VIRTUAL else None
            if shape is None or shape.module != "fts5":
                continue
            over = dict(shape.options).get("content", "").strip("'\"").lower()
            check = partial(text_index_problem, empty, index.name)
            for item in triggers:
                if item.table.lower() == over and index.name.lower() in words(item.sql):
                    firing = fire(empty, item, after=check)
                    if firing.outcome == "failed":
                        behind = f"after it the full-text index {index.name} is not in step"
                        found.append((item, f"{behind}: {firing.error}"))
    return tuple(found)


def _try_rename(connection: apsw.Connection, catalog: Catalog, *, dead: bool) -> Iterator[Finding]:
    """Rename one table and back: SQLite then reads the whole schema, views and triggers too."""
    item = next((item for item in catalog.values() if item.kind is Kind.TABLE), None)
    if item is None:
        return
    try:
        connection.execute("SAVEPOINT renaming")
        try:
            connection.execute(
                f"ALTER TABLE {quote(item.name)} RENAME TO {quote(item.name + '_renamed')}"
            )
        finally:
            connection.execute("ROLLBACK TO renaming; RELEASE renaming")
    except apsw.Error as error:
        yield Finding(
            rule="schema/rename-fails",
            # What is dead has its own finding; this is then its consequence.
            severity=Severity.WARNING if dead else Severity.ERROR,
            cause=f"no table can be renamed any more: {error}",
            database="unified",
            table=item.name,
            actual=str(error),
        )


def _quick_check(connection: apsw.Connection) -> Iterator[Finding]:
    answer = str(connection.execute("PRAGMA quick_check(1)").get)
    if answer != "ok":
        yield Finding(
            rule="schema/quick-check",
            cause=f"after all that was tried, SQLite's quick check says: {answer}",
            database="unified",
            actual=answer,
        )
