"""The driver of candidates, on a real one that does on demand what the contract forbids."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_candidate import MANIFEST, small, small_tree

from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.errors import BadInputError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "tree")


def rules(outcome) -> list[str]:
    return [finding.rule for finding in outcome.violations]


def test_the_default_manifest_is_devflows() -> None:
    candidate = Candidate.load()
    assert candidate.manifest == DEFAULT_MANIFEST
    assert candidate.command[0] == sys.executable


def test_a_command_that_succeeds_is_definite_and_names_its_state(tree: Path) -> None:
    outcome = small().apply(tree, until="shadow")
    assert outcome.ok
    assert (outcome.exit_code, outcome.state) == (0, "shadow")
    assert outcome.violations == ()
    assert len(outcome.moments_s) == len(outcome.events)


def test_plan_lists_the_steps_in_order(tree: Path) -> None:
    steps = small().plan(tree).steps
    assert steps[0] == ("backup", "copy")
    assert steps[-1] == ("cleanup", "drop-data")


def test_a_refusal_is_definite_and_carries_its_text(tmp_path: Path) -> None:
    outcome = small().apply(tmp_path)
    assert not outcome.ok
    assert outcome.definite
    assert outcome.exit_code == 1
    assert outcome.error == "refused: there is no root database"


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("not-json", "candidate/not-json"),
        ("silent", "candidate/no-last-line"),
        ("exit-code", "candidate/exit-code"),
        ("talkative", "candidate/line-after-end"),
        ("odd-state", "candidate/state"),
        ("odd-error", "candidate/error-line"),
        ("soft-error", "candidate/exit-code"),
    ],
)
def test_what_breaks_the_contract_is_a_finding(tree: Path, fault: str, rule: str) -> None:
    assert rule in rules(small(fault=fault).apply(tree))


def test_a_line_that_is_not_json_is_shown(tree: Path) -> None:
    (finding,) = small(fault="not-json").status(tree).violations
    assert finding.actual == "hello"


def test_an_exit_code_that_contradicts_the_last_line_is_indefinite(tree: Path) -> None:
    assert not small(fault="exit-code").apply(tree).definite


def test_the_end_of_stderr_is_the_cause_where_there_is_no_last_line(tree: Path) -> None:
    outcome = small(fault="silent").apply(tree)
    assert outcome.error is not None
    assert "I know nothing" in outcome.error


def test_a_signal_is_indefinite_and_no_breach(tree: Path) -> None:
    outcome = small(fault="die").apply(tree)
    assert not outcome.definite
    assert outcome.exit_code is not None
    assert outcome.exit_code < 0
    assert outcome.error is not None
    assert "signal" in outcome.error
    assert outcome.violations == ()


def test_a_candidate_that_hangs_is_ended_with_its_children(tree: Path) -> None:
    began = time.monotonic()
    outcome = small(fault="slow", timeout_s=1.0).apply(tree)
    assert time.monotonic() - began < 10
    assert not outcome.definite
    assert outcome.exit_code is None
    assert rules(outcome) == ["candidate/deadline"]


def test_a_process_that_stays_after_its_last_line_is_ended(tree: Path) -> None:
    outcome = small(fault="stays", timeout_s=1.0).status(tree)
    assert rules(outcome) == ["candidate/deadline"]


def test_a_session_answers_many_commands_in_one_process(tree: Path) -> None:
    with small().session() as driver:
        assert driver.status(tree).state == "none"
        assert driver.apply(tree).state == "cleanup"
        assert driver.plan(tree).steps
        assert driver.rollback(tree).state == "none"


def test_a_session_that_dies_is_indefinite_and_starts_again(tree: Path) -> None:
    with small(fault="die-serving").session() as driver:
        assert not driver.apply(tree).definite
        assert driver.status(tree).ok


def test_a_session_does_not_take_a_late_line_for_an_answer(tree: Path) -> None:
    with small(fault="talkative").session() as driver:
        driver.status(tree)
        time.sleep(0.3)
        outcome = driver.status(tree)
    assert rules(outcome) == ["candidate/line-after-end"]
    assert outcome.state == "none"


def test_a_session_that_hangs_is_ended(tree: Path) -> None:
    with small(fault="slow", timeout_s=1.0).session() as driver:
        assert rules(driver.apply(tree)) == ["candidate/deadline"]


def test_a_candidate_that_does_not_serve_is_run_once_a_command(tree: Path) -> None:
    with replace(small(), serves=False).session() as driver:
        assert driver.apply(tree).exit_code == 0


def test_lockstep_holds_the_candidate_at_each_step(tree: Path) -> None:
    with small().lockstep("apply", tree) as walk:
        event = walk.next_pause()
        assert event is not None
        assert (event["event"], event["step"]) == ("step_started", "copy")
        time.sleep(0.2)
        assert not (tree / "backups").exists()
        assert not walk.kill().definite
    assert not (tree / "backups").exists()


def test_lockstep_can_run_to_the_end(tree: Path) -> None:
    with small().lockstep("apply", tree, until="backup") as walk:
        assert walk.finish().state == "backup"


def test_time_and_zone_are_the_same_for_every_candidate(tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, os, time\n"
        "print(json.dumps({'event': 'planned', 'phase': os.environ['SOURCE_DATE_EPOCH'],"
        " 'step': time.strftime('%H:%M', time.localtime(0))}))\n"
        "print(json.dumps({'event': 'done', 'state': 'none'}))\n"
    )
    (tmp_path / "mapping.yaml").write_text("contract: 1\n")
    manifest = tmp_path / "candidate.yaml"
    manifest.write_text("contract: 1\ncommand: [python, tell.py]\nmapping: mapping.yaml\n")
    outcome = Candidate.load(manifest).plan(tmp_path)
    assert outcome.steps == (("1758153600", "05:45"),)


def test_the_manifests_own_package_wins_over_an_installed_one(tmp_path: Path) -> None:
    package = tmp_path / "devflow"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "migration.py").write_text(
        'print(\'{"event": "done", "state": "backup"}\')\n', encoding="utf-8"
    )
    (package / "mapping.yaml").write_text("contract: 1\n")
    manifest = package / "candidate.yaml"
    manifest.write_text(
        "contract: 1\ncommand: [python, -m, devflow.migration]\n"
        "pythonpath: [..]\nmapping: mapping.yaml\n"
    )
    assert Candidate.load(manifest).status(tmp_path).state == "backup"


def test_the_digest_follows_every_file_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text("contract: 1\n")
    manifest = tmp_path / "candidate.yaml"
    manifest.write_text("contract: 1\ncommand: [python]\nmapping: mapping.yaml\n")
    candidate = Candidate.load(manifest)
    first = candidate.digest
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"derived")
    assert candidate.digest == first
    (tmp_path / "helper.py").write_text("pass\n")
    assert candidate.digest != first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("contract: 1\ncomand: [x]\n", "unknown key 'comand'; did you mean 'command'?"),
        ("contract: 2\nmapping: mapping.yaml\n", "`contract` must be 1"),
        ("contract: 1\n", "`mapping` is missing"),
        ("contract: 1\nmapping: nowhere.yaml\n", "which is not there"),
        ("contract: 1\nmapping: mapping.yaml\n", "`command` must be a list of words"),
        ("contract: 1\nkind: shell\nmapping: mapping.yaml\n", "it must be 'command' or 'sql'"),
        ("contract: 1\nkind: sql\nmapping: mapping.yaml\n", "`script` is missing"),
        ("contract: 1\nmapping: mapping.yaml\ncommand: [1]\n", "`command` must be a list of texts"),
        ("contract: 1\nmapping: mapping.yaml\ncommand: [x]\nname: 3\n", "`name` must be a text"),
        (
            "contract: 1\nmapping: mapping.yaml\ncommand: [x]\nbackups: {befor: x}\n",
            "did you mean 'before'?",
        ),
        (
            "contract: 1\nmapping: mapping.yaml\ncommand: [x]\nenvironment: [x]\n",
            "`environment` must be a mapping",
        ),
        ("- a list\n", "must hold a mapping of keys"),
        ("a: [\n", "is not YAML"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "mapping.yaml").write_text("contract: 1\n")
    manifest = tmp_path / "candidate.yaml"
    manifest.write_text(text)
    with pytest.raises(BadInputError) as caught:
        Candidate.load(manifest)
    assert said in str(caught.value)
    assert str(manifest) in str(caught.value)


def test_a_manifest_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        Candidate.load(tmp_path / "candidate.yaml")


def test_a_program_that_is_not_there_is_the_manifests_fault(tree: Path) -> None:
    candidate = replace(small(), command=("no-such-program-here",))
    with pytest.raises(BadInputError, match="correct `command`"):
        candidate.apply(tree)


def test_the_harness_leaves_its_own_environment_alone(tree: Path) -> None:
    before = dict(os.environ)
    small().status(tree)
    assert dict(os.environ) == before
    assert MANIFEST.is_file()
