"""How two schemas differ in meaning: breaking, lossy, additive or cosmetic, object by object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import apsw

from harness.checkers.ddl import (
    ColumnShape,
    TableShape,
    affinity,
    index_shape,
    table_shape,
    trigger_shape,
    view_shape,
    virtual_shape,
)

__all__ = ["Catalog", "Difference", "Item", "Kind", "Weight", "catalog_of", "compare", "shape_of"]


class Kind(StrEnum):
    """What a schema object is; a virtual table is a kind of its own."""

    TABLE = "table"
    VIRTUAL = "virtual table"
    INDEX = "index"
    VIEW = "view"
    TRIGGER = "trigger"


class Weight(StrEnum):
    """How a difference weighs.

    Breaking: what is written against the declared schema fails. Lossy: it works, but keeps, orders
    or refuses values otherwise. Additive: there is more. Cosmetic: the same, spelt otherwise.
    """

    BREAKING = "breaking"
    LOSSY = "lossy"
    ADDITIVE = "additive"
    COSMETIC = "cosmetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A schema object that somebody created: no automatic index, no shadow table."""

    kind: Kind
    name: str
    table: str
    sql: str

    @property
    def key(self) -> tuple[Kind, str]:
        """The kind and the name in lower case."""
        return self.kind, self.name.lower()


Catalog = dict[tuple[Kind, str], Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference of an object; `column` where it is a column's."""

    weight: Weight
    rule: str
    item: Item
    cause: str
    column: str | None = None
    expected: str | None = None
    actual: str | None = None


def catalog_of(connection: apsw.Connection) -> Catalog:
    """Return the objects of a connection's main database by kind and name."""
    shadows = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
    )
    derived = {str(name) for (name,) in shadows}
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name"
    )
    items = (
        Item(kind=_kind(str(kind), str(sql)), name=str(name), table=str(table), sql=str(sql))
        for kind, name, table, sql in rows
        if name not in derived
    )
    return {item.key: item for item in items}


def _kind(kind: str, sql: str) -> Kind:
    if kind == "table" and sql[:40].upper().split()[1:2] == ["VIRTUAL"]:
        return Kind.VIRTUAL
    return Kind(kind)


_SHAPES: dict[Kind, Callable[[str], Any]] = {
    Kind.TABLE: table_shape,
    Kind.VIRTUAL: virtual_shape,
    Kind.INDEX: index_shape,
    Kind.VIEW: view_shape,
    Kind.TRIGGER: trigger_shape,
}


def shape_of(item: Item) -> Any:
    """Return what the object means; equal shapes mean the same."""
    return _SHAPES[item.kind](item.sql)


def compare(declared: Catalog, actual: Catalog) -> Iterator[Difference]:
    """Yield every difference of `actual` from `declared`."""
    for key, item in declared.items():
        found = actual.get(key)
        if found is None:
            lossy = item.kind is Kind.INDEX and not index_shape(item.sql).unique
            yield Difference(
                weight=Weight.LOSSY if lossy else Weight.BREAKING,
                rule=f"schema/{item.kind.replace(' ', '-')}-missing",
                item=item,
                cause=f"the declared {item.kind} {item.name} is not in the unified database",
                expected=_short(item.sql),
            )
        elif found.sql != item.sql:
            yield from _compare_item(item, found)
    for key, item in actual.items():
        if key not in declared:
            yield Difference(
                weight=Weight.ADDITIVE,
                rule="schema/undeclared",
                item=item,
                cause=f"the {item.kind} {item.name} is not in the declared schema",
                actual=_short(item.sql),
            )


def _compare_item(item: Item, found: Item) -> Iterator[Difference]:
    if item.kind is Kind.TABLE:
        differences = list(_compare_tables(item, table_shape(item.sql), table_shape(found.sql)))
    elif shape_of(item) != shape_of(found):
        lossy = item.kind is Kind.INDEX and not (
            index_shape(item.sql).unique or index_shape(found.sql).unique
        )
        differences = [
            Difference(
                weight=Weight.LOSSY if lossy else Weight.BREAKING,
                rule=f"schema/{item.kind.replace(' ', '-')}-changed",
                item=item,
                cause=f"the {item.kind} {item.name} does something else than declared",
                expected=_short(item.sql),
                actual=_short(found.sql),
            )
        ]
    else:
        differences = []
    if differences:
        yield from differences
    else:
        yield Difference(
            weight=Weight.COSMETIC,
            rule="schema/spelt-otherwise",
            item=item,
            cause=f"the {item.kind} {item.name} means what is declared, but is spelt otherwise",
        )


def _compare_tables(item: Item, left: TableShape, right: TableShape) -> Iterator[Difference]:
    def difference(weight: Weight, rule: str, cause: str, **more: str | None) -> Difference:
        return Difference(
            weight=weight, rule=f"schema/{rule}", item=item, cause=f"{item.name}: {cause}", **more
        )

    theirs = {column.name: column for column in right.columns}
    ours = {column.name: column for column in left.columns}
    for name, column in ours.items():
        if name not in theirs:
            cause = f"the declared column {name} is missing"
            yield difference(Weight.BREAKING, "column-missing", cause, column=name)
            continue
        for weight, rule, cause, expected, actual in _compare_columns(column, theirs[name]):
            yield difference(
                weight,
                rule,
                cause,
                column=name,
                expected=expected or "none",
                actual=actual or "none",
            )
    for name in theirs.keys() - ours.keys():
        cause = f"the column {name} is not in the declared schema"
        yield difference(Weight.ADDITIVE, "column-undeclared", cause, column=name)
    common = [name for name in ours if name in theirs]
    if common != [name for name in theirs if name in ours]:
        cause = "the columns stand in another order, so that positional INSERTs go wrong"
        yield difference(Weight.BREAKING, "column-order", cause)
    if left.options != right.options:
        expected, actual = (", ".join(sorted(side.options)) for side in (left, right))
        cause = "another kind of table than declared"
        yield difference(Weight.BREAKING, "table-options", cause, expected=expected, actual=actual)
    declared, real = _rules(left), _rules(right)
    for rule in sorted(declared - real):
        hard = rule.startswith(("PRIMARY KEY", "AUTOINCREMENT"))
        weight = Weight.BREAKING if hard else Weight.LOSSY
        cause = f"the declared constraint {rule} is missing"
        yield difference(weight, "constraint-missing", cause, expected=rule)
    for rule in sorted(real - declared):
        cause = f"the constraint {rule} is not declared and refuses rows that the target admits"
        yield difference(Weight.BREAKING, "constraint-undeclared", cause, actual=rule)


def _compare_columns(
    left: ColumnShape, right: ColumnShape
) -> Iterator[tuple[Weight, str, str, str, str]]:
    if left.declared_type != right.declared_type:
        same = affinity(left.declared_type) == affinity(right.declared_type)
        weight = Weight.COSMETIC if same else Weight.LOSSY
        cause = f"column {left.name} has another type" + (", of the same affinity" if same else "")
        yield weight, "column-type", cause, left.declared_type, right.declared_type
    for prefix, rule, words in (
        ("DEFAULT", "column-default", "another default"),
        ("AS", "column-generated", "is computed otherwise"),
        ("COLLATE", "column-collation", "another collation"),
    ):
        ours, theirs = (_clause(side.constraints, prefix) for side in (left, right))
        if ours != theirs:
            yield Weight.LOSSY, rule, f"column {left.name}: {words}", ours, theirs


def _clause(constraints: Iterable[str], prefix: str) -> str:
    return "; ".join(c for c in constraints if c.upper().split()[:1] == [prefix])


def _rules(shape: TableShape) -> set[str]:
    """Return what the table refuses, in one spelling for column and table constraints."""
    rules = {_table_rule(constraint) for constraint in shape.constraints}
    for column in shape.columns:
        for constraint in column.constraints:
            head = constraint.upper().split()[0]
            if head in ("DEFAULT", "AS", "COLLATE"):
                continue
            if head == "CHECK":
                rules.add(constraint)
            elif head == "REFERENCES":
                rules.add(f"FOREIGN KEY ({column.name}) {constraint}")
            else:
                rules.add(f"{constraint} ({column.name})")
    return rules


def _table_rule(constraint: str) -> str:
    return constraint.removesuffix(" ASC)") + ")" if constraint.endswith(" ASC)") else constraint


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 300 else flat[:297] + "..."
