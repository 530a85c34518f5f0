"""A report's figures as `name=value` lines, the form in which CI systems take a job's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.report.words import examined_rows, felt, summary_line

__all__ = ["outputs"]


def outputs(document: Mapping[str, Any], *, folder: str) -> dict[str, str]:
    """Return the figures by name, each on one line; `folder` is where the report lies.

    `mutants-…` are empty where no mutant was tried, and `load-…` where no run had a load.
    """
    rows, lines = examined_rows(document)
    matrix = document["mutants"] or {"caught": "", "tried": ""}
    loads = felt(document)
    gaps = [load["gap_ms_max"] for load in loads if load["gap_ms_max"] is not None]
    severities = [finding["severity"] for finding in document["findings"]]
    page = f"{folder}/{document['report']}"
    return {
        "verdict": document["verdict"],
        "line": " ".join(summary_line(document, page).split()),
        "report": page,
        "sarif": f"{folder}/report.sarif",
        "errors": str(severities.count("error")),
        "warnings": str(severities.count("warning")),
        "rows": str(rows),
        "log-lines": str(lines),
        "load-requests": str(sum(load["requests"] for load in loads)) if loads else "",
        "load-failed": str(sum(load["failed"] for load in loads)) if loads else "",
        "load-gap-ms-max": str(max(gaps)) if gaps else "",
        "mutants-caught": str(matrix["caught"]),
        "mutants-tried": str(matrix["tried"]),
    }
