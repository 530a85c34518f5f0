"""Who names a folder in a DevFlow tree, or above it, is told the root; a root never is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import cli
from harness.errors import BadInputError
from harness.fixture.build import build
from harness.fixture.copy import copy_tree
from harness.fixture.recipe import Recipe
from harness.fixture.roots import probable_roots, refuse_other_folder
from harness.fixture.tree import LOG
from harness.model import DATABASES


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("roots") / "tree"
    build(Recipe(profile="real-like"), tree)
    return tree


def laid(root: Path, *places: str) -> Path:
    """Lay out a tree of empty files at these places."""
    root.mkdir(parents=True, exist_ok=True)
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).touch()
    return root


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


COMMANDS: dict[str, Callable[[Path, Path, Path], list[str | Path]]] = {
    "rehearse": lambda folder, _, out: ["rehearse", "--source", folder, "--out", out],
    "audit": lambda folder, tree, out: [
        "audit", "--before", folder, "--after", tree / "devflow.sqlite", "--out", out,
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_the_data_folder_is_one_sentence_that_names_the_root(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    given, out = built / "data", tmp_path / "out"
    assert run(*COMMANDS[command](given, built, out)) == 254
    assert capsys.readouterr().err == (
        f"harness: {given} is the folder data of a DevFlow tree, not its root: give the root,"
        f" which is probably {built}\n"
    )
    assert not out.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_folder_above_is_one_sentence_that_names_the_root(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Also where the root is called `data`, so that its database lies where a legacy one would."""
    for name, said in (("devflow", "holds none of"), ("data", "is the folder above")):
        above = tmp_path / f"above-{name}"
        shutil.copytree(built, above / name)
        out = tmp_path / f"out-{name}"
        assert run(*COMMANDS[command](above, built, out)) == 254
        told = capsys.readouterr().err
        assert told.startswith(f"harness: {above} {said}")
        assert told.endswith(f"give the root, which is probably {above / name}\n") or (
            told.endswith(f"give the root of a DevFlow tree, which is probably {above / name}\n")
        )
        assert told.count("\n") == 1
        assert not out.exists()


def test_a_link_to_the_data_folder_is_no_way_around(built: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(built / "data")
    with pytest.raises(BadInputError, match=f"which is probably {built}$"):
        copy_tree(tmp_path / "link", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scenario_that_copies_the_data_folder_is_refused(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tmp_path / "story.yaml"
    text = {"description": "x", "fixture": {"copied": str(built / "data")}, "checkers": ["rows"]}
    story.write_text(json.dumps(text))
    assert run("scenario", story, "--out", tmp_path / "out") == 254
    assert f"which is probably {built}" in capsys.readouterr().err


OTHERS = {
    "root and legacy": ("devflow.sqlite", "data/devflow.sqlite"),
    "legacy and vector": ("data/devflow.sqlite", "data/vector.sqlite"),
    "vector alone": ("data/vector.sqlite",),
    "legacy and the log": ("data/devflow.sqlite", LOG),
    "all": (*DATABASES.values(), LOG, ".env.prod.example"),
}


@pytest.mark.parametrize("tree", OTHERS)
def test_the_data_folder_is_known_by_what_stands_around_it(tmp_path: Path, tree: str) -> None:
    root = laid(tmp_path / "devflow", *OTHERS[tree])
    refuse_other_folder(root)
    with pytest.raises(BadInputError, match=f"which is probably {root}$"):
        refuse_other_folder(root / "data")


ROOTS = {
    "called data": ("data", DATABASES.values()),
    "called data, migrated": ("data", ("devflow.sqlite", "backups/pre-unification/x")),
    "called data, with its root database alone": ("data", ("devflow.sqlite",)),
    "called data, with a log": ("data", ("devflow.sqlite", "vector.sqlite", LOG)),
    "in a tree's data folder": ("devflow/data/devflow", DATABASES.values()),
    "called data in a tree, with databases of its own": (
        "devflow/data",
        ("../devflow.sqlite", *DATABASES.values()),
    ),
    "called data in a tree, with settings": (
        "devflow/data",
        ("../devflow.sqlite", "devflow.sqlite", ".env"),
    ),
    "with legacy alone": ("devflow", ("data/devflow.sqlite",)),
    "with vector alone": ("devflow", ("data/vector.sqlite",)),
    "with another tree below": ("devflow", ("devflow.sqlite", "old/devflow.sqlite")),
    "with legacy, a log and a copy in data": (
        "devflow",
        ("data/devflow.sqlite", LOG, "data/data/devflow.sqlite"),
    ),
    "with legacy, settings and a copy in data": (
        "devflow",
        ("data/devflow.sqlite", "docker-compose.yml", "data/data/devflow.sqlite"),
    ),
}


@pytest.mark.parametrize("root", ROOTS)
def test_what_may_be_a_root_is_taken_as_one(tmp_path: Path, root: str) -> None:
    name, places = ROOTS[root]
    refuse_other_folder(laid(tmp_path / name, *places))


def test_a_folder_without_databases_is_told_the_root_around_it(tmp_path: Path) -> None:
    root = laid(tmp_path / "devflow", *DATABASES.values(), LOG, "data/old/x")
    for inside in ("logs", "data/old"):
        assert probable_roots(root / inside) == (root,)
        with pytest.raises(BadInputError, match=f"holds none of .*, which is probably {root}$"):
            refuse_other_folder(root / inside)
    for number in range(5):
        laid(tmp_path / "many" / f"tree-{number}", "devflow.sqlite")
    with pytest.raises(BadInputError, match=r"probably \S+/tree-0 or \S+/tree-1 or \S+/tree-2$"):
        refuse_other_folder(tmp_path / "many")
    assert probable_roots(laid(tmp_path / "empty" / "a" / "b" / "c" / "d")) == ()
