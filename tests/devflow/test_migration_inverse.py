"""What is written twice stays in step: the plan, the mapping and the declared schema."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest
import yaml
from devflow_tree import REPOSITORY, environment

from devflow.migration import inverse
from devflow.migration.account import script
from devflow.migration.decisions import DECIDED
from devflow.migration.tables import PLANNED, planned
from devflow.migration.targets import TableMap


@pytest.fixture(scope="module")
def unified() -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(script()).fetchall()
        yield connection


@pytest.fixture(scope="module")
def legacy() -> Iterator[dict[str, apsw.Connection]]:
    connections = {}
    for name in ("root", "legacy", "vector"):
        connections[name] = apsw.Connection(":memory:")
        text = (REPOSITORY / "fixtures" / "schema" / f"{name}.sql").read_text()
        connections[name].execute(text).fetchall()
    yield connections
    for connection in connections.values():
        connection.close()


def columns(connection: apsw.Connection, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid", (table,)
    )
    return [str(name) for (name,) in rows]


def test_the_mapping_is_what_the_plan_writes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devflow.migration.inverse"], capture_output=True, text=True,
        check=True, timeout=30, env=environment(),
    )  # fmt: skip
    assert (REPOSITORY / "devflow" / "mapping.yaml").read_text() == done.stdout
    assert yaml.safe_load(done.stdout) == inverse.mapping_document()


def test_the_mapping_is_written_in_this_process_too(capsys: pytest.CaptureFixture[str]) -> None:
    inverse.main()
    assert (REPOSITORY / "devflow" / "mapping.yaml").read_text() == capsys.readouterr().out


@pytest.mark.parametrize("table", PLANNED, ids=lambda table: table.name)
def test_the_origin_has_a_place_for_each_column(unified: apsw.Connection, table: TableMap) -> None:
    keys = [target.origin_key for target in table.targets]
    expected = ["source_rowid", keys[0], "rule", "residue", *keys[1:]]
    assert columns(unified, table.origin) == [*expected, *(f"x_{name}" for name in table.inverse)]
    typed = unified.execute(
        "SELECT name FROM pragma_table_xinfo(?) WHERE name LIKE 'x\\_%' ESCAPE '\\' AND type <> ''",
        (table.origin,),
    ).fetchall()
    assert typed == []


@pytest.mark.parametrize("table", PLANNED, ids=lambda table: table.name)
def test_the_plan_knows_every_column_of_the_schema_as_found(
    legacy: dict[str, apsw.Connection], table: TableMap
) -> None:
    found = columns(legacy[table.source], table.table)
    if found:  # newer copies have three tables more
        assert set(found) == set(table.inverse)


@pytest.mark.parametrize("table", PLANNED, ids=lambda table: table.name)
def test_the_plan_names_columns_of_the_unified_schema(
    unified: apsw.Connection, table: TableMap
) -> None:
    for target in table.targets:
        there = set(columns(unified, target.table))
        assert set(target.forward) <= there
        assert {target.key} | set(target.repairs) <= there
        assert target.identifier is None or target.identifier in there


@pytest.mark.parametrize("table", PLANNED, ids=lambda table: table.name)
def test_the_inverse_compiles_on_the_unified_schema(
    unified: apsw.Connection, table: TableMap
) -> None:
    entry = inverse.mapping_document()["tables"][table.name]  # type: ignore[index]
    listed = ", ".join(entry["columns"].values())
    query = (
        f"SELECT {entry['key']}, {entry['residue']}, {entry['rule']}, {listed} FROM {entry['from']}"
    )
    assert unified.execute(query).fetchall() == []
    for unified_table, key in entry["targets"].items():
        assert columns(unified, unified_table)
        assert unified.execute(f"SELECT {key} FROM {entry['from']}").fetchall() == []


def test_every_other_query_of_the_mapping_compiles(unified: apsw.Connection) -> None:
    document: dict = inverse.mapping_document()  # type: ignore[type-arg]
    queries = [document[k] for k in ("version", "carried", "decisions", "added", "sequences")]
    queries += list(document["registry"].values())
    queries += [q["query"] for kind in ("fulltext", "listed") for q in document["in_use"][kind]]
    for query in queries:
        unified.execute(query, {"match": "word"} if ":match" in query else None).fetchall()


def test_no_origin_is_there_without_a_plan(unified: apsw.Connection) -> None:
    rows = unified.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'origin_*'"
    )
    assert {name for (name,) in rows} == {table.origin for table in PLANNED}


def test_a_table_that_nobody_planned_for_has_no_plan() -> None:
    assert planned("legacy", "migration_log") is None
    assert planned("legacy", "sessions") is not None


@pytest.mark.parametrize("source", ["root", "legacy", "vector"])
def test_every_object_as_found_is_decided_and_every_named_one_is_there(
    legacy: dict[str, apsw.Connection], unified: apsw.Connection, source: str
) -> None:
    kinds = "SELECT CASE WHEN sql LIKE 'CREATE VIRTUAL%' THEN 'virtual table' ELSE type END, name"
    made = {
        (str(kind), str(name))
        for kind, name in legacy[source].execute(
            f"{kinds} FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite%'"
        )
    }
    declared = {
        (str(kind), str(name))
        for kind, name in unified.execute(f"{kinds} FROM sqlite_master WHERE sql NOT NULL")
    }
    shadows = {(kind, name) for kind, name in made if kind == "table" and "_fts_" in name}
    planned_here = {("table", table.table) for table in PLANNED if table.source == source}
    undecided = made - set(DECIDED[source]) - planned_here - shadows
    assert undecided - declared == ({("table", "migration_log")} if source == "legacy" else set())
    for decision in DECIDED[source].values():
        assert decision.unified_name in {name for _, name in declared}
