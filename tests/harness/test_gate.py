"""The gate, whole but small: a few scenarios, one mutant, a handful of generated databases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_candidate import MANIFEST

from harness.errors import BadInputError
from harness.gate import PROFILES, Profile, run_gate
from harness.model import Verdict
from harness.progress import Happening

NOTES = "CREATE TABLE notes (id TEXT, text TEXT)"
SOUND = f"""
description: x
fixture:
  inline:
    root: [{NOTES!r}, "INSERT INTO notes VALUES ('a', 'x')"]
    legacy: [{NOTES!r}, "INSERT INTO notes VALUES ('b', 'y')"]
candidate: {MANIFEST}
checkers: [rows, ledger, rollback]
"""


@pytest.fixture(scope="module")
def size() -> Profile:
    return Profile(
        campaign="quick",
        examples=2,
        false_alarms=2,
        slow=False,
        budget_s=300.0,
        only_mutants=("last-row-dropped",),
    )


def test_a_gate_signs_one_report_of_all_its_parts(tmp_path: Path, size: Profile) -> None:
    scenarios = tmp_path / "scenarios"
    scenarios.mkdir()
    (scenarios / "sound.yaml").write_text(SOUND)
    (scenarios / "killed.yaml").write_text(SOUND + "nemesis: {kill: {during: rollback}}\n")
    (scenarios / "later.yaml").write_text(SOUND + "slow: true\n")
    told: list[Happening] = []
    result = run_gate(tmp_path / "out", size=size, scenarios=scenarios, tell=told.append)
    assert result.failures == ()
    assert result.verdict is Verdict.VALID
    for part in ("2 scenarios", "1/1 mutants caught", "4/4 crash points", "report.html"):
        assert part in result.line
    assert "nobody vouches for it" in result.line
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["mutants"]["caught"] == 1
    assert document["false_alarms"]["fixtures"] == 2
    assert document["campaigns"][0]["examples"] == 2
    assert {run["name"] for run in document["runs"]} == {"sound", "killed"}
    assert document["left_out"] == [
        "slow scenarios, which the full profile plays: later",
        "all mutants but last-row-dropped",
    ]
    assert "killed:before" in {subject["name"] for subject in document["subjects"]}
    assert (tmp_path / "out" / "attestation.json").is_file()
    assert not (tmp_path / "out" / "scenarios" / "sound").exists()
    assert any("scenario sound: valid" in happening.text for happening in told)


def test_a_gate_with_a_failing_scenario_is_invalid_and_keeps_its_databases(
    tmp_path: Path, size: Profile
) -> None:
    scenarios = tmp_path / "scenarios"
    scenarios.mkdir()
    (scenarios / "unmet.yaml").write_text(SOUND + "expect: {verdict: invalid}\n")
    result = run_gate(tmp_path / "out", size=size, scenarios=scenarios)
    assert result.verdict is Verdict.INVALID
    (failure,) = result.failures
    assert f"make scenario FILE={scenarios / 'unmet.yaml'}" in failure
    assert (tmp_path / "out" / "scenarios" / "unmet" / "run" / "after").is_dir()


def test_a_gate_without_scenarios_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInputError, match="no scenarios to play"):
        run_gate(tmp_path / "out", scenarios=tmp_path / "none")


def test_two_scenarios_of_one_name_are_bad_input(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.yaml").write_text(SOUND)
    with pytest.raises(BadInputError, match="two scenarios are called 'same'"):
        run_gate(tmp_path / "out", scenarios=tmp_path)


def test_the_full_profile_does_more_of_everything() -> None:
    quick, full = PROFILES["quick"], PROFILES["full"]
    assert full.false_alarms >= 500 > quick.false_alarms
    assert full.slow
    assert full.budget_s > 1_000
    assert quick.budget_s + 2 * quick.least_s < 300
    assert not quick.slow
