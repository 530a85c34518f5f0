"""The gatekeeper believes no verifier that does not say valid in every way; the record of uses."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
from devflow_tree import LegacyTree

from devflow.approval import Approved, Gatekeeper
from devflow.approval.record import begun_by, record_use
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree
from harness.approval.used import read_uses

APPROVAL: dict[str, Any] = {
    "report": "ab" * 32,
    "report_nonce": "cd" * 16,
    "policy": "ef" * 32,
    "policy_version": 1,
    "keys_version": 2,
    "approvals": ["01" * 32],
}


def keeper(tree: LegacyTree, *verifier: str) -> Gatekeeper:
    somewhere = tree.directory.parent
    given = Approved(
        report=somewhere / "r", policy=somewhere / "p", keys=somewhere / "k", gate=somewhere / "g"
    )
    return Gatekeeper(Tree.at(tree.directory), given, verifier=verifier)


def saying(tree: LegacyTree, text: str, code: int = 0) -> Gatekeeper:
    """Return a gatekeeper whose verifier prints the text and exits with the code."""
    return keeper(tree, sys.executable, "-c", f"import sys; print({text!r}); sys.exit({code})")


def answer(**changes: Any) -> str:
    whole = {"verdict": "valid", "findings": [], "examined": {}, "approval": APPROVAL}
    return json.dumps({**whole, **changes})


def finding(severity: str, cause: str) -> dict[str, str]:
    return {"severity": severity, "cause": cause}


def test_a_verifier_that_says_valid_in_every_way_is_believed(tree: LegacyTree) -> None:
    assert saying(tree, answer()).check("run") == APPROVAL


ANSWERS: dict[str, tuple[str, int, str]] = {
    "another exit code": (answer(), 2, "the verifier says valid and no reason"),
    "another verdict": (answer(verdict="unknown"), 0, "the verifier says unknown and no reason"),
    "no approval": (answer(approval=None), 0, "the verifier says valid and no reason"),
    "half an approval": (answer(approval={"report": "x"}), 0, "the verifier says valid and no"),
    "nobody's approval": (answer(approval={**APPROVAL, "approvals": []}), 0, "and no reason"),
    "true for a number": (answer(approval={**APPROVAL, "keys_version": True}), 0, "no reason"),
    "errors": (
        answer(verdict="invalid", findings=[finding("error", "One."), finding("error", "Two.")]),
        1,
        "the cutover is not approved:\n  - One.\n  - Two.",
    ),
    "warnings": (
        answer(verdict="unknown", findings=[finding("warning", "Three.")]),
        2,
        "the cutover is not approved:\n  - Three.",
    ),
    "a sentence": ('{"verdict": null, "error": "no such file"}', 254, "judged: no such file"),
    "no JSON": ("valid", 0, "the verifier gave no answer (exit code 0; it said: nothing)"),
    "no object": ("[]", 0, "the verifier gave no answer"),
    "other findings": (answer(findings=[1]), 0, "the verifier gave no answer"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_any_other_answer_is_a_refusal(tree: LegacyTree, what: str) -> None:
    text, code, said = ANSWERS[what]
    with pytest.raises(MigrationError) as refused:
        saying(tree, text, code).check("run")
    assert said in refused.value.text
    assert refused.value.definite


def test_a_verifier_that_cannot_be_run_is_a_refusal(tree: LegacyTree, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="the verifier cannot be run"):
        keeper(tree, str(tmp_path / "none")).check(None)


def test_a_verifier_that_does_not_end_is_a_refusal(
    tree: LegacyTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devflow.approval.gatekeeper._DEADLINE_S", 0.2)
    with pytest.raises(MigrationError, match="did not answer within"):
        keeper(tree, sys.executable, "-c", "import time; time.sleep(60)").check(None)


def test_the_verifier_is_asked_about_the_tree_and_then_about_its_backup(tree: LegacyTree) -> None:
    program = "import json, sys; print(json.dumps({'verdict': 'x', 'error': ' '.join(sys.argv)}))"
    gate = keeper(tree, sys.executable, "-c", program)
    with pytest.raises(MigrationError) as first:
        gate.check("run-1")
    assert f"--before {tree.directory.resolve()} --run run-1 --gate" in first.value.text
    record = tree.directory / "backups" / "uses.jsonl"
    record_use(record, APPROVAL, run="run-1", tree=tree.directory)
    with pytest.raises(MigrationError) as second:
        gate.check("run-1")
    assert "--backup" in second.value.text
    assert "pre-unification --run run-1" in second.value.text


# --- the record


def test_the_gate_reads_what_is_recorded_here(tmp_path: Path) -> None:
    path = tmp_path / "new" / "uses.jsonl"
    record_use(path, APPROVAL, run="run-1", tree=tmp_path)
    other = {**APPROVAL, "report": "00" * 32, "report_nonce": "11" * 16}
    record_use(path, other, run="run-2", tree=tmp_path)
    record_use(path, other, run="run-2", tree=tmp_path)  # going on is no second use
    first, second = read_uses(path)
    assert (first.run, first.report, first.policy_version) == ("run-1", APPROVAL["report"], 1)
    assert (second.run, second.keys_version) == ("run-2", 2)
    assert begun_by(path, "run-2")
    assert not begun_by(path, "run-3")
    assert not begun_by(tmp_path / "none", "run-1")


@pytest.mark.parametrize("change", [{"report_nonce": "11" * 16}, {"report": "00" * 32}])
def test_a_report_that_another_run_took_meanwhile_is_refused(
    tmp_path: Path, change: dict[str, str]
) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, APPROVAL, run="run-1", tree=tmp_path)
    before = path.read_bytes()
    with pytest.raises(MigrationError, match=r"the report was used before, at .* for "):
        record_use(path, {**APPROVAL, **change}, run="run-2", tree=tmp_path)
    assert path.read_bytes() == before


def _compete(path: Path, run: str, won: Any) -> None:
    try:
        record_use(path, APPROVAL, run=run, tree=path.parent)
        won.put(run)
    except MigrationError:
        won.put(None)


def test_of_many_that_begin_at_once_one_gets_the_report(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    won = context.Queue()
    path = tmp_path / "uses.jsonl"
    runs = [
        context.Process(target=_compete, args=(path, f"run-{number}", won)) for number in range(4)
    ]
    for run in runs:
        run.start()
    winners = [one for one in (won.get(timeout=60) for _ in runs) if one]
    for run in runs:
        run.join(60)
    assert [use.run for use in read_uses(path)] == winners
    assert len(winners) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.splitlines(keepends=True)[1],
        lambda content: content[:-1],
        lambda content: content[:-40],
        lambda content: content.replace(b"run-1", b"run-9"),
        lambda _content: b"[]\n",
    ],
)
def test_a_record_that_was_meddled_with_lets_nothing_through(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "uses.jsonl"
    other = {**APPROVAL, "report": "00" * 32, "report_nonce": "11" * 16}
    record_use(path, APPROVAL, run="run-1", tree=tmp_path)
    record_use(path, other, run="run-2", tree=tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(MigrationError, match="the record of uses was changed or cut off here"):
        record_use(path, {**other, "report": "22" * 32}, run="run-3", tree=tmp_path)
    with pytest.raises(MigrationError, match="put it back from a copy"):
        begun_by(path, "run-1")


def test_a_record_that_cannot_be_written_stops_the_cutover(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        record_use(tmp_path, APPROVAL, run="run-1", tree=tmp_path)
