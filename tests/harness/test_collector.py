"""The pytest plugin, run by pytest itself in folders of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_candidate import MANIFEST

from harness.collector import _worst
from harness.model import CheckResult, Finding
from harness.run import RunResult

pytest_plugins = ["pytester"]

NOTES = "CREATE TABLE notes (id TEXT, text TEXT)"
SCENARIO = f"""
description: x
fixture:
  inline:
    root: [{NOTES!r}, "INSERT INTO notes VALUES ('a', 'x')"]
    legacy: [{NOTES!r}, "INSERT INTO notes VALUES ('b', 'y')"]
candidate: {MANIFEST}
checkers: [rows, rollback]
"""


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The runs inside are none of a worker's, even where the tests themselves are shared out.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    made = pytester.path / "scenarios"
    made.mkdir()
    return made


def outcomes(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-v", *args)


def test_a_scenario_yields_one_item_for_each_check(pytester: pytest.Pytester, folder: Path) -> None:
    (folder / "sound.yaml").write_text(SCENARIO)
    result = outcomes(pytester, "scenarios")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*sound.yaml::candidate PASSED*", "*::rows PASSED*"])


def test_a_scenario_is_played_once(pytester: pytest.Pytester, folder: Path) -> None:
    (folder / "sound.yaml").write_text(SCENARIO)
    result = outcomes(pytester, "scenarios", "--durations=0", "--durations-min=0.05")
    assert result.stdout.str().count("call ") == 1


def test_other_yaml_is_left_alone_unless_it_is_named(
    pytester: pytest.Pytester, folder: Path
) -> None:
    other = pytester.path / "other.yaml"
    other.write_text(SCENARIO)
    outcomes(pytester, ".").assert_outcomes()
    outcomes(pytester, "other.yaml").assert_outcomes(passed=3)


def test_a_failure_shows_findings_and_the_replay_line_and_no_internals(
    pytester: pytest.Pytester, folder: Path
) -> None:
    (folder / "wrong.yaml").write_text(SCENARIO.replace("'a', 'x'", "'a', 1") + _EXPECT_INVALID)
    result = outcomes(pytester, "scenarios")
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "expected that it is invalid; it is valid" in text
    assert f"again:     make scenario FILE={folder / 'wrong.yaml'}" in text
    assert "Traceback" not in text
    assert "collector.py" not in text


_EXPECT_INVALID = "expect: {verdict: invalid}\n"


def test_a_check_that_fails_shows_place_expected_actual_and_cause(
    pytester: pytest.Pytester, folder: Path
) -> None:
    broken = pytester.path / "broken"
    broken.mkdir()
    for file in MANIFEST.parent.iterdir():
        if file.is_file():
            text = file.read_text().replace('FAULT == "drop-row"', "True")
            (broken / file.name).write_text(text)
    text = SCENARIO.replace(str(MANIFEST), str(broken / "candidate.yaml"))
    (folder / "lossy.yaml").write_text(text)
    result = outcomes(pytester, "scenarios")
    result.assert_outcomes(passed=2, failed=1)
    shown = result.stdout.str()
    assert "rows/row-missing: " in shown
    assert "at        legacy.notes" in shown
    assert "expected  " in shown
    kept = pytester.path / "reports" / "scenarios" / "lossy"
    assert f"databases: {kept}" in shown
    assert (kept / "run" / "after" / "devflow.sqlite").is_file()


def test_a_mistake_in_a_file_is_an_error_of_one_sentence(
    pytester: pytest.Pytester, folder: Path
) -> None:
    (folder / "typo.yaml").write_text("description: x\nfixtur: {}\n")
    result = outcomes(pytester, "scenarios")
    result.assert_outcomes(errors=1)
    assert "typo.yaml:2: unknown key 'fixtur'; did you mean 'fixture'?" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_bad_input_while_playing_is_one_sentence_for_every_check(
    pytester: pytest.Pytester, folder: Path
) -> None:
    (folder / "bad.yaml").write_text(SCENARIO.replace("CREATE TABLE", "CREATE TABEL"))
    result = outcomes(pytester, "scenarios")
    result.assert_outcomes(failed=3)
    assert "statement 1 of `fixture.inline.root` fails" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_a_slow_scenario_waits_for_the_full_profile_or_its_name(
    pytester: pytest.Pytester, folder: Path
) -> None:
    (folder / "slow.yaml").write_text(SCENARIO + "slow: true\n")
    outcomes(pytester, "scenarios").assert_outcomes()
    outcomes(pytester, "scenarios", "--scenario-profile=full").assert_outcomes(passed=3)
    outcomes(pytester, "scenarios/slow.yaml").assert_outcomes(passed=3)


def test_two_workers_play_each_scenario_once(pytester: pytest.Pytester, folder: Path) -> None:
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(SCENARIO)
    result = outcomes(pytester, "scenarios", "-n", "2", "--dist", "loadfile")
    result.assert_outcomes(passed=6)
    lines = result.stdout.str().splitlines()
    for name in ("one", "two"):
        workers = {
            line.split("]")[0] for line in lines if f"{name}.yaml::" in line and "PASSED" in line
        }
        assert len(workers) == 1


@pytest.mark.parametrize("lost_first", [True, False])
def test_the_worst_of_a_checks_results_decides_whenever_it_came(lost_first: bool) -> None:
    """A live scenario asks the same several times; that it was well at first says nothing."""
    said = {"verifies": "x", "does_not_verify": "y"}
    found = Finding(rule="rollback/row-lost", cause="a row is lost")
    made = [
        CheckResult.judged("rollback", (), {"rows": 3}, **said),
        CheckResult.judged("rollback", [found], {"rows": 3}, **said),
        CheckResult.judged("rows", (), {"rows": 3}, **said),
    ]
    run = RunResult(name="x", out=Path(), results=tuple(made[::-1] if lost_first else made))
    worst = _worst(run, "rollback")
    assert worst is not None
    assert worst.findings == (found,)
    assert _worst(run, "history") is None
