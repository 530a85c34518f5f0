"""An operator who names a folder in a DevFlow tree, or above it, is told the root."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from devflow_tree import DATABASES, LOG, LegacyTree, speak, tree_state

from devflow import operator
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    code = operator.main(["migrate", *map(str, words)])
    said = capsys.readouterr()
    assert said.out == ""
    return code, said.err


def laid(root: Path, *places: str) -> Path:
    """Lay out a tree of empty files at these places."""
    root.mkdir(parents=True, exist_ok=True)
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    return root


@pytest.mark.parametrize("operation", ["plan", "apply", "status", "rollback"])
def test_the_data_folder_is_one_sentence_that_names_the_root(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], operation: str
) -> None:
    before = tree_state(tree.directory)
    given = tree.directory / "data"
    code, said = told(capsys, operation, given)
    assert code == operator.EXIT_UNCHANGED
    assert said == (
        f"error: {given} is the folder data of a DevFlow tree, not its root, which is probably"
        f" {tree.directory}; name the root\n"
    )
    assert tree_state(tree.directory) == before


def test_standing_in_the_data_folder_is_naming_it(
    tree: LegacyTree, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.directory / "data")
    code, said = told(capsys, "apply", "--until", "shadow")
    assert code == operator.EXIT_UNCHANGED
    assert f"which is probably {tree.directory}" in said


@pytest.mark.parametrize("name", ["devflow", "data"])
def test_the_folder_above_is_one_sentence_that_names_the_root(
    tree: LegacyTree, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Also where the root is called `data`, so that its database lies where a legacy one would."""
    above = tmp_path / "above"
    shutil.copytree(tree.directory, above / name)
    before = tree_state(above)
    for operation in ("plan", "apply"):
        code, said = told(capsys, operation, above, "--until", "shadow")
        assert code == operator.EXIT_UNCHANGED
        assert f"probably {above / name}" in said
        assert said.count("\n") == 1
    assert tree_state(above) == before


def test_the_contract_refuses_the_data_folder_and_changes_nothing(tree: LegacyTree) -> None:
    before = tree_state(tree.directory)
    request = json.dumps({"contract": 1, "tree": str(tree.directory / "data")})
    exit_code, events = speak(["apply"], request)
    assert (exit_code, events[-1]["code"], events[-1]["definite"]) == (1, "no-tree", True)
    assert str(tree.directory) in events[-1]["text"]
    assert tree_state(tree.directory) == before


def test_a_folder_without_databases_is_told_the_root_around_it(tree: LegacyTree) -> None:
    (tree.directory / "data" / "old").mkdir()
    for inside in ("logs", "data/old"):
        with pytest.raises(MigrationError, match=f"is no DevFlow root.*probably {tree.directory}$"):
            Tree.at(tree.directory / inside).check()


ROOTS = {
    "called data": ("data", DATABASES.values()),
    "called data, half migrated": ("data", ("devflow.sqlite", ".devflow-migration/journal")),
    "called data, with its root database alone": ("data", ("devflow.sqlite",)),
    "called data, with a log": ("data", ("devflow.sqlite", "vector.sqlite", LOG)),
    "called data in a tree, with databases of its own": (
        "devflow/data",
        ("../devflow.sqlite", *DATABASES.values()),
    ),
    "called data in a tree, and migrated": (
        "devflow/data",
        ("../devflow.sqlite", "devflow.sqlite", "backups/pre-unification/devflow.sqlite"),
    ),
    "with legacy alone": ("devflow", ("data/devflow.sqlite",)),
    "with vector alone": ("devflow", ("data/vector.sqlite",)),
    "with legacy, a log and a copy in data": (
        "devflow",
        ("data/devflow.sqlite", LOG, "data/data/devflow.sqlite"),
    ),
    "half migrated, with a copy in data": (
        "devflow",
        ("data/devflow.sqlite", ".devflow-migration/journal", "data/data/devflow.sqlite"),
    ),
}


@pytest.mark.parametrize("root", ROOTS)
def test_what_may_be_a_root_is_taken_as_one(tmp_path: Path, root: str) -> None:
    name, places = ROOTS[root]
    directory = laid(tmp_path / name, *places)
    assert Tree.at(directory).directory == directory


def test_other_paths_have_other_data_folders(tmp_path: Path) -> None:
    root = laid(tmp_path / "devflow", "main.sqlite", "old/legacy.sqlite")
    paths = {"root": "main.sqlite", "legacy": "old/legacy.sqlite", "vector": "old/v.sqlite"}
    assert Tree.at(root, paths).directory == root
    with pytest.raises(MigrationError, match=f"the folder old of .* probably {root};"):
        Tree.at(root / "old", {**paths, "legacy": "old/legacy.sqlite"})
    flat = {"legacy": "legacy.sqlite", "vector": "vector.sqlite"}
    assert Tree.at(root / "old", flat).directory == root / "old"
