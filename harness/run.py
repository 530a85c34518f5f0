"""A rehearsal, the whole story on one page: migrate a copy, judge it, repeat it, take it back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.candidate import Candidate, Driver
from harness.checkers import CHECKERS
from harness.checkers.evidence import Evidence
from harness.judge import FOR_AUDIT, Judge, Timed, checked, chosen_checkers, steps_of
from harness.mapping import Mapping
from harness.model import CheckResult, Finding, Verdict, worst
from harness.progress import Tell, nobody
from harness.scenario import Trial
from harness.snapshot import Snapshot, differences
from harness.stage import fresh, lay, take

__all__ = ["RunResult", "audit", "rehearse"]

AFTER_APPLY = frozenset(CHECKERS) - {"rollback"}
BEFORE_CUTOVER = ("backup", "shadow")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to. `out` holds its databases; `applied_digest` is None where none came.

    `refused` is what the candidate said where it declined and changed nothing. `expectation` is
    what should come out where that is no plain success; `met` then says whether it did, and the
    verdict follows it.
    """

    name: str
    out: Path
    results: tuple[CheckResult, ...]
    steps: tuple[Timed, ...] = ()
    applied_digest: str | None = None
    refused: str | None = None
    expectation: str | None = None
    met: bool | None = None
    seed: int | None = None
    replay: str | None = None
    elapsed_s: float = 0.0

    @property
    def outcome(self) -> Verdict:
        """The worst verdict of the checks, whatever was expected."""
        return worst(result.verdict for result in self.results)

    @property
    def lack(self) -> str | None:
        """What this machine lacks for the run, where that is all that keeps it from being valid."""
        others = [result.verdict for result in self.results if result.not_examined is None]
        lacks = [r.not_examined for r in self.results if r.not_examined is not None]
        sound = self.met is None and (not others or worst(others) is Verdict.VALID)
        return lacks[0] if lacks and sound else None

    @property
    def verdict(self) -> Verdict:
        """The outcome, or whether the expectation was met where there is one."""
        if self.met is None:
            return self.outcome
        return Verdict.VALID if self.met else Verdict.INVALID

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the checks."""
        return tuple(finding for result in self.results for finding in result.findings)


def rehearse(  # noqa: PLR0913 - each may be left out
    fixture: Path,
    candidate: Candidate,
    out: Path,
    *,
    driver: Driver | None = None,
    checkers: Iterable[str] | None = None,
    trial: Trial | None = None,
    until: str = "cleanup",
    reapply: bool = True,
    tell: Tell = nobody,
    replay: str | None = None,
) -> RunResult:
    """Migrate a copy of `fixture` and judge all that comes of it, in `out`, which is made anew.

    `driver` is a session of the candidate to use; one is made where it is None. Of `checkers`
    None means all. `trial` says how the services are tried, if at all. `reapply`: apply once more
    after the rollback. The fixture is only read.
    """
    began = time.monotonic()
    judge = Judge(chosen_checkers(checkers, candidate, trial), tell, replay)
    mapping = Mapping.load(candidate.mapping)
    fresh(out).mkdir()
    with candidate.session() if driver is None else contextlib.nullcontext(driver) as asked:
        story = _Rehearsal(
            fixture, candidate, asked, out, until=until, judge=judge, mapping=mapping
        )
        story.evidence = replace(story.evidence, trial=trial or Trial())
        if candidate.kind == "sql":
            story.play_script()
        else:
            story.play(reapply=reapply)
    judge.add(judge.speech())
    return RunResult(
        name=out.name,
        out=out,
        results=judge.in_order(),
        steps=tuple(judge.steps),
        applied_digest=story.applied_digest,
        refused=story.refused,
        replay=replay,
        elapsed_s=time.monotonic() - began,
    )


class _Rehearsal:
    """One rehearsal while it is played; every folder below `out` is a copy of its own."""

    def __init__(
        self,
        fixture: Path,
        candidate: Candidate,
        driver: Driver,
        out: Path,
        *,
        until: str,
        judge: Judge,
        mapping: Mapping,
    ) -> None:
        self.candidate, self.driver, self.out = candidate, driver, out
        self.until, self.judge = until, judge
        self.before = Snapshot.of(lay(fixture, out / "before"))
        self.tree = lay(fixture, out / "tree")
        self.evidence = Evidence(
            before=self.before,
            mapping=mapping,
            backups=candidate.backups,
            services=candidate.services,
            image=candidate.image,
            environment=candidate.told,
            work=out / "services",
        )
        self.applied: Snapshot | None = None
        self.applied_digest: str | None = None
        self.refused: str | None = None
        self.repeats: list[Finding] = []

    def play(self, *, reapply: bool) -> None:
        """Tell the story of a candidate that is a command."""
        if not self.apply():
            return
        self.judge_applied()
        repeated = [self.apply_again("second apply", backups=True)]
        self.roll_back()
        if reapply:
            repeated.append(self.apply_again("apply after rollback"))
        self.judge.add(
            CheckResult.judged(
                "idempotence",
                self.repeats,
                {"repeated applies": sum(repeated)},
                verifies="A second apply changes nothing."
                + " An apply after a rollback comes to the same as the first." * reapply,
                does_not_verify="Applies on sources that changed in between.",
            )
        )

    def play_script(self) -> None:
        """Tell the story of a candidate that is a script: its rollback comes first."""
        self.roll_back()
        if self.apply():
            self.judge_applied()

    def apply(self) -> bool:
        """Run the migration; False where there is nothing to judge after it."""
        judge = self.judge
        with judge.step(f"apply until {self.until}"):
            outcome = judge.heard(self.driver.apply(self.tree, until=self.until))
            if not outcome.definite:
                judge.indefinite(outcome)
                judge.heard(self.driver.status(self.tree))
                outcome = judge.heard(self.driver.apply(self.tree, until=self.until))
        judge.steps += steps_of(outcome)
        after = take(self.tree, self.out / "after", self.candidate)
        if not outcome.ok:
            judge.failed(outcome)
            if outcome.definite:
                self.refused = outcome.error
                judge.violations += differences(self.before, after, check="candidate/changed")
            return False
        self.expect_state(self.until)
        self.applied, self.applied_digest = after, after.digest()
        return True

    def expect_state(self, state: str) -> None:
        """Ask the candidate for its state and compare."""
        if self.candidate.kind == "command":
            self.judge.state(self.driver.status(self.tree), state)

    def judge_applied(self) -> None:
        """Run the checkers on what came out."""
        assert self.applied is not None  # noqa: S101 - `apply` said so
        unified = self.applied.path("root")
        if self.until in BEFORE_CUTOVER:
            return
        if not unified.is_file() or not unified.stat().st_size:
            self.judge.violations.append(
                Finding(
                    rule="candidate/no-unified-database",
                    cause="`apply` says done, and there is no unified database",
                    database="unified",
                )
            )
            return
        self.evidence = replace(self.evidence, after=unified, tree=self.tree)
        self.judge.check(AFTER_APPLY, self.evidence)

    def apply_again(self, what: str, *, backups: bool = False) -> bool:
        """Apply once more and compare with the first time; False where nobody asked for it.

        `backups`: they must still be what they were, for a second apply may not replace them.
        """
        if "idempotence" not in self.judge.wanted or self.applied is None:
            return False
        with self.judge.step(what):
            outcome = self.judge.heard(self.driver.apply(self.tree, until=self.until))
        if not outcome.ok:
            self.judge.failed(outcome)
            return False
        now = take(self.tree, self.out / what.replace(" ", "-"), self.candidate)
        for finding in differences(self.applied, now, check="idempotence"):
            self.repeats.append(replace(finding, cause=f"after the {what}, {finding.cause}"))
        if backups and "backups" in self.judge.wanted and self.evidence.tree is not None:
            for finding in checked("backups", self.evidence).findings:
                self.repeats.append(replace(finding, cause=f"after the {what}, {finding.cause}"))
        return True

    def roll_back(self) -> None:
        """Take the migration back and compare with what was before."""
        if "rollback" not in self.judge.wanted:
            return
        with self.judge.step("rollback"):
            outcome = self.judge.heard(self.driver.rollback(self.tree))
        if not outcome.ok:
            self.judge.failed(outcome)
        self.expect_state("none")
        rolled_back = take(self.tree, self.out / "rolled-back", self.candidate)
        self.judge.check({"rollback"}, replace(self.evidence, rolled_back=rolled_back))


def audit(
    before: Path,
    after: Path,
    mapping: Mapping,
    out: Path,
    *,
    tell: Tell = nobody,
    replay: str | None = None,
) -> RunResult:
    """Judge a migration that somebody already ran, from the databases alone.

    `before` is a tree and `after` a file at rest, both the harness's own copies. Backups,
    configuration and rollback cannot be judged from these, and are not.
    """
    began = time.monotonic()
    judge = Judge(frozenset(FOR_AUDIT), tell, replay)
    judge.check(
        frozenset(FOR_AUDIT), Evidence(before=Snapshot.of(before), mapping=mapping, after=after)
    )
    return RunResult(
        name="audit",
        out=out,
        results=judge.in_order(),
        replay=replay,
        elapsed_s=time.monotonic() - began,
    )
