from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from handmade import evidence, rules

from harness.checkers import schema
from harness.errors import BadInputError
from harness.model import CheckResult, Severity, Verdict

SOURCE = "CREATE TABLE t (id TEXT PRIMARY KEY, a, b DATETIME, UNIQUE (a, b));"
TARGET = (
    "CREATE TABLE u (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, a, b TEXT);"
    "CREATE INDEX u_a ON u (a);"
    "CREATE TABLE other (a);"
    "CREATE INDEX other_a ON other (a);"
)
PLANNED: dict[str, Any] = {
    "legacy.t": {
        "from": "u",
        "key": "seq",
        "columns": {"id": "id", "a": "a", "b": "b"},
        "targets": {"u": "seq"},
    }
}


def check(
    directory: Path,
    *,
    extra: str = "",
    decision: str = "",
    unified: str = TARGET,
    target: str = TARGET,
    tables: dict[str, Any] = PLANNED,
    **keys: Any,
) -> CheckResult:
    rows = f"SELECT 'legacy', {decision}" if decision else "SELECT 1, 2, 3, 4, 5, 6 WHERE 0"
    return schema.check(
        evidence(
            directory,
            sources={"legacy": SOURCE + extra},
            unified=unified,
            schema=target,
            tables=tables,
            decisions=rows,
            **keys,
        )
    )


def test_another_affinity_of_a_planned_column_is_a_note(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.verdict is Verdict.VALID
    assert [(f.rule, f.severity, f.column) for f in result.findings] == [
        ("schema/affinity-changed", Severity.NOTE, "b")
    ]


@pytest.mark.parametrize(
    ("index", "alive"),
    [
        ("CREATE INDEX i ON t (a, b)", False),  # a UNIQUE brings it along
        ("CREATE INDEX i ON t (id)", False),  # and so does a primary key
        ("CREATE INDEX j ON t (b); CREATE INDEX i ON t (b ASC)", False),
        ("CREATE INDEX i ON t (b)", True),
        ("CREATE INDEX i ON t (id) WHERE a > 1", True),
        ("CREATE UNIQUE INDEX j ON t (b); CREATE INDEX i ON t (b)", True),
    ],
)
def test_an_index_may_be_dropped_where_another_does_its_work(
    tmp_path: Path, index: str, alive: bool
) -> None:
    result = check(tmp_path, extra=index, decision="'index', 'i', 'dropped', 'twin', NULL")
    found = {f.rule for f in result.findings if f.key == "i"}
    assert found == ({"schema/dropped-alive"} if alive else set())


@pytest.mark.parametrize(
    ("columns", "alive"), [("nowhere, content='t'", False), ("a, content='t'", True), ("a", True)]
)
def test_a_text_index_may_be_dropped_only_where_it_cannot_be_read(
    tmp_path: Path, columns: str, alive: bool
) -> None:
    result = check(
        tmp_path,
        extra=f"CREATE VIRTUAL TABLE f USING fts5({columns});",
        decision="'table', 'f', 'dropped', 'dead', NULL",
    )
    assert ("schema/dropped-alive" in rules(result)) is alive


def test_a_table_with_rows_can_never_be_dropped(tmp_path: Path) -> None:
    result = check(
        tmp_path,
        extra="CREATE TABLE more (x);",
        decision="'table', 'more', 'dropped', 'unused', NULL",
    )
    assert rules(result) == {"schema/dropped-alive"}


def test_a_merger_into_an_index_of_another_table_is_a_warning(tmp_path: Path) -> None:
    for name, expected in (("other_a", {"schema/merged-elsewhere"}), ("u_a", set())):
        result = check(
            tmp_path / name,
            extra="CREATE INDEX i ON t (a);",
            decision=f"'index', 'i', 'merged', 'one', '{name}'",
        )
        assert rules(result, Severity.WARNING) == expected
        assert rules(result) == set()


def test_what_is_called_kept_must_mean_the_same(tmp_path: Path) -> None:
    result = check(
        tmp_path, extra="CREATE INDEX i ON t (a);", decision="'index', 'i', 'kept', 'same', 'u_a'"
    )
    assert rules(result) == {"schema/kept-changed"}


def test_a_repair_must_be_there(tmp_path: Path) -> None:
    result = check(
        tmp_path,
        extra="CREATE VIEW v AS SELECT nowhere FROM t;",
        decision="'view', 'v', 'repaired', 'mended', 'v'",
    )
    assert rules(result) == {"schema/repaired-missing"}


def test_a_decision_that_nobody_knows_is_found(tmp_path: Path) -> None:
    result = check(
        tmp_path, extra="CREATE INDEX i ON t (a);", decision="'index', 'i', 'ignored', 'so', NULL"
    )
    assert rules(result) == {"schema/decision-unknown"}


def test_a_target_that_is_no_table_is_found(tmp_path: Path) -> None:
    tables = {"legacy.t": {**PLANNED["legacy.t"], "targets": {"nowhere": "seq"}}}
    assert rules(check(tmp_path, tables=tables)) == {"schema/target-missing"}


def test_a_view_that_nobody_planned_for_comes_along(tmp_path: Path) -> None:
    view = "CREATE VIEW v AS SELECT 1 AS one;"
    result = check(tmp_path, extra=view, unified=TARGET + view)
    assert rules(result) | rules(result, Severity.WARNING) == set()
    assert result.details["source objects by outcome"] == {"planned": 1, "kept": 1}


def test_columns_kept_for_what_nobody_planned_are_no_addition(tmp_path: Path) -> None:
    tables = {"legacy.t": {**PLANNED["legacy.t"], "other_columns": 'u."x_{column}"'}}
    unified = TARGET.replace("b TEXT", "b TEXT, x_later, stray")
    result = check(
        tmp_path,
        extra="ALTER TABLE t ADD COLUMN later;",
        unified=unified,
        tables=tables,
    )
    warned = [f.column for f in result.findings if f.severity is Severity.WARNING]
    assert warned == ["stray"]
    assert rules(result) == set()


@pytest.mark.parametrize(
    ("was", "now", "rule"),
    [
        ("a, b TEXT", "b TEXT, a", "schema/column-order"),
        ("TABLE other (a)", "TABLE other (a ANY) STRICT", "schema/table-options"),
        ("TABLE other (a)", "TABLE other (a PRIMARY KEY)", "schema/constraint-undeclared"),
    ],
)
def test_the_shape_of_a_table_is_compared(tmp_path: Path, was: str, now: str, rule: str) -> None:
    assert rule in rules(check(tmp_path, unified=TARGET.replace(was, now)))


def test_a_failing_carried_query_is_a_finding(tmp_path: Path) -> None:
    assert rules(check(tmp_path, carried="SELECT nowhere")) == {"schema/query-failed"}


@pytest.mark.parametrize("target", ["CREATE TABLE", "CREATE TABLE t (a); CREATE TABLE t (a);"])
def test_a_declared_schema_that_does_not_execute_is_bad_input(tmp_path: Path, target: str) -> None:
    with pytest.raises(BadInputError, match=r"target\.sql: the declared schema does not execute"):
        check(tmp_path, target=target)


def test_a_declared_schema_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={}, unified=TARGET, schema=TARGET)
    (tmp_path / "target.sql").unlink()
    with pytest.raises(BadInputError, match="cannot be read"):
        schema.check(made)


def test_a_source_that_is_no_database_is_bad_input(tmp_path: Path) -> None:
    made = evidence(tmp_path, sources={"legacy": SOURCE}, unified=TARGET, tables=PLANNED)
    made.before.path("root").write_bytes(b"no database " * 99)
    with pytest.raises(BadInputError, match="not an SQLite database"):
        schema.check(made)
