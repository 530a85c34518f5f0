from __future__ import annotations

import pickle
from pathlib import Path
from random import Random

import apsw
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from harness.database import typed_expression
from harness.generators import values
from harness.generators.observed import HAZARDS, observed
from harness.generators.plan import (
    DatabasePlan,
    RawText,
    Row,
    TreePlan,
    Value,
    literal,
    materialise,
)
from harness.generators.reproducer import scenario_document, write_scenario
from harness.generators.tables import PLANNED, planned_row
from harness.generators.trees import row_table_names, trees
from harness.model import DATABASES
from harness.scenario import Scenario
from harness.snapshot import Snapshot
from harness.stage import prepare

few = settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)


def stored(sql: str) -> tuple[str, Value]:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (v)")
    connection.execute(f"INSERT INTO t VALUES ({sql})")
    kind, value = connection.execute(
        f"SELECT typeof(v), {typed_expression('v')} FROM t"
    ).fetchall()[0]
    return kind, value


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, "null", None),
        (2**63 - 1, "integer", 2**63 - 1),
        (-(2**63), "integer", -(2**63)),
        (1.0, "real", 1.0),
        (float("inf"), "real", float("inf")),
        ("it's", "text", b"it's"),
        ("a\x00b", "text", b"a\x00b"),
        ("007", "text", b"007"),
        (b"\x00\xff", "blob", b"\x00\xff"),
        (RawText(b"\xff\x00"), "text", b"\xff\x00"),
    ],
)
def test_a_literal_gives_back_storage_class_and_bytes(
    value: Value, kind: str, expected: Value
) -> None:
    assert stored(literal(value)) == (kind, expected)


def test_a_negative_zero_survives_its_literal() -> None:
    kind, value = stored(literal(-0.0))
    assert kind == "real"
    assert str(value) == "-0.0"


@few
@given(trees())
def test_every_generated_tree_becomes_files_that_sqlite_finds_sound(
    tmp_path_factory: pytest.TempPathFactory, plan: TreePlan
) -> None:
    out = tmp_path_factory.mktemp("tree") / "tree"
    materialise(plan, out)
    for name, database in plan.databases().items():
        path = out / DATABASES[name]
        assert path.exists() is (database.state != "missing")
        if database.state == "sqlite":
            connection = apsw.Connection(str(path))
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
            connection.close()


@few
@given(trees())
def test_a_plan_can_be_pickled_and_gives_the_same_databases_each_time(
    tmp_path_factory: pytest.TempPathFactory, plan: TreePlan
) -> None:
    folder = tmp_path_factory.mktemp("twice")
    materialise(plan, folder / "one")
    materialise(pickle.loads(pickle.dumps(plan)), folder / "two")  # noqa: S301 - our own
    assert Snapshot.of(folder / "one").digest() == Snapshot.of(folder / "two").digest()


@few
@given(trees())
def test_a_scenario_file_alone_gives_the_same_databases_as_the_plan(
    tmp_path_factory: pytest.TempPathFactory, plan: TreePlan
) -> None:
    folder = tmp_path_factory.mktemp("scenario")
    materialise(plan, folder / "tree")
    document = scenario_document(plan, name="again", description="A generated tree.")
    scenario = Scenario.load(write_scenario(document, folder / "again.yaml"))
    prepare(scenario, folder / "prepared")
    ours, theirs = Snapshot.of(folder / "tree"), Snapshot.of(folder / "prepared")
    assert ours.files() == theirs.files()
    for name in DATABASES:
        assert ours.state(name) == theirs.state(name)
        if ours.state(name) == "sqlite":
            assert rows_of(ours.path(name)) == rows_of(theirs.path(name))


def rows_of(path: Path) -> list[object]:
    connection = apsw.Connection(str(path))
    schema = sorted(
        connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall(), key=str
    )
    tables = [name for kind, name, sql in schema if kind == "table" and "_fts" not in str(name)]
    rows: list[object] = [schema]
    for table in tables:
        if "VIRTUAL" in str(schema):
            columns = connection.execute(
                "SELECT name FROM pragma_table_xinfo(?)", (str(table),)
            ).fetchall()
            quoted = ['"' + str(c).replace('"', '""') + '"' for (c,) in columns]
            typed = ", ".join(f"typeof({c}), hex(CAST({c} AS BLOB)), {c} = 0" for c in quoted)
            name = str(table).replace('"', '""')
            if "VIRTUAL" not in str(next(s for _, n, s in schema if n == table)):
                rows.append(sorted(connection.execute(f'SELECT {typed} FROM "{name}"'), key=str))
    connection.close()
    return rows


@pytest.mark.parametrize("source", list(DATABASES))
def test_every_planned_table_of_the_schemas_gets_rows(source: str) -> None:
    assert set(PLANNED[source]) == set(row_table_names(source))


def _rows_of(tree: TreePlan) -> int:
    return sum(len(database.rows) for database in tree.databases().values())


@pytest.mark.parametrize("hazard", ["earlier-attempt"])
def test_a_hazard_can_be_found_and_shrinks_to_little(hazard: str) -> None:
    # Hypothesis draws constants of whatever modules are loaded, and shrinks to the nearest end of
    # its ways: so which tests ran before decides how far one search gets, and three are made.
    looked = settings(few, phases=tuple(Phase))
    found = [
        find(trees(), HAZARDS[hazard], settings=looked, random=Random(seed)) for seed in range(3)
    ]
    smallest = min(found, key=_rows_of)
    assert _rows_of(smallest) <= 2
    assert hazard in observed(smallest)


def test_a_hundred_trees_hold_nearly_every_hazard() -> None:
    seen: set[str] = set()

    @settings(few, max_examples=100)
    @given(trees())
    def gather(plan: TreePlan) -> None:
        seen.update(observed(plan))

    gather()
    assert len(seen) >= 0.85 * len(HAZARDS), sorted(set(HAZARDS) - seen)


def test_the_plainest_tree_holds_no_row() -> None:
    smallest = find(trees(), lambda _: True, settings=settings(few, max_examples=3))
    assert not any(database.rows for database in smallest.databases().values())


def test_a_row_that_a_constraint_refuses_steps_back(tmp_path: Path) -> None:
    plan = TreePlan(
        legacy=DatabasePlan(
            rows=(
                Row("sessions", {"id": "a", "name": None, "created_at": "", "updated_at": ""}),
                Row("sessions", {"id": "b", "name": "n", "created_at": "", "updated_at": ""}),
            )
        )
    )
    materialise(plan, tmp_path / "tree")
    connection = apsw.Connection(str(tmp_path / "tree" / DATABASES["legacy"]))
    assert connection.execute("SELECT id FROM sessions").fetchall() == [("b",)]
    connection.close()


@few
@given(st.data())
def test_a_vector_says_its_true_dimensions_or_none(data: st.DataObject) -> None:
    vector, dimensions = data.draw(values.vectors())
    if dimensions:
        assert isinstance(vector, bytes)
        assert len(vector) == 4 * dimensions


@few
@given(st.data())
def test_a_planned_row_names_every_column_so_that_no_default_tells_the_time(
    data: st.DataObject,
) -> None:
    source = data.draw(st.sampled_from(sorted(PLANNED)))
    table = data.draw(st.sampled_from(PLANNED[source]))
    row = data.draw(planned_row(source, table))
    connection = apsw.Connection(":memory:")
    text = (Path(__file__).parents[2] / "fixtures" / "schema" / f"{source}.sql").read_text()
    connection.execute(text)
    wanted = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (table,)
        )
    }
    assert set(row.values) == wanted
