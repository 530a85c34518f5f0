"""Each trigger of the unified schema can be brought to fire by made-up rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from harness.candidate import DEFAULT_MANIFEST
from harness.checkers.ddl_diff import Item
from harness.checkers.firing import fire
from harness.database import load_vectors

SCHEMA = (DEFAULT_MANIFEST.parent / "schema" / "unified.sql").read_text(encoding="utf-8")


@pytest.fixture
def unified() -> Iterator[apsw.Connection]:
    with closing(apsw.Connection(":memory:")) as connection:
        load_vectors(connection)
        connection.execute(SCHEMA)
        yield connection


def triggers(connection: apsw.Connection) -> list[Item]:
    found = connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type='trigger'")
    return [
        Item(kind="trigger", name=str(name), table=str(table), sql=str(sql))
        for name, table, sql in found
    ]


def test_every_trigger_of_the_unified_schema_fires_and_leaves_nothing(
    unified: apsw.Connection,
) -> None:
    tables = [str(n) for (n,) in unified.execute("SELECT name FROM sqlite_master WHERE rootpage")]
    tried = triggers(unified)
    outcomes = {item.name: fire(unified, item).outcome for item in tried}
    assert len(outcomes) >= 35
    assert {name for name, outcome in outcomes.items() if outcome != "fired"} == set()
    left = {"cost_state", "cost_sums", "synthetic_usage", "knowledge_pairs"}
    assert left <= set(tables)
    assert all(unified.execute(f"SELECT count(*) FROM {name}").get == 0 for name in left)
