"""The pytest plugin: a scenario file is played once and yields one test item for each checker.

Files below the folders of the ini option `scenario_paths` are collected, and any that is named on
the command line. Under pytest-xdist use `--dist loadfile`, so that a scenario is played by one
worker only (pytest-xdist 3.8 does not see groups with pytest 9.2).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.model import CheckResult, Finding
    from harness.run import RunResult
    from harness.scenario import Scenario

__all__ = ["ScenarioFile", "ScenarioItem"]

_EXPECTATION = "expectation"
_SHOWN_FINDINGS = 10
_runs: dict[Path, RunResult | Exception] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the folders to collect from, and how much is played."""
    parser.addini(
        "scenario_paths", "Folders of scenario files.", type="paths", default=["scenarios"]
    )
    parser.addoption(
        "--scenario-profile",
        choices=("quick", "full"),
        default="quick",
        help="quick leaves out slow scenarios; full judges what is resumed by every checker",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take a YAML file that is named, or that lies where scenarios do."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    config = parent.config
    folders = [config.rootpath / folder for folder in config.getini("scenario_paths")]
    lies_there = any(folder in file_path.parents for folder in folders)
    if not lies_there and not parent.session.isinitpath(file_path):
        return None
    return ScenarioFile.from_parent(parent, path=file_path)


class ScenarioFile(pytest.File):
    """One scenario."""

    def collect(self) -> Iterator[ScenarioItem]:
        """Yield an item for each check that the scenario makes."""
        from harness.errors import HarnessError  # noqa: PLC0415 - plain test runs need none of it
        from harness.scenario import Scenario  # noqa: PLC0415

        try:
            scenario = Scenario.load(self.path)
            names = _checks(scenario)
        except HarnessError as error:
            raise self.CollectError(str(error)) from error
        full = self.config.getoption("--scenario-profile") == "full"
        if scenario.slow and not full and not self.session.isinitpath(self.path):
            return
        for name in names:
            yield ScenarioItem.from_parent(self, name=name, scenario=scenario)


def _checks(scenario: Scenario) -> list[str]:
    """Return the names of the items: one a check, or one for all where no success is expected."""
    from harness.candidate import DEFAULT_MANIFEST, Candidate  # noqa: PLC0415
    from harness.judge import CHECKER_NAMES, checks_of_live, chosen_checkers  # noqa: PLC0415

    if scenario.live is not None:
        return [name for name in CHECKER_NAMES if name in checks_of_live(scenario.live)]
    chosen = chosen_checkers(
        scenario.checkers,
        Candidate.load(scenario.candidate or DEFAULT_MANIFEST),
        scenario.trial,
    )
    if scenario.expect.verdict != "valid" or scenario.expect.rules:
        return [_EXPECTATION]
    interrupted = bool(scenario.kills or scenario.rollback_from)
    return [
        name for name in CHECKER_NAMES if name in chosen and (name != "convergence" or interrupted)
    ]


def _worst(run: RunResult, name: str) -> CheckResult | None:
    """Return the worst result of a check, which may be made several times, or None."""
    made = [check for check in run.results if check.checker == name]
    return max(made, key=lambda c: (c.verdict.rank, c.not_examined is None), default=None)


class ScenarioItem(pytest.Item):
    """One check of one scenario."""

    def __init__(self, *, scenario: Scenario, **given: Any) -> None:
        """Belong to `scenario`."""
        super().__init__(**given)
        self.scenario = scenario

    def runtest(self) -> None:
        """Play the scenario, where that was not done yet, and fail if this check does."""
        run = self._run()
        if self.name == _EXPECTATION:
            if run.met is False or (run.met is None and run.verdict.value != "valid"):
                raise ScenarioFailure(_unmet(run))
            return
        check = _worst(run, self.name)
        if check is None:
            raise ScenarioFailure(_not_judged(run, self.name))
        if check.not_examined is not None:
            text = f"{self.scenario.name} was not examined: {check.not_examined}"
            warnings.warn(text, stacklevel=1)
            return
        if check.verdict.value != "valid":
            raise ScenarioFailure(_described(check, run))

    def _run(self) -> RunResult:
        known = _runs.get(self.path)
        if known is None:
            known = _runs[self.path] = self._play()
        if isinstance(known, Exception):
            raise known
        return known

    def _play(self) -> RunResult | Exception:
        from harness.play import played_aside  # noqa: PLC0415

        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        out = self.config.rootpath / "reports" / "scenarios" / worker / self.scenario.name
        full = self.config.getoption("--scenario-profile") == "full"
        try:
            with played_aside(self.scenario, out, thorough=full) as result:
                pass
        except Exception as error:  # it is every item's failure, and the scenario is played once
            return error
        return replace(result, out=out)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None
    ) -> str | Any:
        """Show findings, or one sentence where the environment is at fault; internals otherwise."""
        from harness.errors import HarnessError  # noqa: PLC0415

        if isinstance(excinfo.value, ScenarioFailure | HarnessError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return how the item is named in the output."""
        return self.path, None, f"{self.scenario.name}: {self.name}"


class ScenarioFailure(Exception):  # noqa: N818 - it is what a test run calls it
    """A check that is not valid, in words."""


def _finding(finding: Finding) -> str:
    place = ".".join(part for part in (finding.database, finding.table, finding.column) if part)
    lines = [f"{finding.rule}: {finding.cause}"]
    if place or finding.key is not None:
        key = "" if finding.key is None else f" key {finding.key}"
        lines.append(f"  at        {place}{key}")
    if finding.expected is not None or finding.actual is not None:
        lines += [f"  expected  {finding.expected}", f"  actual    {finding.actual}"]
    return "\n".join(lines)


def _described(check: CheckResult, run: RunResult) -> str:
    errors = [f for f in check.findings if f.severity.value == "error"]
    lines = [_finding(finding) for finding in errors[:_SHOWN_FINDINGS]]
    if len(errors) > _SHOWN_FINDINGS:
        lines.append(f"… and {len(errors) - _SHOWN_FINDINGS} more")
    if check.verdict.value == "unknown":
        lines.append(f"{check.checker} examined nothing, and what is unknown is not valid")
    return "\n".join([*lines, *_tail(run)])


def _not_judged(run: RunResult, name: str) -> str:
    causes = [_finding(f) for f in run.findings if f.severity.value == "error"]
    return "\n".join([f"{name} could not be judged:", *causes[:_SHOWN_FINDINGS], *_tail(run)])


def _unmet(run: RunResult) -> str:
    found = sorted({f.rule for f in run.findings})
    said = f"expected that it {run.expectation}; it is {run.outcome.value}"
    return "\n".join([said + (f" with {', '.join(found)}" if found else ""), *_tail(run)])


def _tail(run: RunResult) -> list[str]:
    return [f"databases: {run.out}", f"again:     {run.replay}"]
