"""Mutants: the candidate broken on purpose in many ways, each of which the gate must catch.

A definition names a file of the candidate, a piece of its text and what takes its place. The
mutant is a patched copy of the candidate; it is run and judged like any other. The checkers do
not know the mutants: where one survives, a checker is missing something.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.errors import BadInputError
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.generators.plan import working_directory
from harness.judge import CHECKER_NAMES
from harness.model import Severity, Verdict
from harness.progress import Happening, Tell, nobody
from harness.report.model import Mutant as ReportedMutant
from harness.report.model import MutantMatrix
from harness.run import RunResult, rehearse
from harness.suggest import unknown_key

__all__ = [
    "DEFINITIONS",
    "Judged",
    "Mutant",
    "MutantsResult",
    "load_mutants",
    "matrix_text",
    "plant",
    "run_mutants",
]

DEFINITIONS = Path(__file__).resolve().parent.parent / "tests" / "mutants"
"""Where the mutants' definitions lie, several in a YAML file."""

_KEYS = ("name", "breaks", "file", "find", "replace", "fixture", "until", "expect")
_REQUIRED = ("name", "breaks", "file", "find", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One way to break the candidate. `file` is relative to the folder of its manifest.

    `find` stands exactly once in `file`. `fixture` names a recipe file in the definitions'
    folder; `until` is the last phase that is applied; `expect` are checks of which one must
    catch it, where it matters which.
    """

    name: str
    breaks: str
    file: str
    find: str
    replace: str
    defined_in: Path
    fixture: str = "default"
    until: str = "cleanup"
    expect: tuple[str, ...] = ()


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


def load_mutants(directory: Path = DEFINITIONS) -> tuple[Mutant, ...]:
    """Read every definition in `directory`; BadInputError names file and mutant."""
    files = sorted(path for path in directory.glob("*.yaml") if not path.stem.startswith("fixture"))
    mutants = [mutant for path in files for mutant in _load(path)]
    if not mutants:
        raise BadInputError(f"{directory} holds no mutants: name a folder with definitions")
    seen: dict[str, Path] = {}
    for mutant in mutants:
        if mutant.name in seen:
            raise BadInputError(
                f"{mutant.defined_in}: the mutant `{mutant.name}` is defined in"
                f" {seen[mutant.name]} too; give it another name"
            )
        seen[mutant.name] = mutant.defined_in
    return tuple(mutants)


def _load(path: Path) -> Iterable[Mutant]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, list):
        raise BadInputError(f"{path} must be a list of mutants")
    for number, given in enumerate(document, start=1):
        yield _mutant(given, path, number)


def _mutant(given: Any, path: Path, number: int) -> Mutant:
    if not isinstance(given, dict):
        raise BadInputError(f"{path}: mutant {number} must be a mapping of keys")
    name = str(given.get("name", number))
    for key in given:
        if key not in _KEYS:
            raise BadInputError(f"{path}: mutant `{name}`: {unknown_key(key, _KEYS)}")
    for key in _REQUIRED:
        if not isinstance(given.get(key), str) or (key != "replace" and not given[key]):
            raise BadInputError(f"{path}: mutant `{name}` needs the text `{key}`")
    expect = tuple(str(check) for check in given.get("expect", ()))
    for check in expect:
        if check not in CHECKER_NAMES:
            raise BadInputError(f"{path}: mutant `{name}` expects an unknown check `{check}`")
    texts = {key: str(given[key]) for key in (*_REQUIRED, "fixture", "until") if key in given}
    return Mutant(**texts, expect=expect, defined_in=path)


def plant(mutant: Mutant, package: Path, out: Path) -> Path:
    """Copy the candidate's folder `package` into `out`, patched, and return its manifest.

    BadInputError where the definition is stale (its text is not there exactly once) or changes
    nothing.
    """
    source = package / mutant.file
    where = f"{mutant.defined_in}: mutant `{mutant.name}`"
    if not source.is_file():
        raise BadInputError(f"{where} is stale: there is no file {source}")
    text = source.read_text(encoding="utf-8")
    count = text.count(mutant.find)
    if count != 1:
        raise BadInputError(
            f"{where} is stale: its `find` stands {count} times in {mutant.file}, not once;"
            " follow the candidate's text"
        )
    if mutant.find == mutant.replace:
        raise BadInputError(f"{where} is no mutant: `find` and `replace` are the same")
    copy = out / package.name
    shutil.copytree(package, copy)
    patched = text.replace(mutant.find, mutant.replace)
    if source.suffix == ".py":
        try:
            compile(patched, mutant.file, "exec")
        except SyntaxError as error:
            raise BadInputError(f"{where} is no program: {error}") from error
    (copy / mutant.file).write_text(patched, encoding="utf-8")
    manifest = copy / "candidate.yaml"
    document = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    document["pythonpath"] = [".."]
    manifest.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One mutant to run, or the unbroken candidate where it is None, on a fixture that stands."""

    mutant: Mutant | None
    manifest: Path
    fixture: Path
    until: str
    directory: Path


def run_mutants(
    directory: Path = DEFINITIONS,
    *,
    out: Path,
    manifest: Path = DEFAULT_MANIFEST,
    only: Sequence[str] = (),
    processes: int = 2,
    tell: Tell = nobody,
) -> MutantsResult:
    """Run every mutant defined in `directory` and say which checkers caught it.

    `out` gets the matrix as text. The unbroken candidate is run on every fixture too: it must be
    valid there, or no mutant could be judged, which is a BadInputError.
    """
    began = time.monotonic()
    mutants = tuple(m for m in load_mutants(directory) if not only or m.name in only)
    for name in only:
        if name not in {mutant.name for mutant in mutants}:
            raise BadInputError(f"there is no mutant `{name}` in {directory}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=working_directory(), prefix="mutants-") as scratch:
        tasks = _tasks(mutants, directory, manifest.resolve(), Path(scratch))
        judged = _judge(tasks, processes, tell)
    result = MutantsResult(judged=judged, elapsed_s=time.monotonic() - began)
    (out / "mutants.txt").write_text(matrix_text(result), encoding="utf-8")
    return result


def _tasks(
    mutants: Sequence[Mutant], directory: Path, manifest: Path, scratch: Path
) -> list[_Task]:
    tasks: list[_Task] = []
    for fixture in dict.fromkeys(mutant.fixture for mutant in mutants):
        recipe = directory / f"fixture-{fixture}.yaml"
        build(Recipe.load(recipe), scratch / "fixtures" / fixture)
    control: dict[tuple[str, str], None] = dict.fromkeys((m.fixture, m.until) for m in mutants)
    for number, (fixture, until) in enumerate(control):
        tasks.append(
            _Task(
                mutant=None,
                manifest=manifest,
                fixture=scratch / "fixtures" / fixture,
                until=until,
                directory=scratch / f"control-{number}",
            )
        )
    for number, mutant in enumerate(mutants):
        own = scratch / f"mutant-{number}"
        tasks.append(
            _Task(
                mutant=mutant,
                manifest=plant(mutant, manifest.parent, own / "candidate"),
                fixture=scratch / "fixtures" / mutant.fixture,
                until=mutant.until,
                directory=own,
            )
        )
    return tasks


def _judge(tasks: list[_Task], processes: int, tell: Tell) -> tuple[Judged, ...]:
    judged: list[Judged] = []
    with contextlib.ExitStack() as stack:
        if processes > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(
                ProcessPoolExecutor(max_workers=processes, mp_context=context)
            )
            results = pool.map(_run_one, tasks)
        else:
            results = map(_run_one, tasks)
        for task, (caught, digest, elapsed_s) in zip(tasks, results, strict=True):
            if task.mutant is None:
                _must_be_valid(caught, task)
                continue
            one = Judged(mutant=task.mutant, caught=caught, digest=digest, elapsed_s=elapsed_s)
            judged.append(one)
            by = ", ".join(caught) or "SURVIVED"
            tell(
                Happening(
                    text=f"{task.mutant.name}: {by}",
                    mark="ok" if caught else "bad",
                    elapsed_s=elapsed_s,
                )
            )
    return tuple(judged)


def _must_be_valid(caught: dict[str, tuple[str, ...]], task: _Task) -> None:
    if caught:
        found = "; ".join(f"{name}: {', '.join(rules)}" for name, rules in caught.items())
        raise BadInputError(
            f"the unbroken candidate is not valid on the mutants' fixture {task.fixture.name}"
            f" (until {task.until}: {found}), so no mutant can be judged; make it valid first"
        )


def _run_one(task: _Task) -> tuple[dict[str, tuple[str, ...]], str | None, float]:
    """Rehearse one candidate and return the error rules by checker; its files are removed."""
    began = time.monotonic()
    candidate = Candidate.load(task.manifest)
    result = rehearse(task.fixture, candidate, task.directory / "run", until=task.until)
    shutil.rmtree(task.directory, ignore_errors=True)
    return _caught(result, task.mutant), result.applied_digest, time.monotonic() - began


def _caught(result: RunResult, mutant: Mutant | None) -> dict[str, tuple[str, ...]]:
    caught: dict[str, tuple[str, ...]] = {}
    for check in result.results:
        rules = {f.rule for f in check.findings if f.severity is Severity.ERROR}
        if check.verdict is Verdict.INVALID:
            caught[check.checker] = tuple(sorted(rules))
    if mutant is not None and mutant.expect and not set(mutant.expect) & set(caught):
        return {}
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
    lines.append(f"{len(result.killed)} of {count} mutants caught ({result.rate:.0%})")
    return "\n".join(lines) + "\n"
