"""The gate: all scenarios, the property campaign, the mutants; one signed report, one verdict."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from harness import campaign as properties
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
from harness.benchmarks import read_benchmarks
from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.errors import BadInputError
from harness.keys import signing_key
from harness.model import Verdict
from harness.mutant import load_mutants
from harness.mutants import run_mutants
from harness.play import played_aside
from harness.progress import Happening, Tell, nobody
from harness.report import load, summary_line
from harness.report.bind import bind_candidate, bind_file, bind_harness
from harness.report.model import (
    Campaign,
    FalseAlarms,
    Kind,
    MutantMatrix,
    ReportInput,
    RunSection,
    Subject,
)
from harness.run import RunResult
from harness.scenario import Scenario, scenario_files
from harness.stage import claimed, cleared

__all__ = ["PROFILES", "GateResult", "Profile", "run_gate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How much the gate does.

    `campaign` names the size of the property campaign, `examples` overrides its number;
    `false_alarms` are built fixtures; `slow`: slow scenarios run too, and what is resumed after
    a crash is judged by every checker; `only_mutants` are names, none means all, and of those that
    migrate live `live_mutants` are drawn, all where it is None. Scenarios and the other mutants all
    run; of `budget_s` the campaign and the false alarms get what is left, but at least `least_s`
    each, so that a busy machine tries fewer and the report says how many.
    """

    campaign: str
    false_alarms: int
    slow: bool
    budget_s: float
    least_s: float = 8.0
    examples: int | None = None
    only_mutants: tuple[str, ...] = ()
    live_mutants: int | None = None


PROFILES = {
    "quick": Profile(campaign="quick", false_alarms=40, slow=False, budget_s=250.0, live_mutants=4),
    "full": Profile(campaign="full", false_alarms=500, slow=True, budget_s=7_200.0),
}
"""The gate's sizes; those of the property campaign are in `harness.campaign`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What the gate came to: its verdict, the line that says so, the report's page."""

    verdict: Verdict
    line: str
    report: Path
    failures: tuple[str, ...]


MEASURED = Path(__file__).resolve().parent.parent / "reports" / "bench.json"
"""Where `make bench` leaves its figures."""

_SHARES = {"scenarios": 0.6, "mutants": 0.3, "properties": 0.06, "false alarms": 0.04}
"""How much of the quick profile's time each part takes, about."""


def _sharing(tell: Tell, part: str, of: int) -> Tell:
    """Return a listener that tells with each of `of` happenings how much of the gate is done."""
    before = sum(list(_SHARES.values())[: list(_SHARES).index(part)])
    heard = 0

    def told(happening: Happening) -> None:
        nonlocal heard
        heard = min(heard + 1, of)
        tell(replace(happening, share=before + _SHARES[part] * heard / of))

    return told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Played:
    """One scenario's result, and the digests of what it was played on."""

    scenario: Scenario
    result: RunResult
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    """What came of each part of the gate."""

    played: list[_Played]
    unseen: list[str]
    matrix: MutantMatrix
    found: Campaign
    alarms: FalseAlarms


def run_gate(
    out: Path,
    *,
    profile: str = "quick",
    size: Profile | None = None,
    scenarios: Path | None = None,
    key: Path | None = None,
    processes: int = 2,
    seed: int = 1,
    tell: Tell = nobody,
) -> GateResult:
    """Run everything, write the signed report to `out`, which is made anew, and give the verdict.

    `size` stands in for the profile's own. The databases of scenarios that failed stay below
    `out`; those of the others are removed.
    """
    size = size or PROFILES[profile]
    began = now()
    signer = signing_key(key)
    candidate = Candidate.load(DEFAULT_MANIFEST)
    stories = _stories(scenarios)
    slow = [story.name for story in stories if story.slow and not size.slow]
    stories = [story for story in stories if story.name not in slow]
    if not stories:
        raise BadInputError("there are no scenarios to play; put some into scenarios/")
    measured = read_benchmarks(MEASURED)
    with claimed(out):
        made = _examined(cleared(out), stories, size, processes, seed, tell)
        report = ReportInput(
            kind=Kind.GATE,
            title=f"Gate of {candidate.name}",
            profile=profile,
            candidate=candidate.name,
            manifest=in_checkout(DEFAULT_MANIFEST),
            left_out=tuple(_left_out(size, slow, made)),
            not_examined=tuple(f"the scenario {what}" for what in made.unseen),
            runs=tuple(map(_section, made.played)),
            subjects=tuple(_subjects(made.played, candidate)),
            versions=versions(),
            started_at=began,
            finished_at=now(),
            seeds={"gate": seed},
            git=git_state(),
            mutants=made.matrix,
            campaigns=(made.found,),
            false_alarms=made.alarms,
            crash_points=crash_points(one.result for one in made.played),
            benchmarks=measured,
            nonce=new_nonce(),
            vouching=vouching(signer),
        )
        page = publish(report, out, signer)
        line = summary_line(load(out), report=str(page))
    return GateResult(
        verdict=report.verdict, line=line, report=page, failures=tuple(_failures(made))
    )


def _examined(
    out: Path, stories: list[Scenario], size: Profile, processes: int, seed: int, tell: Tell
) -> _Examined:
    """Run each part after the other; the last ones have the time that is left."""
    clock = time.monotonic()
    played, unseen = _parted(_play_all(stories, out / "scenarios", size, processes, tell))
    matrix = _mutants(out / "mutants", size, seed, processes, tell)
    left_s = size.budget_s - (time.monotonic() - clock)
    found = _properties(out / "properties", size, seed, tell, limit_s=0.75 * left_s)
    left_s = size.budget_s - (time.monotonic() - clock)
    alarms = _false_alarms(out / "false-alarms", size, seed, tell, limit_s=left_s)
    return _Examined(played=played, unseen=unseen, matrix=matrix, found=found, alarms=alarms)


def _stories(folder: Path | None) -> list[Scenario]:
    """Load every scenario, those that take longest first, so that no worker waits at the end."""
    stories = [Scenario.load(path) for path in scenario_files(folder)]
    names = [story.name for story in stories]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"two scenarios are called {name!r}; give one another name")
    return sorted(
        stories,
        key=lambda s: (not s.trial.checks, not s.kills, not s.rollback_from, s.name),
    )


def _left_out(size: Profile, slow: list[str], made: _Examined) -> Iterator[str]:
    """Yield what was not done, so that a part is not taken for the whole."""
    if slow:
        yield f"slow scenarios, which the full profile plays: {', '.join(sorted(slow))}"
    wanted = size.examples or properties.PROFILES[size.campaign].examples
    for what, number, meant in (
        ("generated databases", made.found.examples, wanted),
        ("built fixtures with random hazards", made.alarms.fixtures, size.false_alarms),
    ):
        if number < meant:
            yield f"{meant - number} of {meant} {what}, which were not reached"
    if size.only_mutants:
        yield f"all mutants but {', '.join(size.only_mutants)}"
    elif size.live_mutants is not None:
        live = sum(mutant.live is not None for mutant in load_mutants())
        if size.live_mutants < live:
            yield (
                f"{live - size.live_mutants} of {live} mutants of the live migration, which the"
                " full profile tries"
            )


def _parted(every: list[_Played]) -> tuple[list[_Played], list[str]]:
    """Part what was examined from what this machine lacks something for, which is only told."""
    unseen = [one for one in every if one.result.lack is not None]
    told = [f"{one.scenario.name} ({one.result.lack})" for one in unseen]
    return [one for one in every if one not in unseen], told


def _play_all(
    stories: list[Scenario], out: Path, size: Profile, processes: int, tell: Tell
) -> list[_Played]:
    played: list[_Played] = []
    tell = _sharing(tell, "scenarios", len(stories))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=processes, mp_context=context) as pool:
        waiting: list[Future[_Played]] = [
            pool.submit(_play_one, story, out / story.name, size.slow) for story in stories
        ]
        try:
            for future in as_completed(waiting):
                one = future.result()
                played.append(one)
                tell(_told(one))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(played, key=lambda one: one.scenario.name)


def _play_one(story: Scenario, out: Path, thorough: bool) -> _Played:
    """Play one scenario in a worker; what is valid leaves no databases behind."""
    with played_aside(story, out, thorough=thorough) as result:
        subjects = tuple(bound(result, run=story.name))
    return _Played(scenario=story, result=replace(result, out=out), subjects=subjects)


def _told(one: _Played) -> Happening:
    verdict = one.result.verdict
    mark = {Verdict.VALID: "ok", Verdict.UNKNOWN: "open"}.get(verdict, "bad")
    text = f"scenario {one.scenario.name}: {verdict.value}"
    if one.result.lack is not None:
        text = f"scenario {one.scenario.name}: not examined, {one.result.lack}"
    elif verdict is not Verdict.VALID:
        text += f"; again: {one.scenario.replay}"
    return Happening(text=text, mark=mark, elapsed_s=one.result.elapsed_s)


def _section(one: _Played) -> RunSection:
    file = in_checkout(one.scenario.path)
    return section(one.result, fixture=_fixture(one.scenario), file=file)


def _fixture(story: Scenario) -> str:
    source = story.fixture
    if source.profile is None:
        return "given inline" if source.inline is not None else f"copied from {source.copied}"
    hazards = f" with {', '.join(source.hazards)}" if source.hazards else ""
    return f"{source.profile}{hazards} (seed {source.seed}, scale {source.scale:g})"


def _mutants(out: Path, size: Profile, seed: int, processes: int, tell: Tell) -> MutantMatrix:
    began = time.monotonic()
    tell = _sharing(tell, "mutants", len(size.only_mutants or load_mutants()) + 1)
    result = run_mutants(
        out=out,
        only=size.only_mutants,
        live_max=size.live_mutants,
        seed=seed,
        processes=processes,
        tell=tell,
    )
    tell(
        Happening(
            text=f"mutants: {len(result.killed)} of {len(result.judged)} caught",
            mark="bad" if result.survived else "ok",
            elapsed_s=time.monotonic() - began,
        )
    )
    return result.matrix


def _properties(out: Path, size: Profile, seed: int, tell: Tell, *, limit_s: float) -> Campaign:
    tell(Happening(text="property campaign: generated databases"))
    tell = _sharing(tell, "properties", 1)
    result = properties.run(
        out=out,
        profile=size.campaign,
        examples=size.examples,
        seed=seed,
        limit_s=max(size.least_s, limit_s),
        tell=tell,
    ).as_report()
    tell(
        Happening(
            text=f"property campaign: {result.examples} examples, {result.per_minute:.0f} a minute",
            mark="bad" if result.failures else "ok",
            elapsed_s=result.elapsed_s,
        )
    )
    return result


def _false_alarms(
    out: Path, size: Profile, seed: int, tell: Tell, *, limit_s: float
) -> FalseAlarms:
    tell(Happening(text="built fixtures with random hazards"))
    tell = _sharing(tell, "false alarms", 1)
    result = properties.false_alarms(
        out=out,
        fixtures=size.false_alarms,
        seed=seed,
        limit_s=max(size.least_s, limit_s),
    )
    tell(
        Happening(
            text=f"false alarms: {len(result.alarms)} in {result.fixtures} built fixtures",
            mark="bad" if result.alarms else "ok",
            elapsed_s=result.elapsed_s,
        )
    )
    return result


def _subjects(played: Iterable[_Played], candidate: Candidate) -> Iterator[Subject]:
    yield bind_candidate(candidate)
    yield bind_file(candidate.mapping, name="mapping")
    yield bind_harness()
    for one in played:
        yield bind_file(one.scenario.path, name=f"scenario/{one.scenario.name}")
        yield from one.subjects


def _failures(made: _Examined) -> Iterator[str]:
    """Yield one line for each thing that is not valid, with the way to see it again."""
    for one in made.played:
        if one.result.verdict is not Verdict.VALID:
            yield f"scenario {one.scenario.name}: {one.result.verdict}; {one.scenario.replay}"
    for mutant in made.matrix.mutants:
        if not mutant.caught:
            yield f"mutant {mutant.name} survived; harness mutants --only {mutant.name}"
    for line in made.found.failures:
        yield f"a generated database broke the property; {line}"
    for line in made.alarms.alarms:
        yield f"a false alarm; {line}"
