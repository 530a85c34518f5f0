"""Runs checkers over evidence and keeps what came out, in order, telling it as it happens."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import apsw

from harness.candidate import Candidate, Outcome
from harness.checkers import CHECKERS
from harness.checkers.evidence import Evidence
from harness.errors import BadInputError
from harness.model import CheckResult, Finding, Severity, Verdict
from harness.progress import Happening, Tell, nobody
from harness.scenario import LiveLoad, Trial
from harness.suggest import did_you_mean

__all__ = [
    "ASKED_FOR",
    "CHECKER_NAMES",
    "FOR_AUDIT",
    "OF_LIVE",
    "OF_SERVICES",
    "Judge",
    "Timed",
    "checked",
    "checks_of_live",
    "chosen_checkers",
    "joined",
    "steps_of",
]

CHECKER_NAMES = (
    "candidate", "schema", "rows", "in-use", "integrity", "configuration", "backups", "ledger",
    "contract", "api", "durability", "containers", "history", "downtime", "rollback",
    "idempotence", "convergence",
)  # fmt: skip
"""Every check by its name, in the order of reports."""

NOT_FOR_SQL = ("configuration", "backups", "idempotence", "convergence")
"""What does not apply to a candidate that is one script."""

OF_SERVICES = ("contract", "api", "durability", "containers")
"""What is made only where a scenario asks for it by its key `services`."""

OF_LIVE = ("history", "downtime")
"""What is made only where a scenario asks for it by its key `live`."""

ASKED_FOR = (*OF_SERVICES, *OF_LIVE)
"""What is not made unless it is asked for."""

_FOR_LIVE = ("candidate", "rows", "in-use", "integrity", *OF_LIVE, "rollback")
"""What is judged of a migration that goes there and back while clients use the services."""

FOR_AUDIT = ("schema", "rows", "in-use", "integrity", "ledger")
"""What can be judged from the databases before and after alone."""

_MARKS = {Verdict.VALID: "ok", Verdict.UNKNOWN: "open", Verdict.INVALID: "bad"}


@dataclass(frozen=True, slots=True)
class Timed:
    """One thing that happened in a run and how long it took.

    `phase` and `counts` are there for a step of the candidate; `outcome` is `done` or `skipped`.
    """

    name: str
    elapsed_s: float
    phase: str | None = None
    outcome: str = "done"
    counts: Mapping[str, int] = field(default_factory=dict)


def steps_of(outcome: Outcome) -> Iterator[Timed]:
    """Yield the steps that a command says it did, timed from one line to the next."""
    began_s = 0.0
    for event, moment_s in zip(outcome.events, outcome.moments_s, strict=True):
        if event["event"] == "step_done":
            counts = event.get("counts")
            yield Timed(
                str(event.get("step")),
                moment_s - began_s,
                phase=str(event.get("phase")),
                outcome="skipped" if event.get("skipped") is True else "done",
                counts={str(k): n for k, n in counts.items() if isinstance(n, int)}
                if isinstance(counts, dict)
                else {},
            )
        began_s = moment_s


def chosen_checkers(
    names: Iterable[str] | None, candidate: Candidate, trial: Trial | None = None
) -> frozenset[str]:
    """Return the checks to make: `names`, or all, of those that apply to the candidate's kind.

    BadInputError where there is no check of a name. What the candidate says is always judged;
    the checks of services are those that `trial` names.
    """
    chosen = list(CHECKER_NAMES) if names is None else list(names)
    for name in chosen:
        if name not in CHECKER_NAMES:
            raise BadInputError(f"there is no checker {name!r}{did_you_mean(name, CHECKER_NAMES)}")
        for key, asked_for in (("services", OF_SERVICES), ("live", OF_LIVE)):
            if names is not None and name in asked_for:
                raise BadInputError(f"the check {name!r} is asked for by the key `{key}`")
    left_out = (*ASKED_FOR, *(NOT_FOR_SQL if candidate.kind == "sql" else ()))
    apply = [name for name in chosen if name not in left_out]
    return frozenset({"candidate", *apply, *(() if trial is None else trial.checks)})


def checks_of_live(live: LiveLoad) -> frozenset[str]:
    """Return what is judged of a migration that goes there and back while clients use services."""
    faulty = ("convergence",) if live.faults else ()
    staying = ("schema", "configuration") if live.stays else ()
    return frozenset({*_FOR_LIVE, *faulty, *staying})


@dataclass(slots=True)
class Judge:
    """Runs checkers and keeps what came out, in order, telling it as it happens."""

    wanted: frozenset[str]
    tell: Tell = nobody
    replay: str | None = None
    results: list[CheckResult] = field(default_factory=list)
    steps: list[Timed] = field(default_factory=list)
    violations: list[Finding] = field(default_factory=list)
    commands: int = 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step of the story."""
        began = time.monotonic()
        yield
        elapsed_s = time.monotonic() - began
        self.steps.append(Timed(name, elapsed_s))
        self.tell(Happening(text=name, elapsed_s=elapsed_s))

    def check(self, names: Container[str], evidence: Evidence) -> None:
        """Run those of the checkers `names` that are wanted, in the order of reports."""
        for name in CHECKER_NAMES:
            if name in names and name in self.wanted and name in CHECKERS:
                began = time.monotonic()
                result = checked(name, evidence)
                self.add(replace(result, elapsed_s=time.monotonic() - began))

    def add(self, result: CheckResult) -> None:
        """Keep a result, its findings with the line that shows them again."""
        if result.checker not in self.wanted:
            return
        kept = tuple(
            finding if finding.replay else replace(finding, replay=self.replay)
            for finding in result.findings
        )
        self.results.append(replace(result, findings=kept))
        verdict = result.verdict.value
        looked = ", ".join(f"{count} {what}" for what, count in result.examined.items())
        if result.not_examined is not None:
            looked = f"not examined: {result.not_examined}"
        self.tell(
            Happening(
                text=f"{result.checker}: {verdict}" + (f" ({looked})" if looked else ""),
                mark=_MARKS[result.verdict],
                elapsed_s=result.elapsed_s or None,
            )
        )

    def heard(self, outcome: Outcome) -> Outcome:
        """Count a command and keep what it broke of the contract."""
        self.commands += 1
        self.violations += outcome.violations
        return outcome

    def failed(self, outcome: Outcome) -> None:
        """Keep that a command did not do what it was asked for."""
        rule = "candidate/refused" if outcome.definite else "candidate/failed"
        cause = f"`{outcome.op}` did not do what it was asked for: {outcome.error}"
        self.violations.append(Finding(rule=rule, cause=cause))

    def indefinite(self, outcome: Outcome) -> None:
        """Keep that a command ended so that nobody knows what it did; it may be tried again."""
        cause = f"`{outcome.op}` ended without saying what it did: {outcome.error}"
        self.violations.append(
            Finding(rule="candidate/indefinite", cause=cause, severity=Severity.WARNING)
        )

    def state(self, outcome: Outcome, expected: str) -> None:
        """Compare the state that `status` tells with what it must be."""
        self.heard(outcome)
        if not outcome.ok:
            self.failed(outcome)
        elif outcome.state != expected:
            self.violations.append(
                Finding(
                    rule="candidate/status",
                    cause="`status` does not tell the last phase done",
                    expected=expected,
                    actual=str(outcome.state),
                )
            )

    def speech(self) -> CheckResult:
        """Return what there is to say about the candidate's keeping of the contract."""
        return CheckResult.judged(
            "candidate",
            self.violations,
            {"commands": self.commands},
            verifies="Each command answers as docs/candidate.md demands: JSON lines, a last line,"
            " an exit code that agrees with it, the right state, in time.",
            does_not_verify="Whether what the candidate claims is true: the other checks judge"
            " from the databases alone.",
        )

    def in_order(self) -> tuple[CheckResult, ...]:
        """Return all results in the order of reports."""
        return tuple(sorted(self.results, key=lambda r: CHECKER_NAMES.index(r.checker)))


def checked(name: str, evidence: Evidence) -> CheckResult:
    """Run one checker; a database or mapping that SQLite cannot read is the candidate's fault."""
    try:
        return CHECKERS[name](evidence)
    except apsw.Error as error:
        finding = Finding(
            rule=f"{name}/unreadable",
            cause=f"SQLite cannot answer what this check asks: {error}",
            database="unified",
        )
        return CheckResult(checker=name, verdict=Verdict.INVALID, findings=(finding,))


def joined(checker: str, results: list[CheckResult]) -> CheckResult:
    """Return the results of one check, made at several moments, as one."""
    examined: dict[str, int] = {}
    for result in results:
        for what, count in result.examined.items():
            examined[what] = max(count, examined.get(what, 0))
    last = (
        results[-1]
        if results
        else CheckResult.judged(checker, (), {}, verifies="", does_not_verify="")
    )
    return CheckResult.judged(
        checker,
        [finding for result in results for finding in result.findings],
        examined,
        verifies=last.verifies,
        does_not_verify=last.does_not_verify,
        details={**last.details, "moments": len(results)},
    )
