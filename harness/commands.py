"""What the commands do, without a command line: each runs, reports, signs and returns an answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.assemble import (
    bound,
    crash_points,
    git_state,
    in_checkout,
    new_nonce,
    now,
    publish,
    section,
    versions,
    vouching,
)
from harness.candidate import DEFAULT_MANIFEST, PHASES, Candidate
from harness.checkers.evidence import Evidence
from harness.checkers.ledger import store
from harness.errors import BadInputError
from harness.fixture.copy import copy_tree
from harness.fixture.copy_database import copy_database
from harness.fixture.roots import refuse_other_folder
from harness.keys import SigningKey, signing_key
from harness.mapping import Mapping
from harness.model import COMMAND_S, DATABASES, Finding, Severity, Verdict
from harness.play import play, refuse_misfit
from harness.progress import Tell, nobody
from harness.report import load, summary_line
from harness.report.bind import bind_candidate, bind_file, bind_harness
from harness.report.model import Kind, ReportInput, RunSection
from harness.run import RunResult, audit
from harness.scenario import FixtureSource, Kill, Scenario
from harness.snapshot import Snapshot
from harness.stage import claimed, cleared, fresh, prepare_claimed

__all__ = ["Answer", "audit_databases", "play_scenario", "rehearse_tree"]

_DEADLINE_S = 10.0
_LEDGER = "ledger.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command says: the verdict, a line for people, and an object for programs."""

    verdict: Verdict
    line: str
    findings: tuple[Finding, ...]
    examined: dict[str, dict[str, int]]
    report: Path

    def as_json(self) -> dict[str, Any]:
        """Return the one object of `--json`."""
        return {
            "verdict": self.verdict.value,
            "findings": [asdict(finding) for finding in self.findings],
            "examined": self.examined,
            "report": str(self.report),
        }

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)


def rehearse_tree(
    source: Path,
    out: Path,
    *,
    manifest: Path = DEFAULT_MANIFEST,
    profile: str = "quick",
    timeout_s: float = COMMAND_S,
    key: Path | None = None,
    tell: Tell = nobody,
) -> Answer:
    """Copy the databases out of `source`, migrate and judge the copies, report in `out`.

    The full profile rolls back from each phase and kills the candidate at every step too. Each of
    its commands is ended after `timeout_s`.
    """
    began = now()
    signer = signing_key(key)
    candidate = replace(Candidate.load(manifest), timeout_s=timeout_s)
    if not source.is_dir():
        raise BadInputError(f"{source} is no folder; name the root of a DevFlow tree")
    _keep_apart(source, out)
    refuse_other_folder(source)
    replay = f"harness rehearse --source {shlex.quote(str(source.resolve()))}"
    if candidate.manifest != DEFAULT_MANIFEST:
        replay += f" --candidate {shlex.quote(str(candidate.manifest))}"
    if timeout_s != COMMAND_S:
        replay += f" --timeout {timeout_s:g}"
    deep = profile == "full" and candidate.kind == "command"
    scenario = Scenario(
        name="rehearsal",
        description=f"the databases of {source.resolve()}",
        fixture=FixtureSource(copied=source.resolve()),
        path=out / "rehearsal.yaml",
        rollback_from=PHASES if deep else (),
        kills=(Kill(during="apply"), Kill(during="rollback")) if deep else (),
    )
    with claimed(out):
        result = play(
            scenario,
            out,
            candidate=candidate,
            fixture=prepare_claimed(scenario, out),
            thorough=deep,
            replay=replay + (" --profile full" if deep else ""),
            tell=tell,
        )
        made = _section(result, out, candidate.mapping)
        title = f"Rehearsal of {candidate.name}"
        report = _report(Kind.REHEARSAL, title, began, candidate, made, result)
        unseen = (*_not_there(Snapshot.of(out / "fixture")), *report.not_examined)
        report = replace(report, profile=profile, not_examined=unseen)
        return _answer(report, result, out, signer)


def play_scenario(
    scenario: Scenario,
    out: Path,
    *,
    profile: str = "full",
    timeout_s: float = COMMAND_S,
    key: Path | None = None,
    tell: Tell = nobody,
) -> Answer:
    """Play one scenario and report in `out`; its databases stay there.

    Each command of the candidate is ended after `timeout_s`.
    """
    began = now()
    signer = signing_key(key)
    candidate = replace(Candidate.load(scenario.candidate or DEFAULT_MANIFEST), timeout_s=timeout_s)
    refuse_misfit(scenario, candidate)
    with claimed(out):
        fixture = prepare_claimed(scenario, out)
        thorough = profile == "full"
        result = play(
            scenario, out, candidate=candidate, fixture=fixture, thorough=thorough, tell=tell
        )
        made = _section(result, out, candidate.mapping)
        title = f"Scenario {scenario.name}"
        report = _report(Kind.SCENARIO, title, began, candidate, made, result)
        subjects = (*report.subjects, bind_file(scenario.path, name=f"scenario/{scenario.name}"))
        return _answer(replace(report, subjects=subjects), result, out, signer)


def audit_databases(
    before: Path,
    after: Path,
    out: Path,
    *,
    mapping: Path | None = None,
    key: Path | None = None,
    tell: Tell = nobody,
) -> Answer:
    """Judge a migration that somebody already ran; both sides are copied first, read-only."""
    began = now()
    signer = signing_key(key)
    named = mapping or Candidate.load(DEFAULT_MANIFEST).mapping
    loaded = Mapping.load(named)
    for given in (before, after):
        _keep_apart(given, out)
    if not before.is_dir():
        raise BadInputError(f"{before} is no folder; name the root of a DevFlow tree")
    if not after.is_file():
        raise BadInputError(f"{after} is no file; name the unified database")
    refuse_other_folder(before)
    replay = shlex.join(
        ["harness", "audit", "--before", str(before.resolve()), "--after", str(after.resolve())]
        + (["--mapping", str(mapping.resolve())] if mapping else [])
    )
    with claimed(out):
        coming = fresh(out / "coming")  # the earlier report stands until both can be used
        copy_tree(before, coming / "before")
        unified = coming / "after" / loaded.unified
        unified.parent.mkdir(parents=True)
        copy_database(after, unified, deadline_s=_DEADLINE_S)
        run = coming.rename(cleared(out, but=coming.name) / "run")
        unified = run / "after" / loaded.unified
        result = audit(run / "before", unified, loaded, out, tell=tell, replay=replay)
        made = _section(result, out, named)
        report = _report(Kind.AUDIT, "Audit of a migration", began, None, made, result)
        subjects = (*report.subjects, bind_file(named, name="mapping"))
        return _answer(replace(report, subjects=subjects), result, out, signer)


def _keep_apart(source: Path, out: Path) -> None:
    """Refuse an output folder that is the source, lies in it or holds it."""
    here, there = source.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadInputError(
            f"--out {out} and {source} lie in each other, and a source is never written to;"
            " name another folder with --out"
        )


def _not_there(sources: Snapshot) -> Iterator[str]:
    """Yield each source that holds nothing: what is valid without it says nothing about it."""
    for name in (*DATABASES, "registry"):
        kind = "log" if name == "registry" else "database"
        what = f"the {kind} {sources.path(name).relative_to(sources.directory)}"
        state = sources.state(name)
        if state == "missing":
            yield f"{what}, which is not there"
        elif state == "empty":
            yield f"{what}, which has no bytes"


def _section(result: RunResult, out: Path, mapping: Path) -> RunSection:
    """Return the run for the report, its ledger in a file beside it for `explain`."""
    made = section(result)
    run = out / "run"
    loaded = Mapping.load(mapping)
    unified = run / "after" / loaded.unified
    if made.ledger is None or not unified.is_file():
        return made
    evidence = Evidence(before=Snapshot.of(run / "before"), mapping=loaded, after=unified)
    store(evidence, out / _LEDGER)
    return replace(made, ledger=replace(made.ledger, path=_LEDGER))


def _report(
    kind: Kind,
    title: str,
    began: str,
    candidate: Candidate | None,
    made: RunSection,
    result: RunResult,
) -> ReportInput:
    subjects = bound(result, kept="run")
    if candidate is not None:
        subjects += [bind_candidate(candidate), bind_file(candidate.mapping, name="mapping")]
    return ReportInput(
        kind=kind,
        title=title,
        runs=(made,),
        subjects=(*subjects, bind_harness()),
        versions=versions(),
        started_at=began,
        finished_at=now(),
        seeds={} if result.seed is None else {"scenario": result.seed},
        git=git_state(),
        candidate="" if candidate is None else candidate.name,
        manifest=in_checkout(DEFAULT_MANIFEST if candidate is None else candidate.manifest),
        crash_points=crash_points([result]),
        not_examined=tuple(
            f"the check {check.checker} ({check.not_examined})"
            for check in result.results
            if check.not_examined is not None
        ),
        nonce=new_nonce(),
    )


def _answer(report: ReportInput, result: RunResult, out: Path, signer: SigningKey) -> Answer:
    page = publish(replace(report, vouching=vouching(signer)), out, signer)
    return Answer(
        verdict=report.verdict,
        line=summary_line(load(out), report=str(page)),
        findings=result.findings,
        examined={check.checker: dict(check.examined) for check in result.results},
        report=out / "report.json",
    )
