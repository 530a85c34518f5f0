"""SIGKILL of a candidate at an exact point, or in the midst of a step."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.candidate import Candidate, Lockstep, Outcome
from harness.errors import BadInputError
from harness.scenario import Kill
from harness.suggest import did_you_mean

__all__ = ["CrashPoint", "Walk", "crash_points", "kill_at", "walk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """Where the candidate is killed: `when` is `before` the step, `after` it, or `mid`.

    `step_s` is how long the step took when nobody disturbed it.
    """

    during: str
    phase: str
    step: str
    when: str
    step_s: float = 0.0

    def __str__(self) -> str:
        """Say it in words."""
        where = {"before": "before", "after": "after", "mid": "in the midst of"}[self.when]
        return f"{self.during} killed {where} {self.phase}/{self.step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A command walked through to its end: (phase, step, seconds) of each step that ran."""

    outcome: Outcome
    steps: tuple[tuple[str, str, float], ...]


def walk(candidate: Candidate, op: str, tree: Path, *, until: str = "cleanup") -> Walk:
    """Run `op` in lockstep to its end and note the steps; `tree` is changed by it."""
    steps: list[tuple[str, str, float]] = []
    with candidate.lockstep(op, tree, until=until) as lockstep:
        began = time.monotonic()
        while (event := lockstep.next_pause()) is not None:
            if event["event"] == "step_done":
                took_s = time.monotonic() - began
                steps.append((str(event.get("phase")), str(event.get("step")), took_s))
            began = time.monotonic()
            lockstep.release()
        return Walk(outcome=lockstep.finish(), steps=tuple(steps))


def crash_points(kill: Kill, steps: Iterable[tuple[str, str, float]]) -> tuple[CrashPoint, ...]:
    """Return the points that `kill` means among `steps`, in their order.

    BadInputError where it names a phase or a step that there is not.
    """
    walked = list(steps)
    names = {phase for phase, _, _ in walked} | {f"{phase}/{step}" for phase, step, _ in walked}
    for name in kill.at:
        if name not in names:
            raise BadInputError(f"`nemesis.kill.at` names {name!r}{did_you_mean(name, names)}")
    return tuple(
        CrashPoint(during=kill.during, phase=phase, step=step, when=when, step_s=took_s)
        for phase, step, took_s in walked
        if not kill.at or phase in kill.at or f"{phase}/{step}" in kill.at
        for when in kill.when
    )


def kill_at(
    candidate: Candidate, point: CrashPoint, tree: Path, *, seed: int = 1
) -> Outcome | None:
    """Run the command on `tree` and kill it at `point`; None where it never came there."""
    with candidate.lockstep(point.during, tree) as lockstep:
        said = "step_done" if point.when == "after" else "step_started"
        while (event := lockstep.next_pause()) is not None:
            there = (event.get("phase"), event.get("step")) == (point.phase, point.step)
            if there and event["event"] == said:
                return _kill(lockstep, point, seed)
            lockstep.release()
        lockstep.finish()
    return None


def _kill(lockstep: Lockstep, point: CrashPoint, seed: int) -> Outcome:
    if point.when == "mid":
        lockstep.release()
        share = random.Random(f"{point}/{seed}").random()  # noqa: S311 - no secret
        time.sleep(share * point.step_s)
    return lockstep.kill()
