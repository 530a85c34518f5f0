"""Strategies for what nobody planned for: extra tables of every kind, extra columns, old shapes.

An extra is a piece of schema with rows that fit it. Everything that SQLite lets a table be is
here once: WITHOUT ROWID, generated columns, composite and descending keys, STRICT, typeless
columns, own triggers, own full-text index, views, partial and expression indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from harness.database import quote
from harness.generators import values
from harness.generators.plan import Row, Value, literal

__all__ = ["EXTRAS", "Extra", "extra"]

_NAMES = (
    "extra",
    "extra_2",
    "Select",
    "name with space",
    'quo"ted',
    "épices",
    "model_providers",
    "failover_events",
    "legacy_extra",
    "vector_memories",
    "origin_legacy_memory_blocks",
    "tasks",
    "_hidden",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An unplanned piece of a database: its kind, what makes it, its rows, what comes behind."""

    kind: str
    name: str
    before: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    after: tuple[str, ...] = ()


_Fill = Mapping[str, st.SearchStrategy[Value]]

_integers = st.sampled_from((1, 2, 3, -1, 2**63 - 1, -(2**63), 2**53 + 1))
_small = st.sampled_from((0, 1, 2, 7, -3))
_strict_text = st.sampled_from(("a", "b", "a ", "A", "", "😀", "007", "a\x00b"))
_reals: st.SearchStrategy[Value] = st.sampled_from((0.0, 1.0, 0.1, 1e308, -1e-320))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How one kind of table is made: `{t}` is its quoted name, `{n}` the name inside quotes."""

    create: str
    fill: _Fill
    behind: tuple[str, ...] = ()


def _options(*choices: Value) -> st.SearchStrategy[Value]:
    return st.sampled_from(choices)


_SHAPES: Mapping[str, _Shape] = {
    "plain": _Shape(
        create="CREATE TABLE {t} (id TEXT PRIMARY KEY, body TEXT, n INTEGER)",
        fill={"id": values.ids(), "body": values.texts(), "n": values.numbers()},
    ),
    "typeless": _Shape(
        create="CREATE TABLE {t} (a, b)",
        fill={"a": values.anything(), "b": _options(-0.0, 0.0, 1, 1.0, "1", b"1", None)},
    ),
    "without-rowid": _Shape(
        create="CREATE TABLE {t} (k TEXT, n INTEGER, v, PRIMARY KEY (n DESC, k)) WITHOUT ROWID",
        fill={"k": values.texts(), "n": _integers, "v": values.anything()},
    ),
    "generated-columns": _Shape(
        create=(
            "CREATE TABLE {t} (id INTEGER PRIMARY KEY, a INTEGER, twice INTEGER GENERATED ALWAYS"
            " AS (a * 2) VIRTUAL, size INTEGER AS (length(b)) STORED, b TEXT)"
        ),
        fill={"id": _integers, "a": _small, "b": values.texts()},
    ),
    "composite-key": _Shape(
        create=(
            "CREATE TABLE {t} (a TEXT, b TEXT COLLATE NOCASE, c, PRIMARY KEY (a, b), UNIQUE (c, a))"
        ),
        fill={"a": values.ids(), "b": values.ids(), "c": values.anything()},
    ),
    "strict": _Shape(
        create=(
            "CREATE TABLE {t} (id INTEGER PRIMARY KEY, t TEXT NOT NULL, r REAL, b BLOB, x ANY)"
            " STRICT"
        ),
        fill={
            "id": _integers,
            "t": _strict_text,
            "r": _reals,
            "b": _options(b"", b"\x00\xff", None),
            "x": values.anything(),
        },
    ),
    "own-trigger": _Shape(
        create="CREATE TABLE {t} (id INTEGER PRIMARY KEY, v, stamped TEXT DEFAULT 'never')",
        fill={"id": _integers, "v": values.anything(), "stamped": _options("never", None, "x")},
        behind=(
            "CREATE TRIGGER {trigger} AFTER INSERT ON {t} BEGIN"
            " UPDATE {t} SET stamped = 'by trigger' WHERE id = NEW.id; END",
        ),
    ),
    "own-fulltext": _Shape(
        create="CREATE TABLE {t} (id INTEGER PRIMARY KEY, body TEXT)",
        fill={"id": _integers, "body": _strict_text},
        behind=(
            "CREATE VIRTUAL TABLE {words} USING fts5(body, content={s}, content_rowid='id')",
            "INSERT INTO {words}({words}) VALUES ('rebuild')",
        ),
    ),
    "own-index": _Shape(
        create="CREATE TABLE {t} (a, b TEXT, c INTEGER CHECK (c IS NULL OR c <> 13))",
        fill={"a": values.anything(), "b": values.texts(), "c": values.numbers()},
        behind=(
            "CREATE INDEX {index} ON {t} (b COLLATE NOCASE DESC, a) WHERE c IS NOT NULL",
            "CREATE INDEX {index2} ON {t} (lower(b))",
        ),
    ),
    "own-view": _Shape(
        create="CREATE TABLE {t} (id INTEGER PRIMARY KEY, v)",
        fill={"id": _integers, "v": values.anything()},
        behind=("CREATE VIEW {view} AS SELECT id, typeof(v) AS kind FROM {t}",),
    ),
    "foreign-key": _Shape(
        create=(
            "CREATE TABLE {t} (id INTEGER PRIMARY KEY, block TEXT REFERENCES memory_blocks(id)"
            " ON DELETE CASCADE, parent INTEGER REFERENCES {t}(id))"
        ),
        fill={"id": _integers, "block": values.ids(), "parent": _integers},
    ),
    "autoincrement": _Shape(
        create="CREATE TABLE {t} (id INTEGER PRIMARY KEY AUTOINCREMENT, v)",
        fill={"id": _options(1, 2, 40), "v": values.anything()},
        behind=("DELETE FROM {t} WHERE id = 40",),
    ),
    "virtual": _Shape(
        create="CREATE VIRTUAL TABLE {t} USING fts5(body, tokenize='porter')", fill={}
    ),
}

EXTRAS = tuple(_SHAPES)
"""The kinds of extra tables."""


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _names(name: str) -> dict[str, str]:
    made = {
        part: quote(f"{name}_{part}") for part in ("trigger", "words", "index", "index2", "view")
    }
    return made | {"t": quote(name), "s": _text(name)}


@st.composite
def extra(draw: st.DrawFn, taken: Callable[[str], bool], *, plain: bool = False) -> Extra | None:
    """An unplanned table with a few rows; None where the drawn name is `taken` already."""
    kind = draw(st.sampled_from(EXTRAS[:1] if plain else EXTRAS))
    name = draw(st.sampled_from(_NAMES))
    if taken(name):
        return None
    shape, names = _SHAPES[kind], _names(name)
    rows = []
    if shape.fill:
        for _ in range(draw(st.integers(0, 3))):
            rows.append(Row(name, {column: draw(of) for column, of in shape.fill.items()}))
    elif draw(st.booleans()):
        rows.append(Row(name, {"body": draw(_strict_text)}))
    return Extra(
        kind=kind,
        name=name,
        before=(shape.create.format_map(names),),
        rows=tuple(rows),
        after=tuple(statement.format_map(names) for statement in shape.behind),
    )


@st.composite
def extra_column(draw: st.DrawFn, table: str) -> tuple[str, str]:
    """A column that somebody added to a planned table, and an UPDATE that fills it."""
    name = draw(st.sampled_from(("note", "x_id", "rank", "added by hand")))
    kind = draw(
        st.sampled_from(("", "TEXT", "INTEGER", "REAL DEFAULT 1.5", "TEXT NOT NULL DEFAULT ''"))
    )
    fills: tuple[Value, ...] = ("", 1, -0.0, "007", b"\xff", "text ")
    value = draw(st.sampled_from(fills))
    return (
        f"ALTER TABLE {quote(table)} ADD COLUMN {quote(name)} {kind}".rstrip(),
        f"UPDATE {quote(table)} SET {quote(name)} = {literal(value)} WHERE rowid % 2",
    )
