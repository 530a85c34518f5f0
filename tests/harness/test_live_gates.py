"""A live scenario behind another gate of the candidate's: played where it can be, and told where
it cannot; the manifest that declares it."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.candidate import Candidate
from harness.candidate_services import Live
from harness.errors import BadInputError
from harness.judge import checks_of_live
from harness.model import Severity, Verdict
from harness.play import play
from harness.run import RunResult
from harness.scenario import LiveLoad, Scenario, find_scenario

SERVICES = ("database-manager", "model-registry", "vector-memory")
MANIFEST = """
contract: 1
kind: command
command: [x]
mapping: mapping.yaml
live:
  gate: [x, "{service}", "{port}", "{control}", "{legacy}", "{unified}", "{tree}"]
  environment: {BESIDE: "1"}
"""


def behind_haproxy(name: str, out: Path) -> tuple[Scenario, RunResult]:
    """Play a scenario of those that come with the harness, in short."""
    scenario = find_scenario(name)
    assert scenario.live is not None
    assert scenario.live.gate == "haproxy"
    short = replace(scenario, live=replace(scenario.live, seconds=0.3))
    return short, play(short, out)


def is_examined(result: RunResult) -> bool:
    """Return whether it was played; where not, with a warning and all that is said of it."""
    if Candidate.load().behind("haproxy").lack is None:
        return True
    warnings.warn(f"no live scenario is played: {result.lack}", stacklevel=2)
    assert result.verdict is Verdict.UNKNOWN
    assert result.lack == "the program haproxy is not installed"
    return False


def test_services_move_and_come_back_behind_haproxy_and_no_request_fails(tmp_path: Path) -> None:
    _, result = behind_haproxy("haproxy", tmp_path)
    if not is_examined(result):
        return
    assert [one for one in result.findings if one.severity is Severity.ERROR] == []
    assert result.verdict is Verdict.VALID
    felt = next(check for check in result.results if check.checker == "downtime")
    assert felt.details["failed"] == felt.details["failed and excused"] == 0
    assert felt.examined["times that requests were held"] == 2 * len(SERVICES)
    assert all(felt.examined[f"{name} requests"] > 50 for name in SERVICES)


def test_a_haproxy_that_is_killed_with_who_steers_it_amid_each_move_loses_nothing(
    tmp_path: Path,
) -> None:
    scenario, result = behind_haproxy("haproxy-killed", tmp_path)
    if not is_examined(result):
        return
    assert [one for one in result.findings if one.severity is Severity.ERROR] == []
    assert result.verdict is Verdict.VALID
    assert scenario.live is not None
    assert {check.checker for check in result.results} == checks_of_live(scenario.live)
    survived = next(check for check in result.results if check.checker == "convergence")
    assert survived.examined["kills of gate"] == 4 * len(SERVICES)


def test_where_the_gate_cannot_stand_nothing_is_examined_and_the_reason_is_told(
    tmp_path: Path,
) -> None:
    live = Candidate.load().live
    assert live is not None
    missing = replace(live, others={"other": replace(live, needs=("no-such-program",))})
    scenario = find_scenario("there-and-back")
    assert scenario.live is not None
    scenario = replace(scenario, live=replace(scenario.live, gate="other"))
    result = play(scenario, tmp_path, candidate=replace(Candidate.load(), live=missing))
    assert result.verdict is Verdict.UNKNOWN
    assert result.lack == "the program no-such-program is not installed"
    assert {check.checker for check in result.results} == checks_of_live(LiveLoad())
    assert all(check.not_examined == result.lack for check in result.results)
    assert {f.rule for f in result.findings} >= {"downtime/not-examined", "rows/not-examined"}


def test_a_gate_that_nobody_declared_is_named_with_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "description: x\nfixture: {profile: empty}\nlive: {gate: haprxy}\n"
    )
    with pytest.raises(BadInputError, match=r"has no gate 'haprxy'.*did you mean 'haproxy'"):
        play(Scenario.load(tmp_path / "other.yaml"), tmp_path / "out")


# The manifest ------------------------------------------------------------------------------------


def declared(folder: Path, others: str) -> Live:
    shutil.copy(Candidate.load().mapping, folder / "mapping.yaml")
    (folder / "candidate.yaml").write_text(f"{MANIFEST}  others: {others}\n")
    live = Candidate.load(folder / "candidate.yaml").live
    assert live is not None
    return live


def test_another_gate_is_the_own_one_with_words_added(tmp_path: Path) -> None:
    live = declared(tmp_path, "{b: {add: [--by, b], needs: [sh]}, c: {needs: [sh, no-such]}}")
    assert live.lack is None
    assert live.others["b"].gate == (*live.gate, "--by", "b")
    assert live.others["b"].environment == live.environment
    assert live.others["b"].lack is None
    assert live.others["c"].lack == "the program no-such is not installed"


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ("[b]", "`live.others` must be a mapping of names to gates"),
        ("{b: [x]}", "`live.others.b` must be a mapping with the key `add`"),
        ("{b: {ad: [x]}}", "did you mean 'add'"),
        ("{b: {add: x}}", "`live.others.b.add` must be a list of words"),
        ("{b: {needs: [1]}}", "`live.others.b.needs` must be a list of words"),
    ],
)
def test_a_wrong_gate_is_one_sentence(tmp_path: Path, others: str, says: str) -> None:
    with pytest.raises(BadInputError) as raised:
        declared(tmp_path, others)
    assert says in str(raised.value)


def test_the_manifest_and_the_scenarios_name_the_same_gates() -> None:
    live = Candidate.load().live
    assert live is not None
    played = {
        scenario.live.gate
        for path in Path(__file__).resolve().parents[2].glob("scenarios/live/*.yaml")
        if (scenario := Scenario.load(path)).live is not None
    }
    assert played - {None} == set(live.others)
    manifest = yaml.safe_load(Candidate.load().manifest.read_text())["live"]
    assert manifest["others"]["haproxy"]["needs"] == ["haproxy"]
