"""The property campaign: the mission must hold for any legacy databases that can be thought up.

The property: apply → invertible, in use, sound; apply again → the same digest; rollback → as
before. Hypothesis invents the databases; one that breaks it is shrunk and becomes a scenario file.
The same claim is made of built fixtures with random hazards, where a finding is a false alarm.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import apsw
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from harness.candidate import DEFAULT_MANIFEST, Candidate, Driver
from harness.checkers import CHECKERS
from harness.fixture.build import build
from harness.fixture.hazards import HAZARDS
from harness.fixture.recipe import Recipe
from harness.generators.observed import observed
from harness.generators.plan import TreePlan, materialise, working_directory
from harness.generators.reproducer import scenario_document, write_scenario
from harness.generators.shrinking import shrink
from harness.generators.trees import trees
from harness.model import Finding, Severity, Verdict
from harness.progress import Happening, Tell, nobody
from harness.report.model import Campaign, FalseAlarms
from harness.run import RunResult, rehearse

__all__ = ["CLAIM", "PROFILES", "CampaignResult", "Failure", "false_alarms", "run"]

CLAIM = (
    "For any legacy databases: apply gives unified ones that are invertible, in use and sound,"
    " a second apply changes nothing, and rollback restores what was."
)


_CHECKERS = ("schema", "rows", "in-use", "integrity", "ledger", "rollback", "idempotence")
_EVERYTHING_EACH = 10
"""Of how many examples one is judged by every check, configuration and backups too, and applied
once more after the rollback; the property itself is checked on each."""

_SHRINK_S_MAX = 120.0
"""When to give up shrinking a failure in which every try hangs; else tries alone are counted."""

_S = TypeVar("_S")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a campaign does: examples, the time for them, and the tries to shrink a failure."""

    examples: int
    limit_s: float
    shrink_tries: int


PROFILES: Mapping[str, Profile] = {
    "quick": Profile(examples=100, limit_s=35.0, shrink_tries=100),
    "full": Profile(examples=1_000, limit_s=1_800.0, shrink_tries=600),
}
"""The campaign's sizes. `limit_s` keeps a slow machine from waiting without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One broken property, shrunk: what was found, and the scenario file that shows it alone."""

    rule: str
    cause: str
    scenario: Path
    seed: int

    @property
    def replay(self) -> str:
        """The line that reproduces it."""
        return f"make scenario FILE={self.scenario}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """What a campaign came to; `hazards` counts the examples that held each hazard."""

    examples: int
    elapsed_s: float
    failures: tuple[Failure, ...]
    seeds: tuple[int, ...]
    hazards: Mapping[str, int]
    profile: str

    @property
    def per_minute(self) -> float:
        """Examples a minute, over the whole time including start-up."""
        return 60 * self.examples / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def verdict(self) -> Verdict:
        """Invalid where an example failed, unknown where none was tried."""
        return self.as_report().verdict

    def as_report(self) -> Campaign:
        """Return the figures as the report holds them."""
        return Campaign(
            claim=CLAIM,
            profile=self.profile,
            examples=self.examples,
            elapsed_s=self.elapsed_s,
            seed=self.seeds[0] if self.seeds else None,
            failures=tuple(failure.replay for failure in self.failures),
            coverage=self.hazards,
        )


class _BrokenError(Exception):
    """The property does not hold for one plan; `checker` found it."""

    def __init__(self, plan: TreePlan, checker: str, finding: Finding) -> None:
        super().__init__(f"{finding.rule}: {finding.cause}")
        self.plan, self.checker, self.finding = plan, checker, finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What one process has to do."""

    manifest: Path
    examples: int
    seed: int
    out: Path
    limit_s: float
    shrink_tries: int


@dataclass(slots=True)
class _Tally:
    """What one process did."""

    examples: int = 0
    hazards: Counter[str] = field(default_factory=Counter)
    failure: Failure | None = None


def run(  # noqa: PLR0913 - a campaign in full, all keyword-only
    *,
    out: Path,
    profile: str = "quick",
    examples: int | None = None,
    seed: int = 1,
    manifest: Path = DEFAULT_MANIFEST,
    processes: int = 2,
    limit_s: float | None = None,
    shrink_tries: int | None = None,
    tell: Tell = nobody,
) -> CampaignResult:
    """Put the candidate through `examples` generated trees, in `processes` with a seed each.

    Failures are left as scenario files in `out`. `limit_s` ends the campaign early,
    `shrink_tries` the shrinking of a failure; both are the profile's where they are None.
    """
    chosen = PROFILES[profile]
    wanted = examples if examples is not None else chosen.examples
    began = time.monotonic()
    seeds = tuple(seed + n for n in range(max(1, min(processes, wanted))))
    shares = [
        _Share(
            manifest=manifest.resolve(),
            examples=wanted // len(seeds) + (n < wanted % len(seeds)),
            seed=own,
            out=out.resolve(),
            limit_s=limit_s if limit_s is not None else chosen.limit_s,
            shrink_tries=shrink_tries if shrink_tries is not None else chosen.shrink_tries,
        )
        for n, own in enumerate(seeds)
    ]
    tallies = _spread(_work, shares)
    hazards: Counter[str] = Counter()
    for tally in tallies:
        hazards.update(tally.hazards)
    result = CampaignResult(
        examples=sum(tally.examples for tally in tallies),
        elapsed_s=time.monotonic() - began,
        failures=tuple(tally.failure for tally in tallies if tally.failure is not None),
        seeds=seeds,
        hazards=dict(sorted(hazards.items())),
        profile=profile,
    )
    for failure in result.failures:
        tell(Happening(text=f"{failure.rule}: {failure.cause}\n{failure.replay}", mark="bad"))
    return result


def _spread(work: Callable[[_S], _T], shares: list[_S]) -> list[_T]:
    """Do each share in a process of its own; one alone is done here."""
    if len(shares) == 1:
        return [work(shares[0])]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=len(shares), mp_context=context) as pool:
        return list(pool.map(work, shares))


def _work(share: _Share) -> _Tally:
    """Run one process's share of the campaign."""
    candidate = Candidate.load(share.manifest)
    with _scratch() as directory, candidate.session() as driver:
        return _Search(share, candidate, driver, directory).tally()


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=working_directory(), prefix="campaign-") as directory:
        yield Path(directory)


class _Search:
    """Hypothesis's search in one process, with what it must remember between examples."""

    def __init__(
        self, share: _Share, candidate: Candidate, driver: Driver, directory: Path
    ) -> None:
        self.share = share
        self.candidate = candidate
        self.driver = driver
        self.directory = directory
        self.began = time.monotonic()
        self.broken: _BrokenError | None = None
        self.done = _Tally()

    def tally(self) -> _Tally:
        """Search, shrink what was found, and return what was done."""
        search = seeded(self.share.seed)(
            settings(
                max_examples=self.share.examples,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),
                report_multiple_bugs=False,
            )(given(trees())(self.example))
        )
        with contextlib.suppress(_BrokenError):
            search()
        if self.broken is not None:
            self.done.failure = self._reproducer(self._shrunk(self.broken))
        return self.done

    def example(self, plan: TreePlan) -> None:
        """Check the property on one plan, up to the first that breaks it."""
        if self.broken is not None:
            # Hypothesis plays what failed once more before it lets go of it.
            if repr(plan) == repr(self.broken.plan):
                raise self.broken
            return
        if time.monotonic() - self.began > self.share.limit_s:
            return
        everything = self.done.examples % _EVERYTHING_EACH == 0
        self.done.examples += 1
        self.done.hazards.update(observed(plan))
        found = _errors(self._play(plan, None if everything else _CHECKERS, reapply=everything))
        if found:
            self.broken = _BrokenError(plan, *found[0])
            raise self.broken

    def _shrunk(self, first: _BrokenError) -> _BrokenError:
        """Return the smallest plan that breaks the same rule, asking only who found it."""
        alone = first.checker in CHECKERS
        smallest, began = first, time.monotonic()

        def breaks(plan: TreePlan) -> bool:
            nonlocal smallest
            if time.monotonic() - began > _SHRINK_S_MAX:
                return False
            try:
                result = self._play(plan, (first.checker,) if alone else None, reapply=not alone)
            except apsw.SQLError:  # rows without the table that they go into: no plan
                return False
            for checker, finding in _errors(result):
                if finding.rule == first.finding.rule:
                    smallest = _BrokenError(plan, checker, finding)
                    return True
            return False

        shrink(first.plan, breaks, tries_max=self.share.shrink_tries)
        return smallest

    def _play(
        self, plan: TreePlan, checkers: tuple[str, ...] | None, *, reapply: bool
    ) -> RunResult:
        shutil.rmtree(self.directory / "fixture", ignore_errors=True)
        materialise(plan, self.directory / "fixture")
        return rehearse(
            self.directory / "fixture",
            self.candidate,
            self.directory / "run",
            driver=self.driver,
            checkers=checkers,
            reapply=reapply,
        )

    def _reproducer(self, broken: _BrokenError) -> Failure:
        finding = broken.finding
        name = f"property-{self.share.seed}-{finding.rule.replace('/', '-')}"
        default = self.share.manifest == DEFAULT_MANIFEST.resolve()
        document = scenario_document(
            broken.plan,
            name=name,
            description=f"Found by the property campaign, seed {self.share.seed}: {finding.rule}.",
            candidate=None if default else self.share.manifest,
        )
        path = write_scenario(document, self.share.out / f"{name}.yaml")
        return Failure(rule=finding.rule, cause=finding.cause, scenario=path, seed=self.share.seed)


def _errors(result: RunResult) -> list[tuple[str, Finding]]:
    """Return each error and the checker that found it."""
    found = [
        (check.checker, finding)
        for check in result.results
        for finding in check.findings
        if finding.severity is Severity.ERROR
    ]
    if not found and result.verdict is Verdict.INVALID:
        return [("run", Finding(rule="run/invalid", cause="the run is invalid without a finding"))]
    return found


def false_alarms(
    *,
    out: Path,
    fixtures: int = 500,
    seed: int = 1,
    manifest: Path = DEFAULT_MANIFEST,
    processes: int = 2,
    limit_s: float = 1_800.0,
) -> FalseAlarms:
    """Put the candidate through `fixtures` built ones with random hazards; none may be invalid.

    A fixture that is called invalid is left in `out` as a scenario file, and its line is an alarm.
    """
    began = time.monotonic()
    shares = [
        _Share(
            manifest=manifest.resolve(),
            examples=len(range(first, fixtures, processes)),
            seed=seed * 1_000_003 + first,
            out=out.resolve(),
            limit_s=limit_s,
            shrink_tries=0,
        )
        for first in range(min(processes, fixtures))
    ]
    done = _spread(_cry_wolf, shares)
    return FalseAlarms(
        fixtures=sum(count for count, _ in done),
        alarms=tuple(alarm for _, alarms in done for alarm in alarms),
        elapsed_s=time.monotonic() - began,
    )


def _cry_wolf(share: _Share) -> tuple[int, list[str]]:
    """Run one process's share of the built fixtures: how many, and the alarms' replay lines."""
    candidate = Candidate.load(share.manifest)
    chance = random.Random(share.seed)  # noqa: S311 - a seeded choice, no secret
    began, count, alarms = time.monotonic(), 0, []
    with _scratch() as directory, candidate.session() as driver:
        for number in range(share.examples):
            if time.monotonic() - began > share.limit_s:
                break
            recipe = _random_recipe(chance, seed=share.seed + number)
            fixture = directory / "fixture"
            shutil.rmtree(fixture, ignore_errors=True)
            build(recipe, fixture)
            result = rehearse(fixture, candidate, directory / "run", driver=driver, reapply=False)
            count += 1
            if found := _errors(result):
                path = share.out / f"alarm-{recipe.seed}.yaml"
                alarms.append(_alarm(recipe, found[0][1], path, share))
    return count, alarms


def _random_recipe(chance: random.Random, *, seed: int) -> Recipe:
    hazards = chance.sample(sorted(HAZARDS), k=min(len(HAZARDS), chance.randint(0, 6)))
    return Recipe(
        profile=chance.choice(("empty", "as-planned", "real-like", "partially-migrated")),
        seed=seed,
        scale=chance.choice((0.25, 0.5, 1.0)),
        hazards=tuple(sorted(hazards)),
    )


def _alarm(recipe: Recipe, finding: Finding, path: Path, share: _Share) -> str:
    document: dict[str, object] = {
        "name": path.stem,
        "description": f"A built fixture that a sound migration must pass: {finding.rule}.",
        "seed": recipe.seed,
        "fixture": {
            "profile": recipe.profile,
            "scale": recipe.scale,
            "hazards": list(recipe.hazards),
        },
    }
    if share.manifest != DEFAULT_MANIFEST.resolve():
        document["candidate"] = str(share.manifest)
    return f"make scenario FILE={write_scenario(document, path)}"
