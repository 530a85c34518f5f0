"""What must hold after an interruption: resumed it comes to the same end, taken back to the start.

Two stories: a rollback from each phase, and SIGKILL at crash points. Both compare with one
uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.candidate import PHASES, Candidate, Driver, Outcome
from harness.checkers import CHECKERS
from harness.checkers.evidence import Evidence
from harness.judge import checked
from harness.mapping import Mapping
from harness.model import DATABASES, CheckResult, Finding, Severity
from harness.nemeses.kill import CrashPoint, crash_points, kill_at, walk
from harness.progress import Happening, Tell, nobody
from harness.scenario import Kill
from harness.snapshot import Snapshot, differences
from harness.stage import lay, take

__all__ = ["Convergence"]

_SHOWN_DIFFERENCES = 5


@dataclass(slots=True)
class Convergence:
    """Interrupts a candidate on copies of `fixture` below `out`, and gathers what came of it.

    `before` and `applied` are what the start and the end of an uninterrupted run look like.
    `with_checkers` judge a resumed run too, beside comparing it with `applied`; the backups are
    judged unless the candidate was killed in the shadow phase, which makes none.
    """

    candidate: Candidate
    driver: Driver
    fixture: Path
    out: Path
    before: Snapshot
    applied: Snapshot
    with_checkers: tuple[str, ...] = ("backups", "integrity")
    tell: Tell = nobody
    seed: int = 1
    findings: list[Finding] = field(default_factory=list)
    points: list[dict[str, object]] = field(default_factory=list)
    kills: int = 0
    rollbacks: int = 0
    recoveries: int = 0
    _applied_digest: str = ""
    _before_digest: str = ""

    def __post_init__(self) -> None:
        """Compute what everything is compared with."""
        self._before_digest = self.before.digest()
        self._applied_digest = self.applied.digest()

    def roll_back_from(self, phases: Iterable[str]) -> None:
        """From each phase: apply up to it, roll back, compare, apply all, compare."""
        for phase in phases:
            tree = lay(self.fixture, self.out / f"from-{phase}")
            place = f"rollback from {phase}"
            found = [
                *self._must(self.driver.apply(tree, until=phase), place),
                *self._state(tree, phase, place),
                *self._sources_kept(tree, phase),
                *self._to_start(tree, place),
                *self._to_end(tree, f"apply after {place}"),
            ]
            self.rollbacks += 1
            self.recoveries += 2
            self.findings += found
            self.tell(Happening(text=place, mark="bad" if found else "ok"))

    def _sources_kept(self, tree: Path, phase: str) -> Iterator[Finding]:
        """The old databases are there until the last phase: what follows may still need them."""
        for name in DATABASES if phase != PHASES[-1] else ():
            if self.before.path(name).exists() and not (tree / DATABASES[name]).exists():
                cause = f"after the phase {phase}, before cleaning up, {DATABASES[name]} is gone"
                yield Finding(rule="convergence/removed-early", cause=cause, database=name)

    def kill(self, kill: Kill) -> None:
        """Kill the command at each of the points that `kill` means, and recover both ways."""
        start = lay(self.fixture, self.out / "start")
        if kill.during == "rollback":
            outcome = self.driver.apply(start, until=kill.from_phase)
            self.findings += self._must(outcome, "apply before a killed rollback")
        scout = lay(start, self.out / "scout")
        walked = walk(self.candidate, kill.during, scout)
        self.findings += self._must(walked.outcome, f"{kill.during} in lockstep")
        if kill.during == "apply":
            self._compare_plan([(phase, step) for phase, step, _ in walked.steps], start)
        points = crash_points(kill, walked.steps)
        for number, point in enumerate(points, start=1):
            self._kill_once(point, start, f"point {number} of {len(points)}")

    def result(self) -> CheckResult:
        """Return what there is to say, as the check `convergence`."""
        examined = {
            "crash points": self.kills,
            "rollbacks from phases": self.rollbacks,
            "recoveries": self.recoveries,
        }
        return CheckResult.judged(
            "convergence",
            self.findings,
            {what: count for what, count in examined.items() if count},
            verifies="After SIGKILL at each point, and after a rollback from each phase, `status`"
            " answers, `apply` comes to the databases and files of an uninterrupted run, and"
            " `rollback` to those before the first phase.",
            does_not_verify="Power loss: what a killed process had written is still in the"
            " machine's memory, so nothing that was not synced is lost here.",
            details={"points": self.points} if self.points else {},
        )

    def _kill_once(self, point: CrashPoint, start: Path, number: str) -> None:
        self.kills += 1
        tree = lay(start, self.out / "killed")
        if kill_at(self.candidate, point, tree, seed=self.seed) is None:
            cause = f"{point}: the command ended before it came there"
            self._note(point, "nothing", [Finding(rule="convergence/not-reached", cause=cause)])
            return
        found = list(self._must(self.driver.status(tree), f"status, {point}"))
        other = lay(tree, self.out / "killed-too")
        if point.during == "apply":
            then = "resume, rollback; or rollback at once"
            found += self._to_end(tree, f"resume, {point}", backups=point.phase != "shadow")
            found += self._to_start(tree, f"rollback after a resume, {point}")
            found += self._to_start(other, f"rollback, {point}")
        else:
            then = "rollback again; or apply, rollback"
            found += self._to_start(tree, f"rollback, {point}")
            found += self._to_end(other, f"apply, {point}")
            found += self._to_start(other, f"rollback after an apply, {point}")
        self._note(point, then, found)
        self.recoveries += 2
        self.tell(Happening(text=f"{number}: {point}", mark="bad" if found else "ok"))

    def _note(self, point: CrashPoint, then: str, findings: list[Finding]) -> None:
        self.findings += findings
        self.points.append(
            {
                "phase": point.phase,
                "step": point.step,
                "during": point.during,
                "moment": point.when,
                "then": then,
                "converged": not findings,
                "text": findings[0].cause if findings else None,
            }
        )

    def _must(self, outcome: Outcome, place: str) -> tuple[Finding, ...]:
        """Return what is wrong with a command that must succeed."""
        if outcome.ok:
            return outcome.violations
        cause = f"{place}: `{outcome.op}` did not do what it was asked for: {outcome.error}"
        return (*outcome.violations, Finding(rule="convergence/failed", cause=cause))

    def _state(self, tree: Path, expected: str, place: str) -> Iterator[Finding]:
        outcome = self.driver.status(tree)
        yield from self._must(outcome, f"status, {place}")
        if outcome.ok and outcome.state != expected:
            yield Finding(
                rule="convergence/status",
                cause=f"{place}: `status` does not tell the last phase done",
                expected=expected,
                actual=str(outcome.state),
            )

    def _to_end(self, tree: Path, place: str, *, backups: bool = True) -> Iterator[Finding]:
        """Apply all, and compare with the uninterrupted run."""
        yield from self._must(self.driver.apply(tree), place)
        yield from self._state(tree, "cleanup", place)
        now = take(tree, self.out / "now", self.candidate)
        if now.digest() != self._applied_digest:
            yield from _differences(self.applied, now, place)
        names = [name for name in self.with_checkers if backups or name != "backups"]
        yield from self._checked(names, now, tree, place)

    def _to_start(self, tree: Path, place: str) -> Iterator[Finding]:
        """Roll back, and compare with what was before."""
        yield from self._must(self.driver.rollback(tree), place)
        yield from self._state(tree, "none", place)
        now = take(tree, self.out / "now", self.candidate)
        if now.digest() != self._before_digest:
            yield from _differences(self.before, now, place)

    def _checked(
        self, names: Iterable[str], now: Snapshot, tree: Path, place: str
    ) -> Iterator[Finding]:
        evidence = Evidence(
            before=self.before,
            mapping=Mapping.load(self.candidate.mapping),
            after=now.path("root"),
            tree=tree,
            backups=self.candidate.backups,
        )
        for name in CHECKERS:
            if name in names and name != "rollback":
                for finding in checked(name, evidence).findings:
                    if finding.severity is Severity.ERROR:
                        yield replace(finding, cause=f"{place}: {finding.cause}")

    def _compare_plan(self, ran: list[tuple[str, str]], tree: Path) -> None:
        outcome = self.driver.plan(tree)
        self.findings += self._must(outcome, "plan")
        planned = [step for step in outcome.steps if step[0] != "rollback"]
        if outcome.ok and planned != ran:
            self.findings.append(
                Finding(
                    rule="convergence/plan",
                    cause="`apply` runs other steps than `plan` tells",
                    expected=_listed(step for step in planned if step not in ran),
                    actual=_listed(step for step in ran if step not in planned),
                )
            )


def _listed(steps: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{phase}/{step}" for phase, step in steps) or "no other steps"


def _differences(expected: Snapshot, now: Snapshot, place: str) -> Iterator[Finding]:
    found = differences(expected, now, check="convergence")
    if not found:
        cause = f"{place}: the digests differ, and nothing that is compared one by one does"
        yield Finding(rule="convergence/digest", cause=cause)
    for finding in found[:_SHOWN_DIFFERENCES]:
        yield replace(finding, cause=f"{place}: {finding.cause}")
