"""Making triggers fire on a throwaway copy, with rows made up to satisfy what stands in their way.

Nothing of the copy is believed to be there: a row is made from the table's own declaration, its
CHECKs, and the literals of the trigger's condition, and SQLite says which of them will do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import apsw
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from harness.checkers.ddl import TriggerShape, affinity, table_shape, trigger_shape, words
from harness.checkers.ddl_diff import Item
from harness.database import Column, columns_of, quote

__all__ = ["Firing", "fire", "fire_alone"]

_ATTEMPTS_MAX: Final = 36
_COMBINATIONS_MAX: Final = 400
_FLOAT_ONE: Final = b"\x00\x00\x80\x3f"
Value = str | int | float | bytes | None
Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Firing:
    """What came of trying: `fired`, `failed` with its error, or `silent`: nothing made it fire."""

    outcome: str
    error: str = ""


class _Watch:
    """Sees by SQLite's trace whether a trigger's body ran.

    SQLite announces a trigger by name before it asks the condition, and then each statement.
    """

    def __init__(self, name: str, shape: TriggerShape) -> None:
        self.announced = False
        self.fired = False
        self._name = name.lower()
        self._body = shape.body

    def __call__(self, event: dict[str, object]) -> None:
        text = str(event.get("sql", ""))
        if not event.get("trigger"):
            return
        if text.startswith("TRIGGER "):
            self.announced = text.removeprefix("TRIGGER ").lower() == self._name
        elif self.announced:
            said = words(text)
            self.fired = self.fired or said == self._body[: len(said)]


@contextmanager
def _undone(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT attempt")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO attempt; RELEASE attempt")


def fire_alone(connection: apsw.Connection, item: Item) -> Firing:
    """Fire a trigger with all others of its event away, so that a fault is its own.

    Those of other events stay: an index over text must have been told of a row to forget it.
    """
    event = trigger_shape(item.sql).event
    with _undone(connection):
        others = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name <> ?", (item.name,)
        ).fetchall()
        for name, sql in others:
            if trigger_shape(str(sql)).event == event:
                connection.execute(f"DROP TRIGGER {quote(str(name))}")
        return fire(connection, item)


def fire(
    connection: apsw.Connection, item: Item, *, after: Callable[[], str | None] | None = None
) -> Firing:
    """Fire the trigger in a savepoint that is undone; SQL errors become the outcome.

    `after` is asked when it has fired, before anything is undone, and says what is wrong then.
    Where nothing makes it fire, it is tried again with a row in each table that its condition asks.
    """
    firing = _fire(connection, item, after)
    if firing.outcome != "silent":
        return firing
    with _undone(connection):
        return _fire(connection, item, after) if _furnished(connection, item) else firing


def _fire(
    connection: apsw.Connection, item: Item, after: Callable[[], str | None] | None
) -> Firing:
    shape = trigger_shape(item.sql)
    columns = columns_of(connection, item.table)
    names = {column.name.lower() for column in columns}
    if shape.of and not names & set(shape.of):
        missing = ", ".join(shape.of)
        return Firing("failed", f"it waits for an UPDATE of {missing}, a column that is not there")
    problem = ""
    for old, new in itertools.islice(_attempts(connection, shape, columns, item), _ATTEMPTS_MAX):
        firing = _attempt(connection, item, shape, columns, old, new, after)
        if firing.outcome == "fired":
            return firing
        problem = problem or firing.error
    return Firing("failed", problem) if problem else Firing("silent")


def _furnished(connection: apsw.Connection, item: Item) -> bool:
    """Put a made-up row into each table that a condition asks; return whether there is any.

    The sequences of AUTOINCREMENT are asked for what was there before: a row comes and goes.
    """
    when = trigger_shape(item.sql).when_words
    asked = {name for word, name in itertools.pairwise(when) if word in ("from", "join")}
    if "sqlite_sequence" in asked and _came(connection, item.table):
        own = quote(item.table)
        connection.execute(f"DELETE FROM {own} WHERE rowid = last_insert_rowid()")
    for name in sorted(asked - {"sqlite_sequence"}):
        _came(connection, name)
    return bool(asked)


def _came(connection: apsw.Connection, table: str) -> bool:
    columns = columns_of(connection, table)
    for row in _base_rows(connection, table, columns):
        try:
            connection.execute(*_insert(table, columns, row))
        except apsw.Error:
            continue
        return True
    return False


def _attempt(
    connection: apsw.Connection,
    item: Item,
    shape: TriggerShape,
    columns: Sequence[Column],
    old: Row,
    new: Row,
    after: Callable[[], str | None] | None,
) -> Firing:
    """Bring one row into being and do to it what the trigger waits for."""
    watch = _Watch(item.name, shape)
    with _undone(connection):
        if shape.event == "insert":
            statement, values = _insert(item.table, columns, new)
        else:
            place = _put(connection, item, columns, old)
            if place is None and shape.timing != "instead of":
                return Firing("silent")
            where, values = place or ("1", [])  # of a view, the rows that it shows
            if shape.event == "update":
                changed = _changed(shape, columns, old, new)
                sets = ", ".join(f"{quote(name)} = ?" for name in changed)
                statement = f"UPDATE {quote(item.table)} SET {sets} WHERE {where}"
                values = [*changed.values(), *values]
            else:
                statement = f"DELETE FROM {quote(item.table)} WHERE {where}"
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, watch)
        try:
            connection.execute(statement, values)
        except apsw.ConstraintError as error:
            # The made-up row may be at fault, unless the trigger was already at work; and one
            # that refuses by RAISE does what it is for.
            code = getattr(error, "extendedresult", None)
            if watch.fired and code == apsw.SQLITE_CONSTRAINT_TRIGGER:
                return Firing("fired")
            return Firing("failed", str(error)) if watch.fired else Firing("silent")
        except apsw.Error as error:
            return Firing("failed", str(error))
        finally:
            connection.trace_v2(0, None)
        if watch.fired and after is not None and (problem := after()):
            return Firing("failed", problem)
    return Firing("fired" if watch.fired else "silent")


def _insert(table: str, columns: Sequence[Column], row: Row) -> tuple[str, list[Value]]:
    if not row:
        return f"INSERT INTO {quote(table)} DEFAULT VALUES", []
    names = ", ".join(quote(name) for name in row)
    marks = ", ".join("?" for _ in row)
    return f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})", list(row.values())


def _put(
    connection: apsw.Connection, item: Item, columns: Sequence[Column], row: Row
) -> tuple[str, list[Value]] | None:
    """Insert the row that is to be changed; return the WHERE that finds it, None if refused.

    Where another trigger is in the way, the row comes in with all triggers off.
    """
    statement, values = _insert(item.table, columns, row)
    for triggers in (1, 0):
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, triggers)
        try:
            connection.execute(statement, values)
        except apsw.Error:
            continue
        else:
            break
        finally:
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)
    else:
        return None
    keyed = [c.name for c in columns if c.primary_key_position and c.name in row]
    try:
        if connection.execute(f"SELECT 1 FROM {quote(item.table)} WHERE rowid = ?", (0,)):
            return "rowid = ?", [connection.last_insert_rowid()]
    except apsw.SQLError:
        pass  # a table WITHOUT ROWID, or a view
    keyed = keyed or list(row)
    return " AND ".join(f"{quote(name)} IS ?" for name in keyed), [row[name] for name in keyed]


def _changed(shape: TriggerShape, columns: Sequence[Column], old: Row, new: Row) -> Row:
    """Return what an UPDATE sets: what differs, and something that the trigger waits for."""
    names = {column.name.lower(): column.name for column in columns if not column.generated}
    changed = {name: value for name, value in new.items() if name not in old or old[name] != value}
    watched = [names[name] for name in shape.of if name in names]
    if watched and not any(name in changed for name in watched):
        quiet = [name for name in watched if name.lower() not in shape.when_words] or watched
        changed[quiet[-1]] = new.get(quiet[-1], old.get(quiet[-1], "probe"))
    if not changed:
        spare = [n for low, n in names.items() if low not in shape.when_words and n in new]
        name = (spare or list(new) or list(names.values()))[-1]
        changed[name] = new.get(name)
    return changed


def _attempts(
    connection: apsw.Connection, shape: TriggerShape, columns: Sequence[Column], item: Item
) -> Iterator[tuple[Row, Row]]:
    """Yield rows before and after that satisfy the condition, the plainest first."""
    bases = _base_rows(connection, item.table, columns)
    mentioned = _mentioned(shape, columns)
    if not mentioned:
        yield from ((base, base) for base in bases)
        return
    choices = [_choices(connection, item.table, c, shape, bases[0]) for c in mentioned]
    sides = 1 if shape.event != "update" else 2
    names = [column.name for column in mentioned]
    product = itertools.product(*(choices * sides))
    for combination in itertools.islice(product, _COMBINATIONS_MAX):
        first = dict(zip(names, combination[: len(names)], strict=True))
        second = dict(zip(names, combination[-len(names) :], strict=True))
        if _holds(connection, shape.when, first, second):
            for base in bases:
                yield {**base, **first}, {**base, **second}


def _mentioned(shape: TriggerShape, columns: Sequence[Column]) -> list[Column]:
    used = {
        word
        for before, dot, word in zip(
            shape.when_words, shape.when_words[1:], shape.when_words[2:], strict=False
        )
        if dot == "." and before in ("new", "old")
    }
    return [c for c in columns if c.name.lower() in used and not c.generated]


def _holds(connection: apsw.Connection, when: str, old: Row, new: Row) -> bool:
    """Whether the condition is true of two rows: OLD and NEW are but names to SQLite."""
    sides = [
        "(SELECT " + ", ".join(f"? AS {quote(name)}" for name in row) + ")" for row in (old, new)
    ]
    sql = f"SELECT ({when}) IS TRUE FROM {sides[0]} AS OLD, {sides[1]} AS NEW"
    try:
        return bool(connection.execute(sql, [*old.values(), *new.values()]).get)
    except apsw.Error:
        return True  # a condition that cannot be asked for by itself: let the trigger speak


def _choices(
    connection: apsw.Connection, table: str, column: Column, shape: TriggerShape, base: Row
) -> list[Value]:
    """Return values for a column of the condition: its literals, those of its CHECKs, NULL."""
    plain = base.get(column.name, _plain(column))
    spare = (-1,) if column.primary_key_position and type(plain) is int else ()  # it is free
    wanted: list[Value] = [plain, *spare, *_literals(shape.when)]
    if not column.not_null:
        wanted.append(None)
    wanted += _candidates(connection, table, column)
    unique: list[Value] = []
    for value in wanted:
        known = any(type(value) is type(other) and value == other for other in unique)
        if not known and _admitted(connection, table, column, value):
            unique.append(value)
    return unique[:6]


def _base_rows(connection: apsw.Connection, table: str, columns: Sequence[Column]) -> list[Row]:
    """Return a plain row, another one, and one whose integers ascend: a CHECK may compare them."""
    plain, other = (_base_row(connection, table, columns, salt=salt) for salt in (0, 1))
    rising = {
        column.name: n
        for n, column in enumerate(columns, start=1)
        if type(plain.get(column.name)) is int and _admitted(connection, table, column, n)
    }
    return [plain, other, {**plain, **rising}]


def _base_row(
    connection: apsw.Connection, table: str, columns: Sequence[Column], *, salt: int
) -> Row:
    """Return values for the columns that a row cannot do without, and a few that it can.

    Another `salt` gives another row, should the first collide with one that is there.
    """
    keys = [column for column in columns if column.primary_key_position]
    without_rowid = connection.execute(
        "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
        (table,),
    ).get
    row: Row = {}
    for column in columns:
        integer_key = keys == [column] and column.declared_type.upper() == "INTEGER"
        if column.generated or (integer_key and not without_rowid):
            continue
        needed = column.not_null or bool(column.primary_key_position)
        if not needed and column.default is not None:
            continue
        for value in _candidates(connection, table, column, salt=salt):
            if _admitted(connection, table, column, value):
                row[column.name] = value
                break
    return row


def _plain(column: Column, *, salt: int = 0) -> Value:
    kind = affinity(column.declared_type)
    if kind == "INTEGER":
        return 1 + salt * 7_000_000
    if kind in ("REAL", "NUMERIC"):
        return 0.5 + salt / 4
    if "BLOB" in column.declared_type.upper():
        return _FLOAT_ONE
    return f"probe {column.name} \u00e9{' again' * salt}"


def _candidates(
    connection: apsw.Connection, table: str, column: Column, *, salt: int = 0
) -> list[Value]:
    literals = [v for check in _checks(connection, table, column.name) for v in _literals(check)]
    plain = [_plain(column, salt=n) for n in range(salt, -1, -1)]
    return [*plain, *literals, "{}", "[]", "2001-02-03 04:05:06", 1, 0.5, _FLOAT_ONE, 0]


@lru_cache(maxsize=2048)
def _literals(sql: str) -> tuple[Value, ...]:
    """Return the literals of an expression, a text in two forms: as it stands and longer."""
    try:
        tree = sqlglot.parse_one(f"SELECT {sql}", dialect="sqlite")
    except SqlglotError:
        return ()
    found: list[Value] = []
    for literal in tree.find_all(exp.Literal):
        if literal.is_string:
            found.append(str(literal.this))
        else:
            number = float(literal.this)
            found += [int(number) if number.is_integer() else number]
            found += [found[-1] + 1] if isinstance(found[-1], int | float) else []
    return tuple(found)


def _admitted(connection: apsw.Connection, table: str, column: Column, value: Value) -> bool:
    """Whether every CHECK of this column alone lets the value in."""
    for check in _checks(connection, table, column.name):
        sql = f"SELECT ({check}) IS NOT FALSE FROM (SELECT ? AS {quote(column.name)})"
        try:
            if not connection.execute(sql, (value,)).get:
                return False
        except apsw.Error:
            continue
    return True


def _checks(connection: apsw.Connection, table: str, column: str) -> list[str]:
    sql = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE", (table,)
    ).get
    return [check for check, names in _all_checks(str(sql or "")) if names == {column.lower()}]


@lru_cache(maxsize=512)
def _all_checks(sql: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Return the CHECKs of a CREATE TABLE with the columns that each one names."""
    if not sql:
        return ()
    shape = table_shape(sql)
    texts: Iterable[str] = itertools.chain(
        shape.constraints, *(column.constraints for column in shape.columns)
    )
    found: list[tuple[str, frozenset[str]]] = []
    for text in texts:
        if not text.upper().startswith("CHECK"):
            continue
        check = text[5:].strip().removeprefix("(").removesuffix(")")
        try:
            tree = sqlglot.parse_one(f"SELECT {check}", dialect="sqlite")
        except SqlglotError:
            continue
        found.append((check, frozenset(c.name.lower() for c in tree.find_all(exp.Column))))
    return tuple(found)
