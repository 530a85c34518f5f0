"""A rehearsal of the little candidate: sound, refused, and wrong in each way that it can be."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from small_candidate import CHECKERS, small, small_tree

from harness.candidate import Candidate
from harness.errors import BadInputError
from harness.mapping import Mapping
from harness.model import Severity, Verdict
from harness.progress import Happening
from harness.run import RunResult, audit, rehearse

SQL = Path(__file__).parent.parent / "candidates" / "notes-sql" / "candidate.yaml"


@pytest.fixture
def fixture(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "fixture")


def run(fixture: Path, *, fault: str = "", until: str = "cleanup") -> RunResult:
    candidate = small(fault=fault)
    out = fixture.parent / "out"
    return rehearse(fixture, candidate, out, checkers=CHECKERS, until=until, replay="again!")


def errors(result: RunResult) -> set[str]:
    return {f.rule for f in result.findings if f.severity is Severity.ERROR}


def test_a_sound_candidate_is_valid_in_every_check(fixture: Path) -> None:
    result = run(fixture)
    assert result.verdict is Verdict.VALID
    assert [check.checker for check in result.results] == [
        "candidate", "rows", "in-use", "integrity", "ledger", "rollback", "idempotence",
    ]  # fmt: skip
    assert all(sum(check.examined.values()) for check in result.results)
    assert result.applied_digest


def test_the_fixture_itself_is_left_alone(fixture: Path) -> None:
    before = {path: path.read_bytes() for path in fixture.rglob("*") if path.is_file()}
    run(fixture)
    assert {path: path.read_bytes() for path in fixture.rglob("*") if path.is_file()} == before


def test_the_databases_stay_in_the_out_folder(fixture: Path) -> None:
    out = run(fixture).out
    assert (out / "before" / "data" / "devflow.sqlite").is_file()
    assert (out / "after" / "devflow.sqlite").is_file()
    assert (out / "rolled-back" / "data" / "devflow.sqlite").is_file()


def test_the_same_run_twice_gives_the_same_digest(fixture: Path) -> None:
    assert run(fixture).applied_digest == run(fixture).applied_digest


def test_steps_are_timed_and_told_as_they_happen(fixture: Path) -> None:
    told: list[Happening] = []
    result = rehearse(fixture, small(), fixture.parent / "out", checkers=CHECKERS, tell=told.append)
    assert [step.name for step in result.steps if step.phase == "shadow"] == ["build", "check"]
    assert any(happening.text.startswith("rows: valid (") for happening in told)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("drop-row", "rows/row-missing"),
        ("bad-rollback", "rollback/schema-invented"),
        ("bad-rollback", "idempotence/schema-invented"),
        ("status", "candidate/status"),
        ("not-json", "candidate/not-json"),
        ("die-serving", "candidate/failed"),
        ("no-unified", "candidate/no-unified-database"),
    ],
)
def test_a_fault_of_the_candidate_is_an_invalid_run(fixture: Path, fault: str, rule: str) -> None:
    result = run(fixture, fault=fault)
    assert result.verdict is Verdict.INVALID
    assert rule in errors(result)


def test_every_finding_carries_the_line_that_shows_it_again(fixture: Path) -> None:
    assert {finding.replay for finding in run(fixture, fault="drop-row").findings} == {"again!"}


def test_an_apply_that_dies_once_is_asked_for_its_status_and_resumed(fixture: Path) -> None:
    result = run(fixture, fault="die-once")
    assert errors(result) == set()
    assert [f.rule for f in result.findings] == ["candidate/indefinite"]
    assert result.verdict is Verdict.VALID


def test_a_refusal_is_invalid_and_carries_the_candidates_words(fixture: Path) -> None:
    (fixture / "devflow.sqlite").unlink()
    result = run(fixture)
    assert result.verdict is Verdict.INVALID
    assert result.refused == "refused: there is no root database"
    assert errors(result) == {"candidate/refused"}


def test_a_refusal_that_changed_something_is_found_out(fixture: Path) -> None:
    result = run(fixture, fault="false-refusal")
    assert "candidate/refused" in errors(result)
    assert any(rule.startswith("candidate/changed/") for rule in errors(result))


def test_a_run_that_ends_before_the_cutover_judges_no_unified_database(fixture: Path) -> None:
    result = run(fixture, until="shadow")
    assert {check.checker for check in result.results} == {"candidate", "rollback", "idempotence"}
    assert result.verdict is Verdict.VALID


def test_an_unknown_checker_gets_a_suggestion(fixture: Path) -> None:
    with pytest.raises(BadInputError, match="did you mean 'rows'"):
        rehearse(fixture, small(), fixture.parent / "out", checkers=["row"])


def test_a_script_is_taken_back_first_and_then_judged(fixture: Path) -> None:
    vector = apsw.Connection(str(fixture / "data" / "vector.sqlite"))
    vector.execute("CREATE TABLE notes (id TEXT, text TEXT)")
    vector.close()
    result = rehearse(fixture, Candidate.load(SQL), fixture.parent / "out")
    assert result.verdict is Verdict.VALID
    assert {check.checker for check in result.results} == {
        "candidate", "schema", "rows", "in-use", "integrity", "ledger", "rollback",
    }  # fmt: skip


def test_an_audit_judges_from_the_databases_alone(fixture: Path) -> None:
    out = run(fixture).out
    mapping = Mapping.load(small().mapping)
    result = audit(fixture, out / "after" / "devflow.sqlite", mapping, out)
    judged = {check.checker: check.verdict for check in result.results}
    assert judged["rows"] is Verdict.VALID
    assert set(judged) == {"schema", "rows", "in-use", "integrity", "ledger"}


def test_an_audit_of_a_database_that_lost_a_row_is_invalid(fixture: Path) -> None:
    out = run(fixture, fault="drop-row").out
    mapping = Mapping.load(small().mapping)
    result = audit(fixture, out / "after" / "devflow.sqlite", mapping, out)
    assert result.verdict is Verdict.INVALID
