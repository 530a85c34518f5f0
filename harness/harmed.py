"""Runs the commands of a live migration while it is harmed: again, until they come to their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.candidate import PHASES, Candidate, Event, Outcome
from harness.judge import Judge
from harness.model import CheckResult, Finding
from harness.nemeses.clock import LACK
from harness.nemeses.meanwhile import Nemesis, Place, Strike, strikes
from harness.scenario import Fault

__all__ = ["Harmed"]

_VERIFIES = (
    "A command that was killed, or failed because something it needs was harmed, says where it"
    " stands, and run again comes to its end, there and back."
)
_DOES_NOT_VERIFY = (
    "Loss of power: a killed process loses nothing that it had written. A clock that a program"
    " reads past the C library, by which the kernel dates files or wakes those who sleep, or that"
    " runs too fast or too slow. Moments of a step other than those that were drawn."
)
_LACKS = {
    "fill": "a full disk needs a file system of its own, and only root may mount one",
    "set-clock": LACK,
}
_TRIES = 5
_UNTIL = "validate"
_STATES = ("none", *PHASES)


class Harmed:
    """A candidate's live commands with a nemesis at them; `result` says whether it got over it."""

    def __init__(
        self,
        candidate: Candidate,
        place: Place,
        *,
        faults: Sequence[Fault],
        gates: Mapping[str, int],
        seed: int,
        judge: Judge,
    ) -> None:
        """`gates` are the control ports by service. Nothing is asked yet."""
        self._candidate, self._place, self._gates = candidate, place, gates
        lacking = {"fill": place.disk is None, "set-clock": place.clocks is None}
        self._lacks = [
            lack
            for harm, lack in _LACKS.items()
            if lacking[harm] and any(fault.harm == harm for fault in faults)
        ]
        self._faults = [fault for fault in faults if not lacking.get(fault.harm)]
        self._seed, self._judge = seed, judge
        self._nemesis: Nemesis | None = None
        self._struck: Counter[str] = Counter()
        self._reached = "none"
        self._again = 0
        self._findings: list[Finding] = []

    @property
    def _tree(self) -> Path:
        return self._place.tree

    def begin(self, number: int, mark: Callable[[str, str], object]) -> None:
        """Plan the faults of one way there and back; BadInputError where there is no such step."""
        with self._candidate.go_live(
            "plan", self._tree, gates=self._gates, until=_UNTIL, keep_writes=True
        ) as command:
            planned = self._judge.heard(command.finish())
        if not planned.ok:
            self._judge.failed(planned)
        found = strikes(self._faults, planned.steps, self._gates, self._seed + number)
        self._nemesis = Nemesis(found, self._place, mark)

    def end(self) -> None:
        """Note what was planned and never came; wait for all harm to end."""
        nemesis = self._of_this_round
        nemesis.settle()
        self._struck += nemesis.struck
        for strike in nemesis.left:
            cause = f"{strike}: the command never came there, so nothing is known of it"
            self._findings.append(Finding(rule="convergence/not-struck", cause=cause))

    def run(
        self, op: str, *, until: str, keep_writes: bool, seen: Callable[[Event], None]
    ) -> Outcome:
        """Run a command until it has done what it was asked for, or fails unharmed.

        `seen` is told each start and end of a step of its last phase.
        """
        nemesis = self._of_this_round
        phase = until if op == "apply" else op
        for _ in range(len(nemesis.left) + _TRIES):
            excuses = nemesis.excuses
            killed, outcome = self._once(op, phase, until, keep_writes, seen)
            if killed is not None:
                self._ask_status(killed, op, until)
            else:
                nemesis.settle()
                if outcome.ok or nemesis.excuses == excuses:
                    break
            self._again += 1
        if outcome.ok and outcome.state is not None:
            self._reached = outcome.state
        return outcome

    def _once(
        self, op: str, phase: str, until: str, keep_writes: bool, seen: Callable[[Event], None]
    ) -> tuple[Strike | None, Outcome]:
        with self._candidate.go_live(
            op, self._tree, gates=self._gates, until=until, keep_writes=keep_writes, lockstep=True
        ) as command:
            while (event := command.next_pause()) is not None:
                if event.get("phase") == phase:
                    seen(event)
                if (killed := self._of_this_round.pass_on(event, command)) is not None:
                    return killed[0], self._judge.heard(killed[1])
            return None, self._judge.heard(command.finish())

    def _ask_status(self, killed: Strike, op: str, until: str) -> None:
        """After a kill, `status` must name a phase from where it began to where it should come."""
        outcome = self._judge.heard(self._candidate.status(self._tree))
        first, last = (_STATES.index(name) for name in (self._reached, until))
        possible = _STATES if op == "rollback" else _STATES[first : last + 1]
        if not outcome.ok or outcome.state not in possible:
            self._findings.append(
                Finding(
                    rule="convergence/status",
                    cause=f"after the {killed}, `status` does not tell where it stands",
                    expected=" or ".join(possible),
                    actual=outcome.error or str(outcome.state),
                )
            )

    @property
    def _of_this_round(self) -> Nemesis:
        assert self._nemesis is not None  # noqa: S101 - `begin` comes first
        return self._nemesis

    def result(self) -> CheckResult:
        """Return what came of it; that nothing was lost, the other checks say."""
        if self._lacks:
            return CheckResult.lacking(
                "convergence",
                "; ".join(self._lacks),
                verifies=_VERIFIES,
                does_not_verify=_DOES_NOT_VERIFY,
            )
        return CheckResult.judged(
            "convergence",
            self._findings,
            {**dict(sorted(self._struck.items())), "commands run again": self._again},
            verifies=_VERIFIES,
            does_not_verify=_DOES_NOT_VERIFY,
        )
