"""Commands of a live migration that are harmed: run again, and judged by what they say then."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.candidate import Candidate, Outcome
from harness.harmed import Harmed
from harness.judge import Judge
from harness.model import CheckResult
from harness.nemeses.clock import Clocks
from harness.nemeses.meanwhile import Place, small_disk
from harness.scenario import Fault
from harness.services import Running

SET_BACK = Fault(
    harm="set-clock", target="migration", by_seconds=-3600.0, at=("cutover.notes",), seconds=0.5
)
KILLED = Fault(harm="kill", target="migration", when=("before", "mid", "after"))


class Told:
    """One way there of the little command, harmed: what it came to, and what was told of it."""

    def __init__(
        self,
        tree: Path,
        *faults: Fault,
        wrong: str = "",
        gate: Mapping[str, Running] | None = None,
        until: tuple[str, ...] = ("shadow", "validate"),
        clocks: Clocks | None = None,
    ) -> None:
        command = (sys.executable, str(Path(__file__).with_name("live_command.py")))
        candidate = Candidate(
            name="little", manifest=tree, kind="command", mapping=tree, command=command,
            environment={
                "FAULT": wrong, **({} if clocks is None else clocks.environment("migration")),
            },
            pythonpath=(tree,), timeout_s=20,
        )  # fmt: skip
        place = Place(gate=gate or {}, legacy={}, unified={}, tree=tree, clocks=clocks)
        self.judge = Judge(frozenset({"convergence"}))
        self.marks: list[tuple[str, str]] = []
        self.seen: list[str] = []
        harmed = Harmed(
            candidate, place, faults=faults, gates={"notes": 1}, seed=1, judge=self.judge
        )
        harmed.begin(1, lambda name, note: self.marks.append((name, note)))
        self.outcomes: list[Outcome] = []
        for phase in until:
            self.outcomes.append(
                harmed.run("apply", until=phase, keep_writes=False, seen=self._see)
            )
        harmed.end()
        self.result: CheckResult = harmed.result()

    def _see(self, event: Mapping[str, object]) -> None:
        self.seen.append(f"{event['event']} {event['step']}")

    @property
    def rules(self) -> set[str]:
        return {finding.rule for finding in self.result.findings}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    made.mkdir()
    return made


def test_a_command_that_is_killed_at_every_step_is_run_again_to_its_end(tree: Path) -> None:
    told = Told(tree, KILLED)
    assert [outcome.ok for outcome in told.outcomes] == [True, True]
    assert told.result.verdict.value == "valid"
    kills = told.result.examined["kills of migration"]
    assert told.result.examined["commands run again"] == kills
    assert [name for name, _ in told.marks] == ["kill"] * kills
    assert kills >= 6  # a kill amid a step may come when it is done


def test_each_kill_has_its_place_in_words(tree: Path) -> None:
    told = Told(tree, Fault(harm="kill", target="migration", at=("cutover",), when=("before",)))
    assert told.marks == [("kill", "kill of migration before cutover.notes")]


def test_who_looks_on_sees_the_steps_of_the_last_phase_alone(tree: Path) -> None:
    told = Told(tree, KILLED)
    assert {line.split()[1] for line in told.seen} == {"shadow.put", "validate.all"}


def test_a_command_that_does_not_get_over_a_kill_fails(tree: Path) -> None:
    told = Told(tree, KILLED, wrong="never-again", until=("shadow",))
    assert not told.outcomes[-1].ok
    assert "somebody began this" in str(told.outcomes[-1].error)


def test_a_status_that_is_wrong_after_a_kill_is_found(tree: Path) -> None:
    told = Told(tree, KILLED, wrong="status")
    assert told.rules == {"convergence/status"}
    finding = told.result.findings[0]
    assert (finding.expected, finding.actual) == ("none or backup or shadow", "cleanup")


def test_a_step_that_is_planned_and_never_comes_is_found(tree: Path) -> None:
    told = Told(tree, KILLED, wrong="plan")
    assert told.rules == {"convergence/not-struck"}
    assert "cutover.nowhere" in told.result.findings[0].cause


def test_a_migration_that_is_stopped_goes_on(tree: Path) -> None:
    stop = Fault(harm="stop", target="migration", at=("cutover.notes",), seconds=0.3)
    told = Told(tree, stop)
    assert told.outcomes[-1].ok
    assert [name for name, _ in told.marks] == ["fault", "mended"]
    assert told.result.examined["stops of migration"] == 1


def test_a_lock_is_held_for_as_long_as_it_is_said(tree: Path) -> None:
    (tree / "data").mkdir()
    lock = Fault(harm="lock", target="legacy", at=("cutover.notes",), when=("before",))
    assert Told(tree, lock).result.examined["locks of legacy"] == 1


def test_a_full_disk_without_a_disk_of_its_own_is_not_examined(tree: Path) -> None:
    told = Told(tree, Fault(harm="fill", target="tree", at=("cutover.notes",)))
    assert told.outcomes[-1].ok
    assert told.result.verdict.value == "unknown"
    assert "only root may mount" in str(told.result.not_examined)


def test_a_clock_without_the_library_is_not_examined(tree: Path) -> None:
    told = Told(tree, SET_BACK)
    assert told.outcomes[-1].ok
    assert told.result.verdict.value == "unknown"
    assert "a clock that is set needs Linux and a C compiler" in str(told.result.not_examined)


def test_everything_that_is_lacking_is_named_and_not_the_first_alone(tree: Path) -> None:
    told = Told(tree, SET_BACK, Fault(harm="fill", target="tree", at=("cutover.notes",)))
    assert str(told.result.not_examined).count("; ") == 1


def test_a_small_disk_is_there_or_said_not_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with small_disk(folder) as disk:
        assert disk in (folder, None)
        assert (disk is None) == (folder.stat().st_dev == tmp_path.stat().st_dev)
    assert folder.stat().st_dev == tmp_path.stat().st_dev
