"""What `make bench` claims besides times: what it plants is found, and nothing is left unsaid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bench import steps
from bench.fidelity import TYPE_DIFFERENCES, TypeDifference, duplicates_found, told_apart
from bench.memories import sentence
from bench.outcome import lines
from bench.planted import PLANTED
from bench.serving import words_sought
from harness.checkers.compare import compare
from harness.checkers.digests import Side
from harness.database import open_read_only


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand legacy rows, built and migrated, with the differences planted."""
    folder = tmp_path_factory.mktemp("bench")
    steps.build_tree(str(folder / "before"), scale="0.001", seed="5")
    shutil.copytree(folder / "before", folder / "tree")
    steps.migrate(str(folder / "tree"))
    shutil.copyfile(folder / "before" / "data" / "devflow.sqlite", folder / "spoiled.sqlite")
    names = ("tree/devflow.sqlite", "spoiled.sqlite", "reordered.sqlite")
    steps.plant(*(str(folder / name) for name in names))
    return folder


def test_the_checker_finds_every_planted_difference_and_no_other(trees: Path) -> None:
    told = steps.check(str(trees / "before"), str(trees / "tree" / "devflow.sqlite"))
    assert told["found"] == told["listed"] == PLANTED == 20


@pytest.mark.parametrize("copy", [steps.copy, steps.copy_keyed])
def test_the_bare_copies_hold_every_legacy_row(trees: Path, copy: Callable[..., object]) -> None:
    legacy = str(trees / "before" / "data" / "devflow.sqlite")
    copy(legacy, str(trees / "copy.sqlite"))
    assert steps.scan(str(trees / "copy.sqlite"))["rows"] == steps.scan(legacy)["rows"] >= 1_000


def test_the_reordered_copy_holds_the_same_rows_in_another_order(trees: Path) -> None:
    sides = [Side.table(trees / name, "memory_blocks", ("id", "content"), key=(0,))
             for name in ("spoiled.sqlite", "reordered.sqlite")]  # fmt: skip
    compared = compare(*sides)
    assert compared.left_rows == compared.right_rows > 100
    assert not compared.differing
    first = [_first_id(trees / name) for name in ("spoiled.sqlite", "reordered.sqlite")]
    assert first[0] != first[1]


def _first_id(database: Path) -> object:
    with closing(open_read_only(database, at_rest=True)) as connection:
        return connection.execute("SELECT id FROM memory_blocks ORDER BY rowid").fetchone()


@pytest.mark.parametrize("difference", TYPE_DIFFERENCES, ids=lambda difference: difference.name)
def test_each_type_difference_is_told_apart(difference: TypeDifference, tmp_path: Path) -> None:
    assert told_apart(difference, tmp_path)


def test_sixteen_type_differences_are_tried_and_equal_values_are_none(tmp_path: Path) -> None:
    assert len(TYPE_DIFFERENCES) == 16
    assert not told_apart(TypeDifference("the same", "'a'", "'a'"), tmp_path)


def test_a_row_that_is_there_once_less_is_found_without_a_key(tmp_path: Path) -> None:
    assert duplicates_found(tmp_path)


def test_what_could_not_be_measured_is_said_and_has_no_ratio() -> None:
    took: dict[str, Any] = {"seconds": 2.0, "cpu_seconds": 1.0, "found": 20}
    took |= {"peak_mib": 10.0, "own_mib": 10.0}
    fidelity = {"found": 16, "total": 16, "missed": [], "duplicates_found": True}
    large = {"scale": 1.0, "check": took, "scan": {**took, "seconds": 1.0}, "migrate": None}
    told = list(
        lines(
            {"seed": 1, "sqlite": "3", "planted": 20, "large": large, "small": {"check": took}}
            | {"fidelity": fidelity}
        )
    )
    (ratio,) = [line for line in told if "checker / scan" in line]
    assert "2.00 ×" in ratio
    assert all("not measured" in line for line in told if "sqldiff" in line or "bare copy" in line)


def test_the_words_sought_are_rare_middling_and_common_ones() -> None:
    texts = [sentence(number) for number in range(1_000)]
    sought = words_sought(len(texts))
    shares = {
        kind: [sum(word in text.split() for text in texts) / len(texts) for word in words]
        for kind, words in sought.items()
    }
    assert all(len(set(words)) == len(words) >= 3 for words in sought.values())
    assert min(shares["rare"]) > 0
    assert max(shares["rare"]) <= 0.005
    assert min(shares["middling"]) >= 0.05
    assert max(shares["middling"]) <= 0.2
    assert min(shares["common"]) > 0.33
