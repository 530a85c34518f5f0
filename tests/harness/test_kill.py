"""Crash points: which there are, that the candidate dies exactly there, and what must follow."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_candidate import CHECKERS, small, small_tree

from harness.candidate import Candidate
from harness.converge import Convergence
from harness.errors import BadInputError
from harness.model import Verdict
from harness.nemeses.kill import CrashPoint, crash_points, kill_at, walk
from harness.run import rehearse
from harness.scenario import Kill
from harness.snapshot import Snapshot

STEPS = [("backup", "copy", 0.1), ("shadow", "build", 0.2), ("shadow", "check", 0.1)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return small_tree(tmp_path / "tree")


def converge(tree: Path, candidate: Candidate, kill: Kill | None = None, *phases: str):
    out = tree.parent / "out"
    rehearse(tree, small(), out / "run", checkers=CHECKERS)
    with candidate.session() as driver:
        convergence = Convergence(
            candidate=candidate,
            driver=driver,
            fixture=tree,
            out=out,
            before=Snapshot.of(out / "run" / "before"),
            applied=Snapshot.of(out / "run" / "after"),
            with_checkers=("rows", "integrity"),
        )
        convergence.roll_back_from(phases)
        if kill is not None:
            convergence.kill(kill)
    return convergence.result()


def test_all_means_before_and_after_every_step() -> None:
    points = crash_points(Kill(during="apply"), STEPS)
    assert [(p.step, p.when) for p in points] == [
        ("copy", "before"), ("copy", "after"), ("build", "before"), ("build", "after"),
        ("check", "before"), ("check", "after"),
    ]  # fmt: skip


def test_a_phase_means_its_steps_and_a_step_itself_only() -> None:
    kill = Kill(during="apply", at=("backup", "shadow/check"), when=("mid",))
    assert [str(point) for point in crash_points(kill, STEPS)] == [
        "apply killed in the midst of backup/copy",
        "apply killed in the midst of shadow/check",
    ]


def test_a_point_that_there_is_not_is_one_sentence() -> None:
    with pytest.raises(BadInputError, match="did you mean 'shadow'"):
        crash_points(Kill(during="apply", at=("shadows",)), STEPS)


def test_a_walk_notes_every_step_that_ran(tree: Path) -> None:
    walked = walk(small(), "apply", tree)
    assert walked.outcome.ok
    assert [step for _, step, _ in walked.steps] == [
        "copy", "build", "check", "swap", "count", "drop-data",
    ]  # fmt: skip


def test_before_a_step_nothing_of_it_is_there_and_after_it_all(tree: Path) -> None:
    before = CrashPoint(during="apply", phase="backup", step="copy", when="before")
    after = CrashPoint(during="apply", phase="backup", step="copy", when="after")
    outcome = kill_at(small(), before, tree)
    assert outcome is not None
    assert outcome.exit_code == -9
    assert not (tree / "backups").exists()
    assert kill_at(small(), after, tree) is not None
    assert (tree / "backups" / "before" / "devflow.sqlite").exists()
    assert small().status(tree).state == "backup"


def test_a_step_that_is_never_reached_is_told(tree: Path) -> None:
    point = CrashPoint(during="apply", phase="backup", step="fly", when="before")
    assert kill_at(small(), point, tree) is None


@pytest.mark.parametrize("during", ["apply", "rollback"])
def test_a_sound_candidate_converges_from_every_point(tree: Path, during: str) -> None:
    result = converge(tree, small(), Kill(during=during, when=("before", "mid", "after")))
    assert result.findings == ()
    assert result.verdict is Verdict.VALID
    assert result.examined["crash points"] == {"apply": 18, "rollback": 6}[during]
    assert all(point["converged"] for point in result.details["points"])


def test_a_rollback_from_each_phase_restores_the_beginning(tree: Path) -> None:
    result = converge(tree, small(), None, "backup", "shadow", "cutover", "validate", "cleanup")
    assert result.findings == ()
    assert result.examined == {"rollbacks from phases": 5, "recoveries": 10}


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("drop-row-on-resume", "convergence/rows-changed"),
        ("bad-rollback", "convergence/schema-invented"),
        ("status", "convergence/status"),
        ("forgetful-plan", "convergence/plan"),
    ],
)
def test_a_candidate_that_does_not_converge_is_found_out(tree: Path, fault: str, rule: str) -> None:
    result = converge(tree, small(fault=fault), Kill(during="apply", at=("shadow",)))
    assert result.verdict is Verdict.INVALID
    assert rule in {finding.rule for finding in result.findings}


def test_a_rollback_that_leaves_something_is_found_from_each_phase(tree: Path) -> None:
    result = converge(tree, small(fault="bad-rollback"), None, "shadow")
    assert result.verdict is Verdict.INVALID
    assert "rollback from shadow: " in result.findings[0].cause
