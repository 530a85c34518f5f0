"""What a planned correspondence is made of: a legacy table, its unified targets, its inverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["TableMap", "Target", "all_same", "between", "filled", "listed", "same_names"]


@dataclass(frozen=True, slots=True)
class Target:
    """One unified table that rows of a legacy table become rows of.

    `origin_key` is the origin's column with the unified row's key; `key` that key's name there.
    `identifier` is the unified column that must be unique, `identity` the legacy column it comes
    from (none: it is made up). `same` are the conditions under which the row `p`, `s` is the same
    thing as a row `u` of another source, and merged into it; `repairs` are what a row that an
    earlier attempt brought in gets from the legacy original. `met` are queries that yield a row
    where rows must be placed with care; else `straight` replaces dearer forward expressions.
    """

    table: str
    forward: Mapping[str, str]
    origin_key: str = "seq"
    key: str = "seq"
    identifier: str | None = "id"
    identity: str | None = "id"
    same: tuple[str, ...] = ()
    repairs: Mapping[str, str] = field(default_factory=dict)
    met: tuple[str, ...] = ()
    straight: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableMap:
    """One planned legacy table: its targets, and each of its columns from the unified rows.

    `shown` are columns whose value stands in a second place, for services to read.
    """

    source: str
    table: str
    targets: tuple[Target, ...]
    inverse: Mapping[str, str]
    required: tuple[str, ...] = ()
    shown: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`source.table`, as reports and steps name it."""
        return f"{self.source}.{self.table}"

    @property
    def origin(self) -> str:
        """The table that remembers what each legacy row became."""
        return f"origin_{self.source}_{self.table}"

    @property
    def joined(self) -> str:
        """The FROM clause of the inverse: origin `o`, unified row `u`, embedding `e`."""
        first = self.targets[0]
        clause = (
            f"{self.origin} AS o JOIN {first.table} AS u ON u.{first.key} = o.{first.origin_key}"
        )
        for target in self.targets[1:]:
            clause += f" JOIN {target.table} AS e ON e.{target.key} = o.{target.origin_key}"
        return clause


def listed(column: str, allowed: tuple[str, ...], default: str, **translated: str) -> str:
    """Return SQL that keeps an allowed value, translates a known one, else takes the default."""
    names = ", ".join(f"'{value}'" for value in allowed)
    cases = "".join(f" WHEN {column} = '{old}' THEN '{new}'" for old, new in translated.items())
    return f"CASE WHEN {column} IN ({names}) THEN {column}{cases} ELSE {default} END"


def between(column: str, low: float, high: float) -> str:
    """Return SQL that keeps a number within its bounds, and is NULL for any other value."""
    return f"CASE WHEN {column} BETWEEN {low} AND {high} THEN {column} END"


def filled(columns: str) -> dict[str, str]:
    """Return expressions for columns that may not be NULL in the unified table."""
    return {name: f"COALESCE({{{name}}}, '')" for name in columns.split()}


def same_names(
    table: str,
    columns: str,
    *,
    source: str = "root",
    special: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    generated: tuple[str, ...] = (),
    target: Mapping[str, str | None] | None = None,
    same: tuple[str, ...] = (),
) -> TableMap:
    """Describe a table whose unified shape has the same names."""
    names = columns.split()
    options = dict(target or {})
    identifier = options.get("identifier", "id")
    forward = {name: f"{{{name}}}" for name in names if name not in (identifier, *generated)}
    forward |= {**(special or {}), **(extra or {})}
    return TableMap(
        source=source,
        table=table,
        targets=(
            Target(
                table=table,
                forward=forward,
                key=options.get("key") or "seq",
                identifier=identifier,
                identity=options.get("identity", identifier),
                same=same,
            ),
        ),
        inverse={name: f"u.{name}" for name in names},
        required=tuple(name for name in names if name == identifier),
    )


def all_same(columns: str) -> tuple[str, ...]:
    """Return the conditions under which a row is the same in every column."""
    return ("u.id = p.id", *(f"u.{name} IS {{{name}}}" for name in columns.split()))
