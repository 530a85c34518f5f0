"""Turns a `ReportInput` into the JSON object of report.json: the truth that all else renders."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from harness.errors import InvariantError
from harness.model import CheckResult, Severity, Verdict, worst
from harness.report.model import (
    Benchmarks,
    CrashPoint,
    MutantMatrix,
    ReportInput,
    RunSection,
)

__all__ = ["FORMAT", "PAGE", "as_document", "plain"]

FORMAT = 1
PAGE = "report.html"


def as_document(run: ReportInput) -> dict[str, Any]:
    """Return the report as JSON values; `findings` are those of all runs, with run and checker."""
    _refuse_doubles("run", (section.name for section in run.runs))
    _refuse_doubles("subject", (subject.name for subject in run.subjects))
    document = {
        "format": FORMAT,
        "verdict": run.verdict,
        "findings": list(_findings(run)),
        "examined": _examined(run),
        "report": PAGE,
        "kind": run.kind,
        "title": run.title,
        "profile": run.profile,
        "candidate": run.candidate,
        "manifest": run.manifest,
        "left_out": run.left_out,
        "not_examined": run.not_examined,
        "checks": _checks(run),
        "runs": [_run(section) for section in run.runs],
        "mutants": _mutants(run.mutants),
        "campaigns": [
            {**asdict(c), "per_minute": round(c.per_minute, 1), "verdict": c.verdict}
            for c in run.campaigns
        ],
        "false_alarms": (
            {**asdict(run.false_alarms), "verdict": run.false_alarms.verdict}
            if run.false_alarms
            else None
        ),
        "crash_points": _crash_points(run.crash_points),
        "benchmarks": _benchmarks(run.benchmarks),
        "subjects": [asdict(subject) for subject in run.subjects],
        "seeds": run.seeds,
        "git": asdict(run.git) if run.git else None,
        "versions": run.versions,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "expires_at": run.expires_at,
        "nonce": run.nonce,
        "counter": run.counter,
        "vouching": asdict(run.vouching) if run.vouching else None,
    }
    made: dict[str, Any] = plain(document)
    return made


def plain(value: Any) -> Any:
    """Return `value` as JSON values that every reader takes: no NaN, no lone surrogates."""
    if isinstance(value, Mapping):
        return {_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> str | int | float | None:
    if isinstance(value, str | PurePath):
        return _text(str(value))
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    raise InvariantError(f"A report holds a {type(value).__name__}, which JSON cannot say.")


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _refuse_doubles(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InvariantError(f"A report names the {what} {name!r} {count} times.")


def _findings(run: ReportInput) -> Iterable[dict[str, Any]]:
    for section in run.runs:
        for result in section.results:
            for finding in result.findings:
                replay = finding.replay or section.replay
                yield {
                    **asdict(finding),
                    "replay": replay,
                    "run": section.name,
                    "checker": result.checker,
                }


def _examined(run: ReportInput) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for section in run.runs:
        for result in section.results:
            counts.setdefault(result.checker, Counter()).update(result.examined)
    return {checker: dict(counter) for checker, counter in counts.items()}


def _checks(run: ReportInput) -> list[dict[str, Any]]:
    by_checker: dict[str, list[CheckResult]] = {}
    # The run with most checks tells their order; the others may lack some.
    for section in sorted(run.runs, key=lambda section: -len(section.results)):
        for result in section.results:
            by_checker.setdefault(result.checker, []).append(result)
    examined = _examined(run)
    return [
        {
            "checker": checker,
            "verdict": worst(result.verdict for result in results),
            "runs": len(results),
            "verdicts": Counter(str(result.verdict) for result in results),
            "examined": examined[checker],
            "verifies": _said(result.verifies for result in results),
            "does_not_verify": _said(result.does_not_verify for result in results),
            **_severities(results),
            "elapsed_s": round(sum(result.elapsed_s for result in results), 3),
        }
        for checker, results in by_checker.items()
    ]


def _said(sentences: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence))


def _severities(results: Iterable[CheckResult]) -> dict[str, int]:
    counts = Counter(finding.severity for result in results for finding in result.findings)
    return {
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "notes": counts[Severity.NOTE],
    }


def _run(section: RunSection) -> dict[str, Any]:
    return {
        "name": section.name,
        "verdict": section.verdict,
        "summary": section.summary,
        "fixture": section.fixture,
        "seed": section.seed,
        "expectation": section.expectation,
        "elapsed_s": round(section.elapsed_s, 3),
        "replay": section.replay,
        "file": section.file,
        "checks": [_check(result) for result in section.results],
        "steps": [asdict(step) for step in section.steps],
        "ledger": asdict(section.ledger) if section.ledger else None,
        "residue": [asdict(residue) for residue in section.residue],
        "decisions": [asdict(decision) for decision in section.decisions],
    }


def _check(result: CheckResult) -> dict[str, Any]:
    return {
        "checker": result.checker,
        "verdict": result.verdict,
        "examined": result.examined,
        **_severities((result,)),
        "details": result.details,
        "elapsed_s": round(result.elapsed_s, 3),
    }


def _mutants(matrix: MutantMatrix | None) -> dict[str, Any] | None:
    if matrix is None:
        return None
    return {
        "checkers": matrix.checkers,
        "tried": len(matrix.mutants),
        "defined": matrix.defined or len(matrix.mutants),
        "caught": matrix.caught,
        "rate": round(matrix.rate, 4),
        "verdict": matrix.verdict,
        "mutants": [{**asdict(mutant), "caught": mutant.caught} for mutant in matrix.mutants],
    }


def _crash_points(points: tuple[CrashPoint, ...]) -> dict[str, Any] | None:
    if not points:
        return None
    converged = sum(point.converged for point in points)
    return {
        "tried": len(points),
        "converged": converged,
        "verdict": Verdict.VALID if converged == len(points) else Verdict.INVALID,
        "points": [asdict(point) for point in points],
    }


def _benchmarks(found: Benchmarks | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "measured_at": found.measured_at,
        "commit": found.commit,
        "slower": sum(row.ratio < 1 for row in found.rows),
        "rows": [{**asdict(row), "ratio": round(row.ratio, 2)} for row in found.rows],
        "figures": [asdict(figure) for figure in found.figures],
    }
