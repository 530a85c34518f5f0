"""Pairs of values that a careless comparison takes for equal; the checker must tell each apart."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from harness.checkers.compare import compare
from harness.checkers.digests import Side

__all__ = ["TYPE_DIFFERENCES", "duplicates_found", "told_apart"]


@dataclass(frozen=True, slots=True)
class TypeDifference:
    """Two SQL literals that differ, and the declaration of the column that holds them."""

    name: str
    left: str
    right: str
    column: str = "value"


TYPE_DIFFERENCES = (
    TypeDifference("NULL and an empty text", "NULL", "''"),
    TypeDifference("1 and 1.0", "1", "1.0"),
    TypeDifference("1 and '1'", "1", "'1'"),
    TypeDifference("'x' as text and as blob", "'x'", "x'78'"),
    TypeDifference(
        "texts that differ after a NUL", "CAST(x'610062' AS TEXT)", "CAST(x'610063' AS TEXT)"
    ),
    TypeDifference("2^53 + 1 and 2^53 + 2", "9007199254740993", "9007199254740994"),
    TypeDifference("2^53 + 2 as integer and as real", "9007199254740994", "9007199254740994.0"),
    TypeDifference("0.1 and the next real", "0.1", "0.10000000000000002"),
    TypeDifference("infinity and the largest real", "9e999", "1.7976931348623157e308"),
    TypeDifference("'a' and 'a '", "'a'", "'a '"),
    TypeDifference("'Abc' and 'abc'", "'Abc'", "'abc'"),
    TypeDifference("é composed and decomposed", "char(233)", "char(101, 769)"),
    TypeDifference("JSON with and without a blank", """'{"a":1}'""", """'{"a": 1}'"""),
    TypeDifference("letter case under NOCASE", "'Abc'", "'abc'", "value TEXT COLLATE NOCASE"),
    TypeDifference("a trailing blank under RTRIM", "'a'", "'a '", "value TEXT COLLATE RTRIM"),
    TypeDifference("two invalid UTF-8 texts", "CAST(x'61FF' AS TEXT)", "CAST(x'61FE' AS TEXT)"),
)


def told_apart(difference: TypeDifference, folder: Path) -> bool:
    """Whether the checker finds exactly the one difference between two databases in `folder`."""
    sides = []
    for name, literal in (("left", difference.left), ("right", difference.right)):
        path = folder / f"{name}.sqlite"
        _create(
            path,
            f"CREATE TABLE t (id INTEGER PRIMARY KEY, {difference.column})",
            f"INSERT INTO t VALUES (1, 'the same'), (2, {literal}), (3, 'the same')",
        )
        sides.append(Side.table(path, "t", ("id", "value"), key=(0,)))
    found = compare(*sides)
    return (found.missing, found.invented, found.changed) == (0, 0, 1)


def duplicates_found(folder: Path) -> bool:
    """Whether a row that is there three times and twice, in a table without a key, is found."""
    sides = []
    for name, times in (("left", 3), ("right", 2)):
        path = folder / f"{name}.sqlite"
        rows = ", ".join(["('a', 1)"] * times)
        _create(path, "CREATE TABLE t (name, value)", f"INSERT INTO t VALUES {rows}, ('b', 2)")
        sides.append(Side.table(path, "t", ("name", "value")))
    found = compare(*sides)
    return (found.missing, found.invented, found.changed) == (1, 0, 0)


def _create(path: Path, *statements: str) -> None:
    path.unlink(missing_ok=True)
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)
