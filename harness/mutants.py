"""Mutants: the candidate broken on purpose in many ways, each of which the gate must catch.

A definition names a file of the candidate, a piece of its text and what takes its place. The
mutant is a patched copy of the candidate; it is played and judged like any other. The checkers
do not know the mutants: where one survives, a checker is missing something.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from harness.candidate import DEFAULT_MANIFEST
from harness.errors import BadInputError
from harness.fixture.recipe import Recipe
from harness.generators.plan import working_directory
from harness.judge import ASKED_FOR, CHECKER_NAMES
from harness.model import Severity, Verdict
from harness.mutant import DEFINITIONS, Mutant, load_mutants, plant
from harness.play import play
from harness.progress import Happening, Tell, nobody
from harness.report.model import Mutant as ReportedMutant
from harness.report.model import MutantMatrix
from harness.run import RunResult
from harness.scenario import FixtureSource, Kill, Scenario

__all__ = [
    "Judged",
    "MutantsResult",
    "matrix_text",
    "run_mutants",
]

_OF_THE_REST = ("rollback", "idempotence", "convergence")
_OF_THE_APPLIED = tuple(n for n in CHECKER_NAMES if n not in (*_OF_THE_REST, *ASKED_FOR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate made of one mutant: the rules found by each checker that caught it."""

    mutant: Mutant
    caught: dict[str, tuple[str, ...]]
    digest: str | None
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantsResult:
    """The matrix mutant × checker, and who survived."""

    judged: tuple[Judged, ...]
    elapsed_s: float
    defined: int = 0

    @property
    def killed(self) -> tuple[str, ...]:
        """The mutants that were caught."""
        return tuple(one.mutant.name for one in self.judged if one.caught)

    @property
    def survived(self) -> tuple[str, ...]:
        """The mutants that nothing caught."""
        return tuple(one.mutant.name for one in self.judged if not one.caught)

    @property
    def rate(self) -> float:
        """The share that was caught, 0..1."""
        return self.matrix.rate

    @property
    def verdict(self) -> Verdict:
        """Invalid where one survived, unknown where there was none."""
        return self.matrix.verdict

    @property
    def matrix(self) -> MutantMatrix:
        """The matrix as the report holds it."""
        return MutantMatrix(
            checkers=CHECKER_NAMES,
            defined=self.defined,
            mutants=tuple(
                ReportedMutant(
                    name=one.mutant.name,
                    summary=one.mutant.breaks,
                    caught_by=tuple(name for name in CHECKER_NAMES if name in one.caught),
                    fixture=one.mutant.fixture,
                    elapsed_s=one.elapsed_s,
                )
                for one in self.judged
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One candidate to play: a mutant, or the unbroken one as its `control`."""

    mutant: Mutant
    control: bool
    manifest: Path
    recipe: Recipe
    directory: Path


_Result = tuple[dict[str, tuple[str, ...]], str | None, float]


def run_mutants(
    directory: Path = DEFINITIONS,
    *,
    out: Path,
    manifest: Path = DEFAULT_MANIFEST,
    only: Sequence[str] = (),
    live_max: int | None = None,
    seed: int = 1,
    processes: int = 2,
    tell: Tell = nobody,
) -> MutantsResult:
    """Run every mutant defined in `directory` and say which checkers caught it.

    Of those that migrate live, which take longest, `live_max` are drawn by `seed`, all where it is
    None. `out` gets the matrix as text. The unbroken candidate is run on every fixture too: it must
    be valid there, or no mutant could be judged, which is a BadInputError.
    """
    began = time.monotonic()
    every = load_mutants(directory)
    mutants = tuple(m for m in _drawn(every, live_max, seed) if not only or m.name in only)
    for name in only:
        if name not in {mutant.name for mutant in mutants}:
            raise BadInputError(f"there is no mutant `{name}` in {directory}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=working_directory(), prefix="mutants-", ignore_cleanup_errors=True
    ) as scratch:
        tasks = _tasks(mutants, directory, manifest.resolve(), Path(scratch))
        judged = _judge(tasks, processes, tell)
    elapsed_s = time.monotonic() - began
    result = MutantsResult(judged=judged, elapsed_s=elapsed_s, defined=len(every))
    (out / "mutants.txt").write_text(matrix_text(result), encoding="utf-8")
    return result


def _drawn(mutants: tuple[Mutant, ...], live_max: int | None, seed: int) -> tuple[Mutant, ...]:
    """Leave out all mutants that migrate live but `live_max` of them."""
    live = [mutant.name for mutant in mutants if mutant.live is not None]
    if live_max is None or live_max >= len(live):
        return mutants
    kept = random.Random(f"mutants {seed}").sample(live, live_max)  # noqa: S311 - drawn again
    return tuple(mutant for mutant in mutants if mutant.live is None or mutant.name in kept)


def _tasks(
    mutants: Sequence[Mutant], directory: Path, manifest: Path, scratch: Path
) -> list[_Task]:
    """Plant the mutants; the controls of every story come first."""
    recipes = {
        name: Recipe.load(directory / f"fixture-{name}.yaml")
        for name in dict.fromkeys(mutant.fixture for mutant in mutants)
    }
    stories = {mutant.story: mutant for mutant in reversed(mutants)}
    tasks: list[_Task] = []
    for number, mutant in enumerate((*stories.values(), *mutants)):
        own, control = scratch / f"{number}", number < len(stories)
        tasks.append(
            _Task(
                mutant=mutant,
                control=control,
                manifest=manifest if control else plant(mutant, manifest.parent, own / "candidate"),
                recipe=recipes[mutant.fixture],
                directory=own,
            )
        )
    return tasks


def _judge(tasks: list[_Task], processes: int, tell: Tell) -> tuple[Judged, ...]:
    """Play every candidate, each in one of `processes`; the first bad control ends it all."""
    if processes < 2:
        return _heard(tasks, map(_run_one, tasks), tell)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=processes, mp_context=context) as pool:
        try:
            return _heard(tasks, pool.map(_run_one, tasks), tell)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _heard(tasks: list[_Task], results: Iterable[_Result], tell: Tell) -> tuple[Judged, ...]:
    judged: list[Judged] = []
    for task, (caught, digest, elapsed_s) in zip(tasks, results, strict=True):
        if task.control:
            _must_be_valid(caught, task.mutant)
            continue
        one = Judged(mutant=task.mutant, caught=caught, digest=digest, elapsed_s=elapsed_s)
        judged.append(one)
        by, mark = ", ".join(caught) or "SURVIVED", "ok" if caught else "bad"
        tell(Happening(text=f"{task.mutant.name}: {by}", mark=mark, elapsed_s=elapsed_s))
    return tuple(judged)


def _must_be_valid(caught: dict[str, tuple[str, ...]], mutant: Mutant) -> None:
    if caught:
        found = "; ".join(f"{name}: {', '.join(rules)}" for name, rules in caught.items())
        raise BadInputError(
            f"the unbroken candidate is not valid on the mutants' fixture {mutant.fixture!r}, as"
            f" the mutant `{mutant.name}` is played ({found}), so no mutant can be judged; make it"
            " valid first"
        )


def _run_one(task: _Task) -> _Result:
    """Play one candidate and return the error rules by check; its files are removed.

    What `apply` left is judged first. Only where nothing is wrong with that, and always for a
    control, is it applied again and rolled back. One whose services are tried, or that migrates
    live, is judged by that alone.
    """
    began = time.monotonic()
    mutant = task.mutant
    scenario = Scenario(
        name=mutant.name,
        description=mutant.breaks,
        fixture=FixtureSource(
            profile=task.recipe.profile,
            seed=task.recipe.seed,
            scale=task.recipe.scale,
            hazards=task.recipe.hazards,
        ),
        path=mutant.defined_in,
        candidate=task.manifest,
    )
    if mutant.live is not None:
        result = play(replace(scenario, live=mutant.live), task.directory / "play")
    elif mutant.trial is not None:
        tried = replace(scenario, checkers=(), trial=mutant.trial)
        result = play(tried, task.directory / "play")
    else:
        result = _migrated(task, scenario)
    shutil.rmtree(task.directory, ignore_errors=True)
    return _caught(result), result.applied_digest, time.monotonic() - began


def _migrated(task: _Task, scenario: Scenario) -> RunResult:
    mutant = task.mutant
    result = play(
        scenario if task.control else replace(scenario, checkers=_OF_THE_APPLIED),
        task.directory / "play",
    )
    if not task.control and _caught(result):
        return result
    interrupted = bool(mutant.rollback_from or mutant.kill)
    more = replace(
        scenario,
        checkers=_OF_THE_REST,
        rollback_from=mutant.rollback_from,
        kills=(Kill(during="apply", at=mutant.kill, when=("before", "after")),)
        if mutant.kill
        else (),
    )
    rest = play(more, task.directory / "more", thorough=not interrupted)
    return replace(result, results=(*result.results, *rest.results))


def _caught(result: RunResult) -> dict[str, tuple[str, ...]]:
    """Return the rules of the errors by check."""
    caught: dict[str, tuple[str, ...]] = {}
    for check in result.results:
        rules = {f.rule for f in check.findings if f.severity is Severity.ERROR}
        if check.verdict is Verdict.INVALID:
            caught[check.checker] = tuple(sorted(rules))
    return caught


def matrix_text(result: MutantsResult) -> str:
    """Return the matrix mutant × checker as a table of text, with the rate behind it."""
    columns = [name for name in CHECKER_NAMES if any(name in one.caught for one in result.judged)]
    width = max((len(one.mutant.name) for one in result.judged), default=6)
    lines = ["  ".join(["mutant".ljust(width), *columns])]
    for one in sorted(result.judged, key=lambda one: (bool(one.caught), one.mutant.name)):
        marks = [("x" if name in one.caught else "·").center(len(name)) for name in columns]
        note = "" if one.caught else f"  SURVIVED: {one.mutant.breaks}"
        lines.append("  ".join([one.mutant.name.ljust(width), *marks]).rstrip() + note)
    count = len(result.judged)
    drawn = f", of {result.defined} defined" if result.defined > count else ""
    lines.append(f"{len(result.killed)} of {count} mutants caught ({result.rate:.0%}){drawn}")
    return "\n".join(lines) + "\n"
