"""What a CREATE statement means, as frozen shapes that can be compared; no database is opened.

Tables, indexes and views are read by sqlglot's trees. sqlglot has no grammar for the arguments
of `CREATE VIRTUAL TABLE` and gives a trigger as an opaque block, so these two are read from its
tokens, as is whatever it cannot parse. Case, quoting, blanks and comments are gone from a shape.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Final

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

__all__ = [
    "ColumnShape",
    "IndexShape",
    "TableShape",
    "TriggerShape",
    "VirtualShape",
    "affinity",
    "canonical",
    "index_shape",
    "same_words",
    "table_shape",
    "trigger_shape",
    "view_shape",
    "virtual_shape",
    "words",
]

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of each fallback, which we handle

_DIALECT: Final = sqlglot.Dialect.get_or_raise("sqlite")
_KEYS: Final = ("constraint", "primary", "unique", "check")
_TABLE_CONSTRAINTS: Final = frozenset((*_KEYS, "foreign"))
_CONSTRAINTS: Final = frozenset(
    (*_KEYS, "not", "null", "default", "collate", "references", "generated", "as")
)


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """A column: its name in lower case, declared type, and constraints sorted by their text."""

    name: str
    declared_type: str
    constraints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table: columns in order, table constraints sorted, options such as WITHOUT ROWID."""

    columns: tuple[ColumnShape, ...]
    constraints: tuple[str, ...]
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class IndexShape:
    """An index without its name: what it is on, whether it is unique, which rows it holds."""

    table: str
    unique: bool
    parts: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class VirtualShape:
    """A virtual table: its module, the columns in order, the options by name."""

    module: str
    columns: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TriggerShape:
    """A trigger: when it fires, on what, its condition as written, its body as words."""

    timing: str
    event: str
    of: tuple[str, ...]
    table: str
    when: str
    when_words: tuple[str, ...]
    body: tuple[str, ...]


def affinity(declared_type: str) -> str:
    """Return the affinity of a declared type, by the rules of SQLite's documentation."""
    name = declared_type.upper()
    if "INT" in name:
        return "INTEGER"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in name or not name.strip():
        return "BLOB"
    if any(part in name for part in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


@lru_cache(maxsize=4096)
def _tokens(sql: str) -> tuple[Token, ...]:
    try:
        return tuple(_DIALECT.tokenize(sql))
    except SqlglotError:
        return ()


def _word(token: Token) -> tuple[str, ...]:
    kind, text = token.token_type, str(token.text)
    if kind is TokenType.STRING:
        return ("'" + text + "'",)
    if kind is TokenType.HEX_STRING:
        return ("x'" + text.upper() + "'",)
    if kind is TokenType.IDENTIFIER:
        return (text.lower(),)
    if kind is TokenType.NEQ:
        return ("!=",)
    if kind is TokenType.EQ:
        return ("=",)
    return tuple(text.lower().split())


def _words_of(tokens: Sequence[Token]) -> tuple[str, ...]:
    return tuple(word for token in tokens for word in _word(token))


@lru_cache(maxsize=4096)
def words(sql: str) -> tuple[str, ...]:
    """Return `sql` as words without case, quotes of names, blanks, comments, last semicolon."""
    found = _words_of(_tokens(sql)) or tuple(sql.split())
    return found[:-1] if found[-1:] == (";",) else found


def same_words(left: str, right: str, *, renamed: Mapping[str, str]) -> bool:
    """Whether two statements say the same where a name on the left may be renamed on the right."""
    one, two = words(left), words(right)
    if "virtual" in one[1:3]:  # a module takes its arguments in any quotes
        one, two = (tuple(word.strip("'") for word in some) for some in (one, two))
    return len(one) == len(two) and all(
        a == b or renamed.get(a) == b for a, b in zip(one, two, strict=True)
    )


def _plain(tree: exp.Expression) -> str:
    for name in tree.find_all(exp.Identifier):
        name.set("this", name.name.lower())
        name.set("quoted", False)
    return tree.sql(dialect="sqlite", comments=False)


def _parsed(sql: str) -> exp.Expression | None:
    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None


@lru_cache(maxsize=4096)
def canonical(sql: str) -> str:
    """Return one spelling for all statements of the same tree, or the words where none parses."""
    tree = _parsed(sql)
    if tree is None or isinstance(tree, exp.Command | exp.Block):
        return " ".join(words(sql))
    return _plain(tree)


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if token.token_type is TokenType.COMMA and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _bracketed(tokens: Sequence[Token]) -> tuple[Sequence[Token], Sequence[Token], Sequence[Token]]:
    """Split tokens into those before the first bracket, inside it, and after its end."""
    depth, start = 0, len(tokens)
    for place, token in enumerate(tokens):
        if token.token_type is TokenType.L_PAREN:
            start = place if depth == 0 else start
            depth += 1
        elif token.token_type is TokenType.R_PAREN:
            depth -= 1
            if depth == 0:
                return tokens[:start], tokens[start + 1 : place], tokens[place + 1 :]
    return tokens, (), ()


def _text(sql: str, tokens: Sequence[Token]) -> str:
    return sql[tokens[0].start : tokens[-1].end + 1] if tokens else ""


def _is_constraint(token: Token, names: frozenset[str]) -> bool:
    quoted = token.token_type in (TokenType.IDENTIFIER, TokenType.STRING)
    return (
        not quoted
        and token.text.lower().split()[:1] != []
        and (token.text.lower().split()[0] in names)
    )


def _constraint(node: exp.Expression) -> str:
    """Return a constraint's text: its own name is left out, and a default's brackets."""
    kind = (
        node.args.get("kind") if isinstance(node, exp.ColumnConstraint | exp.Constraint) else node
    )
    kind = kind if isinstance(kind, exp.Expression) else node
    if isinstance(kind, exp.DefaultColumnConstraint) and isinstance(kind.this, exp.Paren):
        kind.set("this", kind.this.unnest())
    return _plain(kind) or type(kind).__name__.removesuffix("ColumnConstraint").upper()


def _column(sql: str, tokens: Sequence[Token]) -> ColumnShape:
    rest = tokens[1:]
    kind = list(takewhile(lambda token: not _is_constraint(token, _CONSTRAINTS), rest))
    tail = _text(sql, rest[len(kind) :])
    constraints: tuple[str, ...] = ()
    if tail:
        tree = _parsed(f"CREATE TABLE t (c TEXT {tail})")
        column = tree.find(exp.ColumnDef) if isinstance(tree, exp.Create) else None
        if column is None:
            constraints = (" ".join(words(tail)),)
        else:
            constraints = tuple(sorted(_constraint(node) for node in column.constraints))
    return ColumnShape(tokens[0].text.lower(), " ".join(_words_of(kind)).upper(), constraints)


def _table_constraint(sql: str, tokens: Sequence[Token]) -> str:
    if tokens[0].text.lower() == "constraint":
        tokens = tokens[2:]
    text = _text(sql, tokens)
    tree = _parsed(f"CREATE TABLE t ({text})")
    if isinstance(tree, exp.Create) and len(tree.this.expressions) == 1:
        return _plain(tree.this.expressions[0])
    return " ".join(words(text))


@lru_cache(maxsize=2048)
def table_shape(sql: str) -> TableShape:
    """Return what a CREATE TABLE means."""
    _, inside, after = _bracketed(_tokens(sql))
    columns: list[ColumnShape] = []
    constraints: list[str] = []
    for part in _split(inside):
        if _is_constraint(part[0], _TABLE_CONSTRAINTS):
            constraints.append(_table_constraint(sql, part))
        else:
            columns.append(_column(sql, part))
    options = frozenset(" ".join(_words_of(part)) for part in _split(after))
    return TableShape(tuple(columns), tuple(sorted(constraints)), options)


@lru_cache(maxsize=2048)
def index_shape(sql: str) -> IndexShape:
    """Return what a CREATE INDEX means; its name is not a part of it."""
    before, inside, after = _bracketed(_tokens(sql))
    head = _words_of(before)
    parts = tuple(_index_part(sql, part) for part in _split(inside))
    where = canonical("SELECT " + _text(sql, after[1:])) if after else ""
    return IndexShape(head[-1] if head else "", "unique" in head[:2], parts, where)


def _index_part(sql: str, tokens: Sequence[Token]) -> str:
    found = _words_of(tokens)
    if len(found) > 1 and found[-1] == "asc":
        tokens = tokens[:-1]
    return " ".join(_words_of(tokens))


@lru_cache(maxsize=2048)
def view_shape(sql: str) -> str:
    """Return what a CREATE VIEW selects, in one spelling; its name is not a part of it."""
    tokens = _tokens(sql)
    for place, token in enumerate(tokens):
        if token.text.lower() == "as" and token.token_type is not TokenType.IDENTIFIER:
            columns = " ".join(_words_of(tokens[3:place]))
            return columns + canonical(_text(sql, tokens[place + 1 :]))
    return " ".join(words(sql))


@lru_cache(maxsize=2048)
def virtual_shape(sql: str) -> VirtualShape:
    """Return what a CREATE VIRTUAL TABLE means: `key = value` arguments are its options."""
    before, inside, _ = _bracketed(_tokens(sql))
    columns: list[str] = []
    options: list[tuple[str, str]] = []
    for part in _split(inside):
        if len(part) > 2 and part[1].token_type is TokenType.EQ:
            value = " ".join(token.text for token in part[2:])
            options.append((part[0].text.lower(), " ".join(value.split())))
        else:
            columns.append(" ".join(_words_of(part)))
    module = before[-1].text.lower() if before else ""
    return VirtualShape(module, tuple(columns), tuple(sorted(options)))


def _place(found: Sequence[str], word: str, start: int = 0) -> int:
    return next((n for n in range(start, len(found)) if found[n] == word), len(found))


@lru_cache(maxsize=2048)
def trigger_shape(sql: str) -> TriggerShape:
    """Return what a CREATE TRIGGER means; its name is not a part of it."""
    tokens = [t for token in _tokens(sql) for t in [token] * len(_word(token))]
    found = list(_words_of(_tokens(sql)))
    begin = _place(found, "begin", 3)
    event_at = next(n for n in range(3, begin) if found[n] in ("insert", "update", "delete"))
    timing = " ".join(found[3:event_at]) or "before"
    on = _place(found, "on", event_at)
    of = tuple(word for word in found[event_at + 2 : on] if word != ",")
    when_at = _place(found[:begin], "when", on)
    when = _text(sql, tokens[when_at + 1 : begin])
    body = found[begin + 1 :]
    while body and body[-1] in (";", "end"):
        body.pop()
    return TriggerShape(
        timing=timing.removeprefix("if not exists "),
        event=found[event_at],
        of=of,
        table=found[on + 1],
        when=when,
        when_words=words(when) if when else (),
        body=tuple(body),
    )
