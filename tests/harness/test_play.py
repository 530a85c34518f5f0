"""Scenarios played: fixtures of each sort, and what is expected against what comes."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from small_candidate import CHECKERS, MANIFEST, small, small_tree

from harness.candidate import Candidate
from harness.errors import BadInputError
from harness.model import Severity, Verdict
from harness.play import _trial, play, played_aside
from harness.scenario import Scenario
from harness.stage import prepare

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
NOTES = "CREATE TABLE notes (id TEXT, text TEXT)"
INLINE = f"""
fixture:
  inline:
    root: [{NOTES!r}, "INSERT INTO notes VALUES ('a', 'x')"]
    legacy: [{NOTES!r}, "INSERT INTO notes VALUES (NULL, X'00')"]
candidate: {MANIFEST}
"""
CHECKS = f"checkers: [{', '.join(CHECKERS)}]\n"


def scenario(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "story.yaml"
    path.write_text("description: x\n" + text, encoding="utf-8")
    return Scenario.load(path)


def test_the_full_profile_asks_services_as_much_as_the_scenario_says_is_thorough() -> None:
    path = SCENARIOS / "services" / "empty-databases.yaml"
    story = Scenario.load(path)
    quick = _trial(story, thorough=False)
    full = _trial(story, thorough=True)
    assert quick == story.trial
    assert full.requests == story.trial.thorough
    assert full.requests_max >= full.requests
    assert full.writes == 1_000


def test_the_full_profile_asks_the_services_twenty_thousand_things_and_more() -> None:
    names = [service.name for service in Candidate.load().services]
    asked = 0
    for path in (SCENARIOS / "services").glob("*.yaml"):
        trial = Scenario.load(path).trial
        asked += trial.thorough * len(trial.only or names) * ("api" in trial.checks)
    assert asked > 20_000


def test_an_inline_fixture_reproduces_from_its_file_alone(tmp_path: Path) -> None:
    result = play(scenario(tmp_path, INLINE + CHECKS), tmp_path / "out")
    assert result.verdict is Verdict.VALID
    rows = next(check for check in result.results if check.checker == "rows")
    assert rows.examined["root rows"] == rows.examined["legacy rows"] == 1


def test_an_inline_fixture_may_hold_no_bytes_a_log_and_configuration(tmp_path: Path) -> None:
    text = "fixture: {inline: {root: [], legacy: null}, log: {base64: /wo=}, config: as-planned}\n"
    out = prepare(scenario(tmp_path, text), tmp_path / "out")
    assert (out / "devflow.sqlite").read_bytes()[:15] == b"SQLite format 3"
    assert (out / "data" / "devflow.sqlite").stat().st_size == 0
    assert not (out / "data" / "vector.sqlite").exists()
    assert (out / "logs" / "model-registry.log").read_bytes() == b"\xff\n"
    assert (out / ".env.prod.example").is_file()


def test_a_statement_that_sqlite_refuses_is_one_sentence(tmp_path: Path) -> None:
    story = scenario(tmp_path, "fixture: {inline: {root: ['SELECT 1', 'SELECT x']}}\n")
    with pytest.raises(BadInputError, match=r"statement 2 of `fixture.inline.root` fails"):
        prepare(story, tmp_path / "out")


def test_a_copied_fixture_is_copied_and_never_written(tmp_path: Path) -> None:
    source = small_tree(tmp_path / "tree")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    text = f"fixture: {{copied: {source}}}\ncandidate: {MANIFEST}\n" + CHECKS
    assert play(scenario(tmp_path, text), tmp_path / "out").verdict is Verdict.VALID
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_a_scenario_with_a_nemesis_has_the_check_of_convergence(tmp_path: Path) -> None:
    text = INLINE + CHECKS + "rollback_from: [shadow]\nnemesis: {kill: {during: rollback}}\n"
    result = play(scenario(tmp_path, text.replace("in-use, ", "")), tmp_path / "out")
    convergence = result.results[-1]
    assert convergence.checker == "convergence"
    assert convergence.examined["rollbacks from phases"] == 1
    assert convergence.examined["crash points"] == 4


def test_what_was_expected_is_valid_and_told_as_a_note(tmp_path: Path) -> None:
    text = INLINE + CHECKS + "expect: {verdict: invalid, rules: [rows/row-missing]}\n"
    result = play(scenario(tmp_path, text), tmp_path / "out", candidate=small(fault="drop-row"))
    assert result.verdict is Verdict.VALID
    assert result.expectation == "is invalid with findings of rows/row-missing"
    assert {finding.severity for finding in result.findings} == {Severity.NOTE}
    assert all(finding.cause.startswith("as expected, ") for finding in result.findings)


@pytest.mark.parametrize(
    "expect",
    [
        "{verdict: invalid}",
        "{verdict: invalid, rules: [rows/value-changed]}",
        "{verdict: refused}",
        "{verdict: unknown}",
    ],
)
def test_what_was_expected_and_does_not_come_is_invalid(tmp_path: Path, expect: str) -> None:
    result = play(scenario(tmp_path, INLINE + CHECKS + f"expect: {expect}\n"), tmp_path / "out")
    assert result.verdict is Verdict.INVALID
    assert result.met is False


def test_a_clean_refusal_can_be_expected(tmp_path: Path) -> None:
    text = f"fixture: {{inline: {{}}}}\ncandidate: {MANIFEST}\nexpect: {{verdict: refused}}\n"
    result = play(scenario(tmp_path, text), tmp_path / "out")
    assert result.verdict is Verdict.VALID
    assert result.expectation == "is refused: refused: there is no root database"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("until: shadow\nrollback_from: [backup]\n", "`until` says where the whole run ends"),
        ("nemesis: {kill: {during: apply, at: [moon]}}\n", "names 'moon'"),
        ("checkers: [rowz]\n", "did you mean 'rows'"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        play(scenario(tmp_path, INLINE + text), tmp_path / "out")
    assert said in str(caught.value)


def test_a_script_has_no_phases_to_interrupt(tmp_path: Path) -> None:
    sql = Path(__file__).parent.parent / "candidates" / "notes-sql" / "candidate.yaml"
    text = INLINE.replace(str(MANIFEST), str(sql)) + "rollback_from: [backup]\n"
    with pytest.raises(BadInputError, match="of kind sql has no phases"):
        play(scenario(tmp_path, text), tmp_path / "out")


def test_played_aside_only_a_failure_keeps_its_databases(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with played_aside(scenario(tmp_path, INLINE + CHECKS), out) as result:
        assert (result.out / "run" / "after" / "devflow.sqlite").is_file()
    assert not out.exists()
    text = INLINE + CHECKS + "expect: {verdict: invalid}\n"
    with played_aside(scenario(tmp_path, text), out) as result:
        assert result.verdict is Verdict.INVALID
    assert (out / "run" / "after" / "devflow.sqlite").is_file()


def test_the_wal_comes_along_with_a_copied_fixture(tmp_path: Path) -> None:
    source = small_tree(tmp_path / "tree")
    writer = apsw.Connection(str(source / "data" / "devflow.sqlite"))
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO notes VALUES ('only', 'in the WAL')")
    text = f"fixture: {{copied: {source}}}\ncandidate: {MANIFEST}\n" + CHECKS
    result = play(scenario(tmp_path, text), tmp_path / "out")
    writer.close()
    assert result.verdict is Verdict.VALID
    rows = next(check for check in result.results if check.checker == "rows")
    assert rows.examined["legacy rows"] == 4
