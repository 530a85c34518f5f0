"""Renders the report as JUnit XML: one test case for each run and checker, and each mutant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

__all__ = ["render_junit", "xml_text"]

# All that XML 1.0 has no way to say, not even escaped: https://www.w3.org/TR/xml/#charsets
_UNSAYABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xml_text(text: str) -> str:
    """Return `text` with what XML cannot hold written out, such as `\\x00`."""
    return _UNSAYABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def render_junit(document: Mapping[str, Any]) -> bytes:
    """Return the document as JUnit XML in UTF-8: invalid is a failure, unknown an error."""
    root = ElementTree.Element("testsuites", name=xml_text(document["title"]))
    for run in document["runs"]:
        _suite(root, run["name"], document["started_at"], _run_cases(document, run))
    _suite(root, "mutants", document["started_at"], _mutant_cases(document["mutants"]))
    _suite(root, "properties", document["started_at"], _property_cases(document))
    _suite(root, "not examined", document["started_at"], _unexamined_cases(document))
    _suite(root, "crash points", document["started_at"], _crash_cases(document["crash_points"]))
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ElementTree.indent(root)
    rendered: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return rendered + b"\n"


def _suite(
    root: ElementTree.Element, name: str, started_at: str, cases: Iterable[ElementTree.Element]
) -> None:
    made = list(cases)
    if not made:
        return
    suite = ElementTree.SubElement(root, "testsuite", name=xml_text(name))
    suite.extend(made)
    suite.set("timestamp", started_at.removesuffix("Z"))
    suite.set("tests", str(len(made)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in made):.3f}")


def _case(
    *, group: str, name: str, verdict: str, elapsed_s: float, message: str, text: str = ""
) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase", classname=xml_text(group), name=xml_text(name), time=f"{elapsed_s:.3f}"
    )
    if verdict != "valid":
        kind = "failure" if verdict == "invalid" else "error"
        fault = ElementTree.SubElement(case, kind, type=verdict, message=xml_text(message))
        fault.text = xml_text(text)
    return case


def _run_cases(
    document: Mapping[str, Any], run: Mapping[str, Any]
) -> Iterable[ElementTree.Element]:
    for check in run["checks"]:
        found = [
            finding
            for finding in document["findings"]
            if (finding["run"], finding["checker"]) == (run["name"], check["checker"])
        ]
        errors = [finding for finding in found if finding["severity"] == "error"]
        message = errors[0]["cause"] if errors else "nothing was examined"
        if len(errors) > 1:
            message += f" (and {len(errors) - 1:,} more)"
        yield _case(
            group=run["name"],
            name=check["checker"],
            verdict=check["verdict"],
            elapsed_s=check["elapsed_s"],
            message=message,
            text="\n\n".join(map(_finding_text, found)),
        )
    checked = {check["verdict"] for check in run["checks"]}
    if run["verdict"] not in checked:  # what no checker says would otherwise not be told at all
        yield _case(
            group=run["name"],
            name="run",
            verdict=run["verdict"],
            elapsed_s=0.0 if run["checks"] else run["elapsed_s"],
            message=run["summary"] or f"the run is {run['verdict']}",
            text=run["replay"] or "",
        )


def _finding_text(finding: Mapping[str, Any]) -> str:
    lines = [f"{finding['severity']} {finding['rule']}: {finding['cause']}"]
    lines += [
        f"  {label}: {finding[label]}"
        for label in ("database", "table", "key", "column", "expected", "actual", "replay")
        if finding[label] is not None
    ]
    return "\n".join(lines)


def _mutant_cases(matrix: Mapping[str, Any] | None) -> Iterable[ElementTree.Element]:
    for mutant in matrix["mutants"] if matrix else ():
        yield _case(
            group="mutants",
            name=mutant["name"],
            verdict="valid" if mutant["caught"] else "invalid",
            elapsed_s=mutant["elapsed_s"],
            message="no checker caught this mutant",
            text=mutant["summary"],
        )


def _property_cases(document: Mapping[str, Any]) -> Iterable[ElementTree.Element]:
    for campaign in document["campaigns"]:
        yield _case(
            group="properties",
            name=campaign["claim"],
            verdict=campaign["verdict"],
            elapsed_s=campaign["elapsed_s"],
            message=f"{len(campaign['failures'])} of {campaign['examples']:,} examples failed",
            text="\n".join(campaign["failures"]),
        )
    alarms = document["false_alarms"]
    if alarms:
        yield _case(
            group="properties",
            name="no false alarm",
            verdict=alarms["verdict"],
            elapsed_s=alarms["elapsed_s"],
            message=f"{len(alarms['alarms'])} false alarms in {alarms['fixtures']:,} fixtures",
            text="\n".join(alarms["alarms"]),
        )


def _unexamined_cases(document: Mapping[str, Any]) -> Iterable[ElementTree.Element]:
    for what in document["not_examined"]:
        case = ElementTree.Element("testcase", classname="not examined", name=xml_text(what))
        ElementTree.SubElement(case, "skipped", message=xml_text(what))
        yield case


def _crash_cases(crashes: Mapping[str, Any] | None) -> Iterable[ElementTree.Element]:
    for number, point in enumerate(crashes["points"] if crashes else (), start=1):
        yield _case(
            group="crash points",
            name=f"{number}: {point['phase']}/{point['step']} {point['moment']}, {point['then']}",
            verdict="valid" if point["converged"] else "invalid",
            elapsed_s=0.0,
            message=point["text"] or "did not converge",
            text=point["replay"] or "",
        )
