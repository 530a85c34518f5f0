"""The examples of devflow/README.md do what the page says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from readme import README, Section, differences, run, sections

from devflow.migration import phases
from devflow.migration.tree import Tree
from devflow.services.settings import PORTS
from harness.candidate import Candidate
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.services import running

SECTIONS = sections(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def migrated(module_path: Path) -> Path:
    """A DevFlow root that looks like a real one, migrated."""
    build(Recipe(profile="real-like", seed=7), module_path / "devflow")
    phases.apply(Tree.at(module_path / "devflow"), "cleanup", lambda _: None)
    return module_path / "devflow"


@pytest.mark.parametrize(
    "section", [s for s in SECTIONS if s.examples], ids=lambda section: str(section.title)
)
def test_the_examples_of_a_service_answer_as_the_page_shows(
    section: Section, migrated: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "devflow"
    shutil.copytree(migrated, tree)
    scripts = "".join(example.script for example in section.examples)
    named = {name for name, port in PORTS.items() if f"127.0.0.1:{port}" in scripts}
    assert section.port in {PORTS[name] for name in named}
    chosen = [service for service in Candidate.load().services if service.name in named]
    environment = {"DEVFLOW_DB_PATH": str(tree / "devflow.sqlite"), "DEVFLOW_SEED": "1"}
    with running(chosen, environment=environment, logs=tmp_path / "logs") as services:
        ports: Mapping[int, int] = {PORTS[name]: one.port for name, one in services.items()}
        printed = run(section.examples, ports, tree)
    assert len(printed) == len(section.examples)
    for example, answer in zip(section.examples, printed, strict=True):
        if example.shown is not None:
            assert not differences(example.shown, answer), f"{example.script}printed {answer}"


def test_all_examples_answer_so_one_after_the_other_on_one_database(
    migrated: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "devflow"
    shutil.copytree(migrated, tree)
    environment = {"DEVFLOW_DB_PATH": str(tree / "devflow.sqlite"), "DEVFLOW_SEED": "1"}
    chosen = Candidate.load().services
    with running(chosen, environment=environment, logs=tmp_path / "logs") as services:
        ports = {PORTS[name]: one.port for name, one in services.items()}
        for section in SECTIONS:
            printed = run(section.examples, ports, tree)
            for example, answer in zip(section.examples, printed, strict=True):
                if example.shown is not None:
                    assert not differences(example.shown, answer), f"{example.script}: {answer}"


def test_the_page_has_a_section_for_each_service_on_its_port() -> None:
    named = {section.title.lower().replace(" ", "-"): section.port for section in SECTIONS}
    assert named == dict(PORTS)


def test_every_section_has_examples() -> None:
    assert all(section.examples for section in SECTIONS)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": "…"}', '{"a": {"b": [1]}}'),
        ('{"a": …, "b": 2}', '{"a": null, "b": 2}'),
        ('{"a": 1, …}', '{"a": 1}'),
        ("[1, …]", "[1, 2, 3]"),
        ('["…"]', "[]"),
        ('{"a": "task … is open"}', '{"a": "task x is open"}'),
        ('{"b": 2}', '{"a": 1}\n{"b": 2}'),
    ],
)
def test_what_fits_the_shown_json_is_no_difference(shown: str, printed: str) -> None:
    assert not differences(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', "{}"),
        ("[1]", "[1, 2]"),
        ("[1, 2, …]", "[1]"),
        ('{"a": "task … is open"}', '{"a": "task x is closed"}'),
        ('{"a": 1}', '{"a": 1}\n{"b": 2}'),
        ('{"a": {"b": []}}', '{"a": {"b": [0]}}'),
        ('{"a": 1}', ""),
    ],
)
def test_what_does_not_fit_the_shown_json_is_told(shown: str, printed: str) -> None:
    assert differences(shown, printed)


def test_a_block_that_is_refused_fails_with_its_own_words(tmp_path: Path) -> None:
    page = "## It (1)\n\n```sh\necho '{}'\n```\n\n```sh\nfalse\n```\n\n```json\n{}\n```\n"
    (section,) = sections(page)
    assert [example.shown for example in section.examples] == [None, "{}\n"]
    assert run(section.examples[:1], {}, tmp_path) == ["{}\n"]
    with pytest.raises(AssertionError, match=r"^false"):
        run(section.examples, {}, tmp_path)
