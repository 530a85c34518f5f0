"""What faults of a live scenario mean, and what is done at which step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import BadInputError
from harness.nemeses.meanwhile import Nemesis, Place, strikes
from harness.scenario import Fault, Scenario

SERVICES = ("database-manager", "vector-memory")
HARMS = "kill, stop, lock, fill, set-clock"
STEPS = (
    ("shadow", "shadow.put"),
    ("cutover", "cutover.database-manager"),
    ("cutover", "cutover.vector-memory"),
    ("cutover", "cutover.configuration"),
    ("rollback", "rollback.services"),
)


def planned(*faults: Fault) -> list[str]:
    return [str(strike) for strike in strikes(faults, STEPS, SERVICES, 1)]


def test_a_killed_migration_is_killed_at_every_step() -> None:
    found = planned(Fault(harm="kill", target="migration", when=("before", "after")))
    assert len(found) == 2 * len(STEPS)
    assert found[0] == "kill of migration before shadow.put"


def test_a_step_that_moves_one_service_harms_that_one_and_the_way_back_all() -> None:
    assert planned(Fault(harm="stop", target="gate")) == [
        "stop of gate of database-manager amid cutover.database-manager",
        "stop of gate of vector-memory amid cutover.vector-memory",
        "stop of gate of database-manager amid rollback.services",
        "stop of gate of vector-memory amid rollback.services",
    ]


def test_a_phase_names_all_its_steps() -> None:
    fault = Fault(harm="lock", target="legacy", at=("cutover",), when=("before",))
    assert planned(fault) == [
        f"lock of legacy before {step}" for phase, step in STEPS if phase == "cutover"
    ]


def test_random_moments_are_the_same_from_the_same_seed() -> None:
    fault = Fault(harm="kill", target="migration", times=3)
    once, again, other = (strikes([fault], STEPS, SERVICES, seed) for seed in (1, 1, 2))
    assert [s.delay_s for s in once] == [s.delay_s for s in again]
    assert [s.delay_s for s in once] != [s.delay_s for s in other]
    assert len({s.delay_s for s in once}) == len(once)


def test_a_clock_is_set_back_or_ahead_of_one_process_or_of_all_at_once() -> None:
    alone = Fault(harm="set-clock", target="gate", by_seconds=-3600.0, at=("cutover",))
    assert planned(alone)[:2] == [
        "clock of gate of database-manager set back by 3,600 s amid cutover.database-manager",
        "clock of gate of vector-memory set back by 3,600 s amid cutover.vector-memory",
    ]
    together = Fault(harm="set-clock", target="machine", by_seconds=60.0, when=("before",))
    assert planned(together)[2] == "clock of machine set ahead by 60 s before rollback.services"
    of_all = Fault(harm="set-clock", target="migration", by_seconds=60.0)
    assert len(planned(of_all)) == 3


def test_a_step_that_there_is_not_is_named_with_a_suggestion() -> None:
    with pytest.raises(BadInputError, match=r"names 'shadow\.putt'.*did you mean 'shadow\.put'"):
        planned(Fault(harm="kill", target="migration", at=("shadow.putt",)))


class Command:
    """What a nemesis does to a command, noted."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def release(self) -> None:
        self.done.append("released")

    def kill(self) -> str:
        self.done.append("killed")
        return "the outcome"


def walked(nemesis: Nemesis, events: list[dict[str, Any]]) -> list[str]:
    command = Command()
    for event in events:
        if nemesis.pass_on(event, command) is not None:  # type: ignore[arg-type]
            break
    return command.done


def of_migration(when: str) -> Nemesis:
    fault = Fault(harm="kill", target="migration", at=("shadow.put",), when=(when,))
    place = Place(gate={}, legacy={}, unified={}, tree=Path())
    return Nemesis(strikes([fault], STEPS, SERVICES, 1), place, lambda _name, _note: None)


STARTED = {"event": "step_started", "phase": "shadow", "step": "shadow.put"}
DONE = {"event": "step_done", "phase": "shadow", "step": "shadow.put"}


@pytest.mark.parametrize(
    ("when", "done"),
    [
        ("before", ["killed"]),
        ("mid", ["released", "killed"]),
        ("after", ["released", "killed"]),
    ],
)
def test_a_migration_is_killed_once_where_it_was_said(when: str, done: list[str]) -> None:
    nemesis = of_migration(when)
    assert walked(nemesis, [STARTED, DONE]) == done
    assert walked(nemesis, [STARTED, DONE]) == ["released", "released"]
    assert nemesis.struck == {"kills of migration": 1}
    assert not nemesis.left


def test_what_is_left_amid_a_step_that_was_done_already_is_let_go() -> None:
    nemesis = of_migration("mid")
    again = {**DONE, "skipped": True}
    command = Command()
    nemesis.pass_on(again, command)  # type: ignore[arg-type]
    assert not nemesis.left
    assert not nemesis.struck


def written(tmp_path: Path, fault: str) -> Path:
    path = tmp_path / "harmed.yaml"
    path.write_text(
        "description: It is harmed.\n"
        "fixture: {profile: empty}\n"
        "live:\n"
        "  faults:\n"
        f"    - {fault}\n"
    )
    return path


def test_a_fault_has_what_it_says_and_defaults_for_the_rest(tmp_path: Path) -> None:
    live = Scenario.load(written(tmp_path, "{stop: gate, at: [cutover], seconds: 2}")).live
    assert live is not None
    assert live.faults == (Fault(harm="stop", target="gate", at=("cutover",), seconds=2.0),)
    live = Scenario.load(written(tmp_path, "{kill: migration, times: 3}")).live
    assert live is not None
    assert live.faults == (Fault(harm="kill", target="migration", times=3),)
    live = Scenario.load(written(tmp_path, "{set-clock: machine, by_seconds: -3600}")).live
    assert live is not None
    assert live.faults == (
        Fault(harm="set-clock", target="machine", seconds=1.0, by_seconds=-3600.0),
    )


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "{kill: gate, stop: legacy}",
            "a fault is exactly one of kill, stop, lock, fill, set-clock",
        ),
        ("{at: [cutover]}", f"a fault is exactly one of {HARMS}"),
        ("{kill: gate, when: [after]}", "only a migration can be killed `after` a step"),
        ("{set-clock: gate}", "`set-clock`, and no other harm, needs `by_seconds`"),
        ("{set-clock: gate, by_seconds: 0}", "`set-clock`, and no other harm, needs `by_seconds`"),
        ("{stop: gate, by_seconds: -5}", "`set-clock`, and no other harm, needs `by_seconds`"),
        ("{set-clock: gate, by_seconds: 5, when: [after]}", "only a migration can be killed"),
        ("{lock: gate}", "'gate' is not possible"),
        ("{kil: gate}", "did you mean 'kill'"),
    ],
)
def test_a_mistake_in_a_fault_is_named_with_its_line(tmp_path: Path, fault: str, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        Scenario.load(written(tmp_path, fault))
    assert "harmed.yaml:5: " in str(caught.value)
    assert said in str(caught.value)
