"""Renders the report as SARIF 2.1.0, for code scanning: findings beside the lines of a change.

A finding is about a row, not about a line of code. Its physical location is the file that shows it
again (the scenario's), its logical one the database, table and column; the row is in the message.
Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.report.words import place

__all__ = ["render_sarif"]

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_RESULTS_MAX = 5_000  # what code scanning shows of one upload
_LEVELS = {"error": "error", "warning": "warning", "note": "note"}


def render_sarif(document: Mapping[str, Any]) -> bytes:
    """Return the document as SARIF in UTF-8: a result for all that is not valid, errors first."""
    found = sorted(_results(document), key=lambda result: list(_LEVELS).index(result["level"]))
    kept = found[:_RESULTS_MAX]
    rules = sorted({result["ruleId"] for result in kept})
    run = {
        "tool": {
            "driver": {
                "name": "harness",
                "version": document["versions"]["harness"],
                "rules": [{"id": rule, "name": _name(rule)} for rule in rules],
            }
        },
        "automationDetails": {"id": f"{document['kind']}/{document['profile'] or 'one'}/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(document, left_out=len(found) - len(kept))],
        "results": kept,
    }
    rendered = json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)
    return rendered.encode() + b"\n"


def _name(rule: str) -> str:
    """Return a rule in Pascal case, as SARIF asks: `rows/value-changed`, `RowsValueChanged`."""
    return "".join(word.capitalize() for word in rule.replace("/", "-").split("-"))


def _invocation(document: Mapping[str, Any], *, left_out: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "executionSuccessful": document["verdict"] != "unknown",
        "startTimeUtc": document["started_at"],
        "endTimeUtc": document["finished_at"],
    }
    told = [("warning", f"Not examined: {what}.") for what in document["not_examined"]]
    if left_out:
        told.append(("note", f"{left_out:,} more results are in report.json"))
    if told:
        made["toolExecutionNotifications"] = [
            {"level": level, "message": {"text": text}} for level, text in told
        ]
    return made


def _results(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    files = {run["name"]: run["file"] for run in document["runs"]}
    for finding in document["findings"]:
        yield _result(
            rule=finding["rule"],
            level=_LEVELS[finding["severity"]],
            text=_told(finding),
            file=files.get(finding["run"]) or document["manifest"],
            logical=_logical(finding),
            where=[finding["run"], place(finding)],
        )
    for what in (*_unexamined(document), *_survivors(document), *_broken(document)):
        yield _result(**what)


def _result(
    *,
    rule: str,
    level: str,
    text: str,
    file: str,
    where: Iterable[str],
    logical: Iterable[dict[str, str]] = (),
) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": file}, "region": {"startLine": 1}}
    }
    if named := list(logical):
        location["logicalLocations"] = named
    same = hashlib.sha256("\0".join((rule, file, *where)).encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"placeOfFinding/v1": same},
    }


def _told(finding: Mapping[str, Any]) -> str:
    where = place(finding)
    lines = [f"{where}: {finding['cause']}" if where else finding["cause"]]
    lines += [
        f"{label}: {finding[label]}"
        for label in ("expected", "actual", "replay")
        if finding[label] is not None
    ]
    return "\n".join(lines)


def _logical(finding: Mapping[str, Any]) -> list[dict[str, str]]:
    names = [finding[part] for part in ("database", "table", "column") if finding[part]]
    return [{"fullyQualifiedName": ".".join(names), "kind": "member"}] if names else []


def _unexamined(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for run in document["runs"]:
        for check in run["checks"]:
            if check["verdict"] == "unknown":
                yield {
                    "rule": "gate/nothing-examined",
                    "level": "error",
                    "text": f"{check['checker']} examined nothing in {run['name']}",
                    "file": run["file"] or document["manifest"],
                    "where": [run["name"], check["checker"]],
                }


def _survivors(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    matrix = document["mutants"]
    for mutant in matrix["mutants"] if matrix else ():
        if not mutant["caught"]:
            yield {
                "rule": "gate/mutant-survived",
                "level": "error",
                "text": f"no checker caught the mutant {mutant['name']}: {mutant['summary']}",
                "file": document["manifest"],
                "where": [mutant["name"]],
            }


def _broken(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the crash points, generated databases and built fixtures that came out wrong."""
    crashes, alarms = document["crash_points"], document["false_alarms"]
    told = [
        ("gate/not-converged", f"{point['phase']}/{point['step']}: {point['text']}")
        for point in (crashes["points"] if crashes else ())
        if not point["converged"]
    ]
    for campaign in document["campaigns"]:
        told += [("gate/property-broken", line) for line in campaign["failures"]]
    told += [("gate/false-alarm", line) for line in (alarms["alarms"] if alarms else ())]
    for rule, text in told:
        yield {
            "rule": rule,
            "level": "error",
            "text": text,
            "file": document["manifest"],
            "where": [text],
        }
