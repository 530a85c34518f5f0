from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import campaign
from harness.candidate import DEFAULT_MANIFEST
from harness.generators.observed import HAZARDS
from harness.model import Verdict
from harness.mutant import Edit, Mutant, plant
from harness.scenario import Scenario

ROOT = Path(__file__).resolve().parents[2]
EMPTY = "connection.execute(\"UPDATE task_contexts SET title = ''\")"
EMPTIES_TITLES = Mutant(
    name="empties-titles",
    breaks="Tasks lose their titles.",
    edits=(
        Edit(
            file="migration/shadow.py",
            find="searched = []",
            replace=f"{EMPTY}\n    searched = []",
        ),
        Edit(file="migration/validation.py", find="    if lost:\n", replace="    if lost < 0:\n"),
    ),
    defined_in=Path(__file__),
)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> campaign.CampaignResult:
    folder = tmp_path_factory.mktemp("broken")
    manifest = plant(EMPTIES_TITLES, DEFAULT_MANIFEST.parent, folder)
    return campaign.run(
        out=folder / "out", examples=40, seed=11, manifest=manifest, processes=1, shrink_tries=100
    )


def test_the_campaign_finds_a_candidate_that_is_broken(failed: campaign.CampaignResult) -> None:
    assert failed.verdict is Verdict.INVALID
    assert len(failed.failures) == 1
    assert failed.failures[0].replay == f"make scenario FILE={failed.failures[0].scenario}"


def test_a_failure_is_shrunk_to_a_few_rows(failed: campaign.CampaignResult) -> None:
    scenario = Scenario.load(failed.failures[0].scenario)
    statements = [s for sql in (scenario.fixture.inline or {}).values() for s in sql or ()]
    assert sum(statement.startswith("INSERT OR IGNORE") for statement in statements) <= 3


def test_a_failure_comes_again_from_its_file_alone(
    failed: campaign.CampaignResult, tmp_path: Path
) -> None:
    failure = failed.failures[0]
    command = ["-m", "harness", "scenario", str(failure.scenario), "--out", str(tmp_path / "out")]
    played = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert played.returncode == 1, played.stderr
    assert failure.rule in played.stdout + played.stderr


def test_the_candidate_passes_and_the_campaign_counts_what_it_tried(tmp_path: Path) -> None:
    result = campaign.run(out=tmp_path, examples=6, seed=3, processes=2)
    assert result.verdict is Verdict.VALID
    assert result.examples == 6
    assert len(result.seeds) == 2
    assert result.per_minute > 0
    assert set(result.hazards) <= set(HAZARDS)
    assert not list(tmp_path.iterdir())


def test_a_campaign_out_of_time_says_how_few_it_tried(tmp_path: Path) -> None:
    result = campaign.run(out=tmp_path, examples=50, seed=3, processes=1, limit_s=0.0)
    assert result.examples == 0
    assert result.verdict is Verdict.UNKNOWN


def test_built_fixtures_with_random_hazards_raise_no_alarm(tmp_path: Path) -> None:
    result = campaign.false_alarms(out=tmp_path, fixtures=3, seed=5, processes=1)
    assert result.fixtures == 3
    assert result.alarms == ()


def test_an_alarm_is_left_as_a_scenario_that_builds_the_same(tmp_path: Path) -> None:
    manifest = plant(EMPTIES_TITLES, DEFAULT_MANIFEST.parent, tmp_path / "broken")
    result = campaign.false_alarms(
        out=tmp_path / "out", fixtures=2, seed=9, manifest=manifest, processes=1
    )
    assert result.verdict is Verdict.INVALID
    scenario = Scenario.load(Path(result.alarms[0].removeprefix("make scenario FILE=")))
    assert scenario.fixture.profile is not None
    assert scenario.candidate == manifest
