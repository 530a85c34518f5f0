"""Shows what stands for and against a report as one page: demands, signatures, what they bind.

The page is a view of one moment. What counts is what `harness verify` says: it looks anew.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.approval.counting import Seen
from harness.approval.demands import Demand
from harness.approval.judge import Judged
from harness.approval.statement import FOLDER, Approval, SignedReport
from harness.errors import BadInputError
from harness.model import Finding, Severity, Verdict
from harness.report import load
from harness.report.covered import meaning
from harness.report.files import write_atomically
from harness.report.page import render

__all__ = ["PAGE", "refuse_page", "render_approvals", "write_page"]

PAGE = "approvals.html"
_HEADLINES = {
    Verdict.VALID: (
        "This report may begin a cutover.",
        "It is what the policy demands, and enough persons have approved it.",
    ),
    Verdict.UNKNOWN: (
        "It is not known whether this report may begin a cutover.",
        "Nothing stands against it, but not everything was at hand to be compared.",
    ),
    Verdict.INVALID: (
        "This report may not begin a cutover.",
        "Each reason stands below, in the words of harness verify.",
    ),
}


def write_page(path: Path, judged: Judged, report: Path, *, now: datetime | None = None) -> Path:
    """Write the page of what was judged of the report in the folder `report`; return its path."""
    page = render_approvals(judged, report, now=now or datetime.now(UTC))
    return write_atomically(path, page.encode())


def refuse_page(path: Path, folders: Iterable[Path]) -> None:
    """Raise BadInputError where a page at `path` would stand in the place of something else.

    `folders` are those of signed reports, in which only `approvals/` may change.
    """
    if path.suffix != ".html":
        raise BadInputError(f"--page {path} is no page's name; name a file that ends with .html")
    for folder in folders:
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and path.resolve().parent != folder.resolve() / FOLDER:
            raise BadInputError(
                f"--page {path} lies in the report {folder}, which is signed as it is; name a file"
                f" elsewhere, or in {folder / FOLDER}"
            )


def render_approvals(judged: Judged, report: Path, *, now: datetime) -> str:
    """Return the page; `report` is the report's folder as it was named."""
    result, asked = judged.result, judged.asked
    title, sentence = _HEADLINES[result.verdict]
    policy = asked.policy
    return render(
        "approvals.html.j2",
        verdict=result.verdict.value,
        headline=title,
        sentence=sentence,
        at=_moment(now),
        folder=str(report),
        report=_report(judged.report),
        gate=None if judged.gate is None else _report(judged.gate),
        policy={
            "path": str(policy.path),
            "version": policy.version,
            "digest": policy.digest,
            "signed_by": policy.report.signed_by,
        },
        keys={"path": str(asked.ring.path), "version": asked.ring.version},
        used=None if asked.used is None else str(asked.used),
        demands=[_shown(demand) for demand in judged.demands],
        against=[_told(one) for one in result.findings if one.severity is not Severity.NOTE],
        notes=[_told(one) for one in result.findings if one.severity is Severity.NOTE],
        recomputed=result.details.get("recomputed", []),
        signatures=[_signature(seen) for seen in (judged.counted.seen if judged.counted else ())],
        was_counted=judged.counted is not None,
        does_not_verify=result.does_not_verify,
        command=_command(judged, report),
    )


def _command(judged: Judged, report: Path) -> str:
    """Return the line that asks anew."""
    asked = judged.asked
    words = ["harness", "verify", str(report), "--policy", str(asked.policy.path)]
    words += ["--keys", str(asked.ring.path)]
    for option, path in (("--gate", asked.gate), ("--used", asked.used)):
        words += [] if path is None else [option, str(path)]
    return f"{shlex.join(words)} --before ROOT --candidate CANDIDATE"


def _report(report: SignedReport | None) -> dict[str, Any] | None:
    """Return what is told of a report whose signature holds."""
    if report is None:
        return None
    says = report.says
    return {
        "title": says["title"],
        "verdict": says["verdict"],
        "kind": says["kind"],
        "profile": says["profile"],
        "finished_at": says["finished_at"],
        "digest": report.digest,
        "nonce": says["nonce"],
        "evidence": says["evidence"]["root"],
        "page": str(report.folder / load(report.folder)["report"]),
        "bound": _bound(report.bound),
    }


def _bound(digests: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"name": name, "means": meaning(name), "digest": digest}
        for name, digest in sorted(digests.items())
    ]


def _shown(demand: Demand) -> dict[str, Any]:
    return {
        "of": demand.of,
        "wanted": demand.wanted,
        "found": demand.found,
        "lacking": [finding.cause for finding in demand.lacking],
    }


def _told(finding: Finding) -> dict[str, str]:
    return {"severity": finding.severity.value, "rule": finding.rule, "cause": finding.cause}


def _signature(seen: Seen) -> dict[str, Any]:
    """Return one approval; of one that no known key signed, its file's name and why alone."""
    shown: dict[str, Any] = {"file": seen.name, "objection": seen.objection, "says": None}
    if seen.approval is not None:
        shown["says"] = _says(seen.approval)
    return shown


def _says(approval: Approval) -> dict[str, Any]:
    says = approval.says
    return {
        "person": approval.signer.owner,
        "role": approval.role,
        "reason": says["reason"],
        "at": says["approved_at"],
        "key": approval.signer.key.keyid,
        "digest": approval.digest,
        "subjects": sorted(approval.subjects.items()),
        "policy": says["policy"],
        "keys_version": says["keys_version"],
        "nonce": says["report_nonce"],
        "bound": _bound(says["bound"]),
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
