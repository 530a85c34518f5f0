"""The scenario format: what a file means, and that every mistake in one is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from harness.candidate import PHASES
from harness.errors import BadInputError
from harness.fixture.hazards import HAZARDS
from harness.fixture.recipe import PROFILES
from harness.judge import CHECKER_NAMES
from harness.scenario import (
    Kill,
    Scenario,
    find_scenario,
    scenario_files,
    scenarios_folder,
)

SCHEMA = json.loads((scenarios_folder() / "scenario.schema.json").read_text(encoding="utf-8"))
SMALLEST = "description: x\nfixture: {profile: empty}\n"


def load(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "story.yaml"
    path.write_text(text, encoding="utf-8")
    return Scenario.load(path)


def test_the_smallest_scenario_has_defaults_for_all_else(tmp_path: Path) -> None:
    scenario = load(tmp_path, SMALLEST)
    assert scenario.name == "story"
    assert (scenario.seed, scenario.until, scenario.kills) == (1, "cleanup", ())
    assert scenario.candidate is None
    assert scenario.checkers is None
    assert scenario.expect.verdict == "valid"


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    scenario = load(
        tmp_path,
        """
name: a-story
description: >-
  Two
  lines.
seed: 5
fixture: {profile: real-like, scale: 2, hazards: [emoji], seed: 9}
candidate: other/candidate.yaml
rollback_from: [shadow]
nemesis: {kill: {during: rollback, at: [rollback/restore], when: [mid], from: cutover}}
checkers: [rows]
expect: {verdict: invalid, rules: [rows/row-missing]}
slow: true
""",
    )
    assert scenario.name == "a-story"
    assert scenario.description == "Two lines."
    assert scenario.fixture.seed == 9
    assert scenario.fixture.hazards == ("emoji",)
    assert scenario.candidate == tmp_path / "other" / "candidate.yaml"
    assert scenario.rollback_from == ("shadow",)
    assert scenario.kills == (
        Kill(during="rollback", at=("rollback/restore",), when=("mid",), from_phase="cutover"),
    )
    assert scenario.checkers == ("rows",)
    assert scenario.expect.rules == ("rows/row-missing",)
    assert scenario.slow


def test_an_inline_fixture_holds_statements_files_of_no_bytes_and_a_log(tmp_path: Path) -> None:
    fixture = load(
        tmp_path,
        "description: x\nfixture:\n  inline: {root: [CREATE TABLE t (x)], legacy: null}\n"
        "  log: {base64: /wA=}\n  config: as-planned\n",
    ).fixture
    assert fixture.inline == {"root": ("CREATE TABLE t (x)",), "legacy": None}
    assert fixture.log == b"\xff\x00"
    assert fixture.config == "as-planned"


def test_a_log_may_be_text(tmp_path: Path) -> None:
    fixture = load(tmp_path, "description: x\nfixture: {inline: {}, log: 'é'}\n").fixture
    assert fixture.log == "é".encode()


def test_a_copied_fixture_is_relative_to_the_file(tmp_path: Path) -> None:
    fixture = load(tmp_path, "description: x\nfixture: {copied: tree}\n").fixture
    assert fixture.copied == tmp_path / "tree"


@pytest.mark.parametrize(
    ("line", "said", "text"),
    [
        (
            3,
            "unknown key 'profle'; did you mean 'profile'? in `fixture`",
            "description: x\nfixture:\n  profle: empty\n",
        ),
        (
            2,
            "did you mean 'empty'?",
            "description: x\nfixture: {profile: empti}\n",
        ),
        (1, "the key `description` is missing", "fixture: {profile: empty}\n"),
        (2, "needs exactly one of profile, copied and inline", "description: x\nfixture: {}\n"),
        (
            2,
            "it has profile and inline",
            "description: x\nfixture: {profile: empty, inline: {}}\n",
        ),
        (
            4,
            "`log` goes with `inline`, not `profile`",
            "description: x\nfixture:\n  profile: empty\n  log: x\n",
        ),
        (
            4,
            "`scale` goes with `profile`, not `inline`",
            "description: x\nfixture:\n  inline: {}\n  scale: 2\n",
        ),
        (2, "the key 'description' stands twice", "description: x\ndescription: y\n"),
        (
            5,
            "did you mean 'apply'?",
            SMALLEST + "nemesis:\n  kill:\n    during: aply\n",
        ),
        (3, "the key `during` is missing in `nemesis.kill`", SMALLEST + "nemesis: {kill: {}}\n"),
        (
            4,
            "is not possible in `fixture.inline.root`",
            "description: x\nfixture:\n  inline:\n    root: 5\n",
        ),
        (3, "is not base64", "description: x\nfixture: {inline: {},\n  log: {base64: '*'}}\n"),
        (3, "unknown key '1'", SMALLEST + "1: 2\n"),
        (3, "is not possible in `seed`", SMALLEST + "seed: -1\n"),
        (3, "is not possible in `seed`", SMALLEST + "seed: one\n"),
        (1, "a scenario is a mapping of keys", "- a list\n"),
        (1, "a scenario is a mapping of keys", ""),
        (2, "this is not YAML", "a: [\n"),
        (3, "this is not YAML", SMALLEST + "? [a]\n: 2\n"),
        (1, "it contains itself, by an alias", "&a\ndescription: *a\n"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(
    tmp_path: Path, line: int, said: str, text: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'story.yaml'}:{line}: ")
    assert said in str(caught.value)


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "story.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError, match="is not UTF-8"):
        Scenario.load(path)


def test_a_scenario_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        find_scenario(str(tmp_path / "none.yaml"))


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(BadInputError, match="did you mean 'null-primary-keys'"):
        find_scenario("null-primary-key")


def test_a_seed_given_later_reaches_the_fixture(tmp_path: Path) -> None:
    scenario = load(tmp_path, SMALLEST).with_seed(7)
    assert (scenario.seed, scenario.fixture.seed) == (7, 7)


def test_the_replay_line_says_name_or_file(tmp_path: Path) -> None:
    assert load(tmp_path, SMALLEST).replay == f"make scenario FILE={tmp_path / 'story.yaml'}"
    assert find_scenario("emoji").replay == "make scenario NAME=emoji"


def test_the_schema_knows_the_names_that_the_code_knows() -> None:
    fixture = SCHEMA["properties"]["fixture"]["properties"]
    assert tuple(fixture["profile"]["enum"]) == PROFILES
    assert tuple(SCHEMA["$defs"]["phase"]["enum"]) == PHASES


def test_every_key_of_the_schema_is_documented() -> None:
    text = (scenarios_folder().parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
    for key, value in SCHEMA["properties"].items():
        assert f"`{key}`" in text
        for inner in value.get("properties", {}):
            assert f"`{inner}`" in text


@pytest.mark.parametrize("path", scenario_files(), ids=lambda path: path.stem)
def test_each_scenario_of_ours_loads_and_is_found_by_its_name(path: Path) -> None:
    scenario = Scenario.load(path)
    assert find_scenario(path.stem) == scenario
    assert scenario.name == path.stem
    assert set(scenario.fixture.hazards) <= set(HAZARDS)
    assert set(scenario.checkers or ()) <= set(CHECKER_NAMES)


def test_each_hazard_has_a_scenario_of_its_own() -> None:
    folder = scenarios_folder() / "hazards"
    assert {path.stem for path in folder.glob("*.yaml")} == set(HAZARDS)
    for name in HAZARDS:
        assert name in Scenario.load(folder / f"{name}.yaml").fixture.hazards


def test_each_profile_and_each_phases_rollback_has_a_scenario() -> None:
    folder = scenarios_folder()
    assert {path.stem for path in (folder / "profiles").glob("*.yaml")} == set(PROFILES)
    rollbacks = [Scenario.load(path) for path in (folder / "rollback").glob("*.yaml")]
    assert {phase for one in rollbacks for phase in one.rollback_from} == set(PHASES)


def test_crash_points_cover_every_phase_before_and_after_each_step() -> None:
    kills = [
        kill
        for path in (scenarios_folder() / "crash").glob("*.yaml")
        for kill in Scenario.load(path).kills
    ]
    for when in ("before", "after"):
        covered = {
            phase
            for kill in kills
            if kill.during == "apply" and when in kill.when
            for phase in (kill.at or PHASES)
        }
        assert covered == set(PHASES)
        assert any(kill.during == "rollback" and when in kill.when for kill in kills)


def test_scenario_files_are_read_by_plain_yaml_too() -> None:
    for path in scenario_files():
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
