"""The mapping: a candidate's declared correspondence between legacy rows and unified rows.

`Mapping.load` reads the YAML file of docs/candidate.md. Nothing here is believed: the checkers
run its SQL on the unified database and judge what comes out.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import BadInputError
from harness.model import DATABASES
from harness.suggest import unknown_key
from harness.yaml_file import plain_yaml

__all__ = [
    "FullText",
    "InUse",
    "Listed",
    "Mapping",
    "Nearest",
    "RegistryMapping",
    "TableMapping",
]

CONTRACT = 1
TableName = tuple[str, str]
"""A source's name and a table's: `("legacy", "memory_blocks")`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMapping:
    """How one source table comes back from the unified database; every value is SQL.

    `columns` are in the file's order, for `residue` counts its bits in that order. `shown` says
    where a column's value stands a second time, for services to read.
    """

    source: str
    table: str
    from_: str
    key: str
    columns: dict[str, str]
    shown: dict[str, str] = field(default_factory=dict)
    other_columns: str | None = None
    residue: str | None = None
    targets: dict[str, str] = field(default_factory=dict)
    rule: str | None = None

    @property
    def name(self) -> str:
        """`source.table`."""
        return f"{self.source}.{self.table}"

    def inverse_of(self, column: str) -> str | None:
        """Return the SQL that gives a source column back, or None where the mapping has none.

        Names match as SQLite matches them: ASCII letters in either case.
        """
        wanted = _folded(column)
        for name, expression in self.columns.items():
            if _folded(name) == wanted:
                return expression
        if self.other_columns is None:
            return None
        return self.other_columns.replace("{column}", column.replace('"', '""'))


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryMapping:
    """Where the registry's log went: its raw lines, and what was read out of them.

    `providers` yields names; `health` line number, provider, healthy[, checked at]; `failovers`
    line number, from, to[, at[, whether the first was unhealthy]]; `days` provider, day, checks and
    how many of them were well; `states`, of providers that no service has checked since, name,
    status, whether active[, last checked].
    """

    lines: str
    last_newline: str | None = None
    providers: str | None = None
    health: str | None = None
    failovers: str | None = None
    days: str | None = None
    states: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullText:
    """A full-text query that must find each row of a source column by its words."""

    source: str
    table: str
    column: str
    tokenize: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """A nearest-neighbour query over a source column of vectors; `model` is a column or None."""

    source: str
    table: str
    vector: str
    model: str | None
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A query that yields the key of every row of a source table, as a service would reach it.

    With `column`, of every row at least that has one of the texts `values` in it, or whose value
    there `is_null` or is not.
    """

    source: str
    table: str
    query: str
    column: str | None = None
    values: tuple[str, ...] = ()
    is_null: bool | None = None

    @property
    def of(self) -> str:
        """Which rows, in words: `status done, completed`; empty where it is all of them."""
        if self.column is None:
            return ""
        null = {True: "NULL", False: "not NULL", None: ""}[self.is_null]
        return f"{self.column} {', '.join(self.values) or null}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """Where legacy content must be found again by those who use it."""

    fulltext: tuple[FullText, ...] = ()
    nearest: tuple[Nearest, ...] = ()
    listed: tuple[Listed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One mapping file; `path` and `digest` (SHA-256 of its bytes, hexadecimal) bind it."""

    path: Path
    digest: str
    unified: str = "devflow.sqlite"
    schema_path: Path | None = None
    version: str | None = None
    tables: dict[TableName, TableMapping] = field(default_factory=dict)
    registry: RegistryMapping | None = None
    carried: str | None = None
    decisions: str | None = None
    added: str | None = None
    sequences: str | None = None
    in_use: InUse = field(default_factory=InUse)

    @classmethod
    def load(cls, path: Path) -> Mapping:
        """Read a mapping file; BadInputError names the file and the key that is wrong."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
        return _parsed(path, content)


@functools.lru_cache(maxsize=8)
def _parsed(path: Path, content: bytes) -> Mapping:
    """Return the mapping that `content` says; a campaign loads one file a thousand times."""
    try:
        document = plain_yaml(content)
    except yaml.YAMLError as error:
        raise BadInputError(f"{path}: {_yaml_problem(error)}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: is not UTF-8 text") from error
    digest = hashlib.sha256(content).hexdigest()
    return _Reader(path).mapping(document, digest=digest)


_ASCII_LOWER = {n: n + 32 for n in range(ord("A"), ord("Z") + 1)}


def _folded(name: str) -> str:
    return name.translate(_ASCII_LOWER)


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return f"is not YAML: {error}"


class _Reader:
    """Turns the document into a Mapping, naming file and key in every complaint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, where: str, problem: str) -> BadInputError:
        place = f"{self.path}: {where}" if where else str(self.path)
        return BadInputError(f"{place}: {problem}")

    def mapping(self, document: object, *, digest: str) -> Mapping:
        texts = ("unified", "schema", "version", "carried", "decisions", "added", "sequences")
        known = ("contract", "tables", "registry", "in_use", *texts)
        top = self.block(document, where="", known=known, required=("contract", "tables"))
        if top["contract"] != CONTRACT:
            raise self.fail("contract", f"is {top['contract']!r}, but this harness speaks 1")
        text = {name: self.text(top.get(name), where=name) for name in texts}
        schema = text["schema"]
        return Mapping(
            path=self.path,
            digest=digest,
            unified=text["unified"] or "devflow.sqlite",
            schema_path=self.path.parent / schema if schema else None,
            version=text["version"],
            tables=self.tables(top["tables"]),
            registry=self.registry(top.get("registry")),
            carried=text["carried"],
            decisions=text["decisions"],
            added=text["added"],
            sequences=text["sequences"],
            in_use=self.in_use(top.get("in_use")),
        )

    def tables(self, value: object) -> dict[TableName, TableMapping]:
        if not isinstance(value, dict):
            raise self.fail("tables", "must be a mapping of source.table to its inverse")
        tables: dict[TableName, TableMapping] = {}
        for name, body in value.items():
            where = f"tables.{name}"
            source, table = self.source_table(name, where=where)
            tables[source, table] = self.table(body, source=source, table=table, where=where)
        return tables

    def table(self, body: object, *, source: str, table: str, where: str) -> TableMapping:
        optional = ("other_columns", "residue", "rule")
        known = ("from", "key", "columns", "shown", "targets", *optional)
        block = self.block(body, where=where, known=known, required=("from", "key", "columns"))
        more = {name: self.text(block.get(name), where=f"{where}.{name}") for name in optional}
        columns = self.texts(block["columns"], where=f"{where}.columns")
        if more["residue"] is not None and len(columns) > 63:
            raise self.fail(f"{where}.columns", "a residue mask has room for 63 columns")
        return TableMapping(
            source=source,
            table=table,
            from_=self.needed(block["from"], where=f"{where}.from"),
            key=self.needed(block["key"], where=f"{where}.key"),
            columns=columns,
            shown=self.shown(block.get("shown") or {}, columns, where=f"{where}.shown"),
            targets=self.texts(block.get("targets") or {}, where=f"{where}.targets"),
            **more,
        )

    def shown(self, value: object, columns: dict[str, str], *, where: str) -> dict[str, str]:
        shown = self.texts(value, where=where)
        for column in shown:
            if column not in columns:
                raise self.fail(where, unknown_key(column, tuple(columns)))
        return shown

    def registry(self, value: object) -> RegistryMapping | None:
        if value is None:
            return None
        optional = ("last_newline", "providers", "health", "failovers", "days", "states")
        block = self.block(value, where="registry", known=("lines", *optional), required=("lines",))
        more = {name: self.text(block.get(name), where=f"registry.{name}") for name in optional}
        return RegistryMapping(lines=self.needed(block["lines"], where="registry.lines"), **more)

    def in_use(self, value: object) -> InUse:
        if value is None:
            return InUse()
        block = self.block(value, where="in_use", known=("fulltext", "nearest", "listed"))
        return InUse(
            fulltext=tuple(
                FullText(**self.use(item, where, ("column", "tokenize", "query")))
                for item, where in self.items(block, "fulltext")
            ),
            nearest=tuple(
                Nearest(**{"model": None, **self.use(item, where, ("vector", "query"), ("model",))})
                for item, where in self.items(block, "nearest")
            ),
            listed=tuple(self.listed(item, where) for item, where in self.items(block, "listed")),
        )

    def listed(self, item: object, where: str) -> Listed:
        given = dict(item) if isinstance(item, dict) else item
        values = given.pop("values", None) if isinstance(given, dict) else None
        is_null = given.pop("is_null", None) if isinstance(given, dict) else None
        use = self.use(given, where, ("query",), ("column",))
        if (values is not None) + (is_null is not None) != ("column" in use):
            raise self.fail(where, "`column` goes with one of `values` and `is_null`")
        if is_null not in (None, True, False):
            raise self.fail(f"{where}.is_null", "must be true or false")
        if values is not None and not (
            isinstance(values, list) and values and all(isinstance(v, str) for v in values)
        ):
            raise self.fail(f"{where}.values", "must be a list of texts")
        return Listed(**use, values=tuple(values or ()), is_null=is_null)

    def items(self, block: dict[str, Any], name: str) -> Iterable[tuple[object, str]]:
        value = block.get(name) or []
        if not isinstance(value, list):
            raise self.fail(f"in_use.{name}", "must be a list")
        return [(item, f"in_use.{name}[{n}]") for n, item in enumerate(value)]

    def use(
        self, item: object, where: str, needed: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        required = ("source", *needed)
        block = self.block(item, where=where, known=(*required, *optional), required=required)
        values = {name: self.needed(v, where=f"{where}.{name}") for name, v in block.items()}
        source, table = self.source_table(values["source"], where=f"{where}.source")
        return {**values, "source": source, "table": table}

    def source_table(self, name: object, *, where: str) -> TableName:
        source, dot, table = str(name).partition(".")
        if not dot or not table or source not in DATABASES:
            known = ", ".join(f"{source}.TABLE" for source in DATABASES)
            raise self.fail(where, f"must be named {known}")
        return source, table

    def block(
        self,
        value: object,
        *,
        where: str,
        known: tuple[str, ...],
        required: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(where, "must be a mapping")
        for key in value:
            if key not in known:
                raise self.fail(where, unknown_key(key, known))
        for key in required:
            if value.get(key) is None:
                raise self.fail(where, f"key {key!r} is missing")
        return value

    def texts(self, value: object, *, where: str) -> dict[str, str]:
        if not isinstance(value, dict):
            raise self.fail(where, "must be a mapping of names to SQL")
        return {str(k): self.needed(v, where=f"{where}.{k}") for k, v in value.items()}

    def text(self, value: object, *, where: str) -> str | None:
        return None if value is None else self.needed(value, where=where)

    def needed(self, value: object, *, where: str) -> str:
        # YAML reads an SQL expression such as 0 or NULL as a number or a null: take its text.
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.fail(where, "must be text (SQL)")
        text = str(value).strip()
        if not text:
            raise self.fail(where, "is empty")
        return text
