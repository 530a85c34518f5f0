"""Plays a scenario: its fixture, the rehearsal, the interruptions, and what was expected."""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.candidate import DEFAULT_MANIFEST, Candidate, Driver
from harness.checkers import CHECKERS
from harness.converge import Convergence
from harness.errors import BadInputError
from harness.generators.plan import working_directory
from harness.judge import ASKED_FOR, Judge, chosen_checkers
from harness.live import migrate_live
from harness.model import CheckResult, Severity, Verdict
from harness.progress import Happening, Tell, nobody
from harness.run import RunResult, rehearse
from harness.scenario import Expectation, Scenario, Trial
from harness.snapshot import Snapshot
from harness.stage import fresh, prepare
from harness.suggest import did_you_mean

__all__ = ["play", "played_aside", "refuse_misfit"]


def play(
    scenario: Scenario,
    out: Path,
    *,
    candidate: Candidate | None = None,
    driver: Driver | None = None,
    fixture: Path | None = None,
    thorough: bool = False,
    replay: str | None = None,
    tell: Tell = nobody,
) -> RunResult:
    """Play `scenario` in folders of `out` and return what came of it.

    `fixture` has the databases where they were prepared before. `replay` is the line that plays
    it again and `candidate` what is tested, where they are not the scenario's own; `driver` is a
    session of it, where there is one. `thorough`, as the full profile is: apply once more after
    the rollback, and judge what is resumed after a crash by all of the scenario's checkers.
    """
    began = time.monotonic()
    tested = candidate or Candidate.load(scenario.candidate or DEFAULT_MANIFEST)
    out.mkdir(parents=True, exist_ok=True)
    tell(Happening(text=f"{scenario.name}: {scenario.description}"))
    refuse_misfit(scenario, tested)
    fixture = fixture or prepare(scenario, out / "fixture")
    interrupted = bool(scenario.kills or scenario.rollback_from)
    if scenario.live is not None:
        result = migrate_live(
            fixture, tested, out / "run", live=scenario.live, seed=scenario.seed, tell=tell,
            replay=replay or scenario.replay,
        )  # fmt: skip
        return _expected(replace(result, name=scenario.name, out=out), scenario.expect)
    with tested.session() if driver is None else contextlib.nullcontext(driver) as asked:
        result = rehearse(
            fixture,
            tested,
            out / "run",
            driver=asked,
            checkers=scenario.checkers,
            trial=_trial(scenario, thorough=thorough),
            until=scenario.until,
            reapply=thorough,
            tell=tell,
            replay=replay or scenario.replay,
        )
        if interrupted and result.applied_digest is not None:
            convergence = Convergence(
                candidate=tested,
                driver=asked,
                fixture=fixture,
                out=out,
                before=Snapshot.of(out / "run" / "before"),
                applied=Snapshot.of(out / "run" / "after"),
                with_checkers=_rejudging(scenario, tested, thorough=thorough),
                tell=tell,
                seed=scenario.seed,
            )
            result = _interrupt(scenario, convergence, result)
    result = replace(
        result, name=scenario.name, out=out, seed=scenario.seed, elapsed_s=time.monotonic() - began
    )
    return _expected(result, scenario.expect)


def refuse_misfit(scenario: Scenario, candidate: Candidate) -> None:
    """Raise BadInputError where the scenario asks for what this candidate does not have."""
    names = [service.name for service in candidate.services]
    for name in scenario.trial.only:
        if name not in names:
            raise BadInputError(
                f"{scenario.path}: the candidate has no service {name!r}{did_you_mean(name, names)}"
            )
    if not (scenario.kills or scenario.rollback_from):
        return
    if scenario.until != "cleanup":
        raise BadInputError(
            f"{scenario.path}: `until` says where the whole run ends, so it does not go with"
            " `nemesis` and `rollback_from`; leave it out"
        )
    if candidate.kind == "sql":
        raise BadInputError(
            f"{scenario.path}: a candidate of kind sql has no phases, so `nemesis` and"
            " `rollback_from` do not apply to it; leave them out"
        )


def _trial(scenario: Scenario, *, thorough: bool) -> Trial:
    """Return how the services are tried."""
    trial = scenario.trial
    if not thorough:
        return trial
    most = max(trial.requests_max, trial.thorough)
    return replace(trial, requests=trial.thorough, requests_max=most, writes=trial.writes_thorough)


def _rejudging(scenario: Scenario, candidate: Candidate, *, thorough: bool) -> tuple[str, ...]:
    """Return the checkers that judge a resumed run again: of the scenario's, or two of them."""
    chosen = chosen_checkers(scenario.checkers, candidate)
    chosen -= frozenset(ASKED_FOR)
    return tuple(n for n in CHECKERS if n in chosen and (thorough or n in ("backups", "integrity")))


@contextlib.contextmanager
def played_aside(scenario: Scenario, out: Path, *, thorough: bool = False) -> Iterator[RunResult]:
    """Play `scenario` where files are quickest; yield the result while its databases are there.

    Afterwards the databases of one that is not valid are kept in `out`, which is made anew. The
    candidate's session stays open for the next scenario that this process plays.
    """
    candidate = Candidate.load(scenario.candidate or DEFAULT_MANIFEST)
    with tempfile.TemporaryDirectory(dir=working_directory(), prefix="scenario-") as scratch:
        place = Path(scratch) / scenario.name
        result = play(
            scenario,
            place,
            candidate=candidate,
            driver=_kept_session(candidate.manifest),
            thorough=thorough,
        )
        yield result
        fresh(out)
        if result.verdict is not Verdict.VALID:
            shutil.copytree(place, out, symlinks=True)


@functools.cache
def _kept_session(manifest: Path) -> Driver:
    """Return one session a candidate and process; it is closed when the process ends."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(Candidate.load(manifest).session())


def _interrupt(scenario: Scenario, convergence: Convergence, result: RunResult) -> RunResult:
    began = time.monotonic()
    convergence.roll_back_from(scenario.rollback_from)
    for kill in scenario.kills:
        convergence.kill(kill)
    judge = Judge(frozenset({"convergence"}), convergence.tell, result.replay)
    judge.add(replace(convergence.result(), elapsed_s=time.monotonic() - began))
    return replace(result, results=(*result.results, *judge.results))


def _expected(result: RunResult, expect: Expectation) -> RunResult:
    """Judge the run against what the scenario expects; what was expected is no error any more."""
    if expect.verdict == "valid" and not expect.rules:
        return result
    found = {f.rule for f in result.findings if f.severity is Severity.ERROR}
    if expect.verdict == "refused":
        text = f"is refused: {result.refused}"
        met = result.refused is not None and found == {"candidate/refused"}
    else:
        text = f"is {expect.verdict}"
        met = result.outcome.value == expect.verdict
    if expect.rules:
        text += f" with findings of {', '.join(expect.rules)}"
        met = met and found.issuperset(expect.rules)
    if not met:
        return replace(result, expectation=text, met=False)
    results = tuple(_excused(check) for check in result.results)
    return replace(result, results=results, expectation=text, met=True)


def _excused(check: CheckResult) -> CheckResult:
    findings = (
        replace(f, severity=Severity.NOTE, cause=f"as expected, {f.cause}")
        if f.severity is Severity.ERROR
        else f
        for f in check.findings
    )
    return replace(check, verdict=Verdict.VALID, findings=tuple(findings))
