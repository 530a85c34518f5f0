"""Unplanned views of replaced tables: they show what they showed, rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest
from devflow_tree import LegacyTree, add_block, add_embedding, rows, values

VIEWS = {
    "plain": "CREATE VIEW {0} AS SELECT * FROM memory_blocks",
    "named": "CREATE VIEW {0} (one, two) AS SELECT type, content FROM memory_blocks;",
    "joined": "CREATE VIEW {0} AS SELECT b.id, e.model_id FROM memory_blocks AS b"
    " JOIN memory_block_embeddings AS e ON e.memory_block_id = b.id",
    "with": "CREATE VIEW {0} AS WITH w AS (SELECT id FROM memory_blocks) SELECT * FROM w",
    "ordered": "CREATE VIEW {0} AS SELECT id FROM memory_blocks ORDER BY id DESC LIMIT 1",
    "compound": "CREATE VIEW {0} AS SELECT id FROM memory_blocks UNION ALL SELECT title"
    " FROM task_contexts",
    "extra": 'CREATE VIEW {0} AS SELECT "ex tra" FROM memory_blocks',
    "quoted": "CREATE VIEW IF NOT EXISTS [{0}]AS SELECT [id] FROM [memory_blocks]",
    "commented": "CREATE VIEW {0} /* as it was */ AS SELECT id -- the id\nFROM memory_blocks",
    "ending in a comment": "CREATE VIEW {0} AS SELECT id FROM memory_blocks -- to its end",
    "of a free table": "CREATE VIEW {0} AS SELECT id, 'x' AS x FROM migration_log",
}


def with_rows(tree: LegacyTree) -> LegacyTree:
    tree.run("legacy", 'ALTER TABLE memory_blocks ADD COLUMN "ex tra"')
    tree.run("legacy", "INSERT INTO migration_log (migration_name) VALUES ('x')")
    tree.insert("root", "task_contexts", id="t1", title="root's")
    tree.insert("legacy", "task_contexts", id="t1", title="legacy's")
    add_block(tree, "m1", type="system_event", **{"ex tra": -0.0})
    add_block(tree, None, content="nameless", type="note")
    add_embedding(tree, None, "m1")
    return tree


@pytest.mark.parametrize("name", ["recent", "active_tasks"])
def test_a_view_of_the_old_tables_shows_the_old_rows(
    tree: LegacyTree, tmp_path: Path, name: str
) -> None:
    with_rows(tree)
    names = {kind: f"{name} {kind}" if kind != "plain" else name for kind in VIEWS}
    for kind, statement in VIEWS.items():
        quoted = names[kind] if kind == "quoted" else f'"{names[kind]}"'
        tree.run("legacy", statement.format(quoted))
    before = tree.copy(tmp_path / "before")
    tree.apply()
    found = dict(
        values(
            tree.root,
            "SELECT name, unified_name FROM schema_decisions WHERE type = 'view'"
            " AND source = 'legacy'",
        )
    )
    assert found[name] == ("legacy_active_tasks" if name == "active_tasks" else name)
    for kind, old in names.items():
        expected = rows(before.path("legacy"), f'SELECT * FROM "{old}"')
        shown = rows(tree.root, f'SELECT * FROM "{found[old]}"')
        assert expected
        assert sorted(shown, key=repr) == sorted(expected, key=repr), kind
    tree.rollback()
    assert tree.state == before.state


def test_a_dead_view_of_the_old_tables_is_dropped(tree: LegacyTree) -> None:
    tree.run(
        "legacy",
        "CREATE VIEW dead AS SELECT no_such FROM memory_blocks;"
        "CREATE VIEW living AS SELECT id FROM memory_blocks",
    )
    tree.apply("shadow")
    shadow = tree.directory / ".devflow-migration" / "unified.sqlite"
    found = values(
        shadow,
        "SELECT name, decision, rule FROM schema_decisions WHERE type = 'view'"
        " AND source = 'legacy' ORDER BY name",
    )
    assert found == [
        ("dead", "dropped", "does-not-compile"),
        ("living", "repaired", "reads-the-rebuilt-rows"),
    ]


def test_a_view_over_a_view_of_the_old_tables_shows_the_old_rows(
    tree: LegacyTree, tmp_path: Path
) -> None:
    add_block(tree, "m1", type="note")
    tree.run(
        "legacy",
        "CREATE VIEW inner_view AS SELECT id, type FROM memory_blocks;"
        "CREATE VIEW outer_view AS SELECT type FROM inner_view",
    )
    before = tree.copy(tmp_path / "before")
    tree.apply()
    for view in ("inner_view", "outer_view"):
        query = f"SELECT * FROM {view}"
        assert rows(tree.root, query) == rows(before.path("legacy"), query)
