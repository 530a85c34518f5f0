"""Pages of approvals for tests: approved, half approved, refused, hostile, not to be relied on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import approved_reports
import report_inputs
from approved_reports import NOW, POLICY, Office
from report_inputs import HOSTILE

from harness.approval.page import render_approvals


def _one(office: Office) -> None:
    office.approve("ann")


def _two(office: Office) -> None:
    office.approve("ann")
    office.approve("bob", at="2026-01-02T03:45:00Z")


def _refused(office: Office) -> None:
    """Two approvals, of which one does not count, a foreign one, and demands that nothing meets."""
    policy = copy.deepcopy(POLICY)
    policy["report"] |= {"age_hours_max": 0.5, "checkers": {"leaks": {"examined_min": 1}}}
    policy["gate"] |= {"scenarios": ["hazard-03", "disk-full"]}
    office.write_policy(policy)
    _two(office)
    office.write_keys(bob={"revoked_at": "2026-01-02T03:50:00Z", "revoked_because": "stolen"})
    (office.report / "approvals" / "scribble.json").write_text("no envelope")


def _hostile(office: Office) -> None:
    """A title, a reason and an owner that would like to be markup."""
    office.write_keys(ann={"owner": HOSTILE.replace("\x00", "").replace("\x1b", "")})
    office.approve("ann", reason=HOSTILE)
    office.approve("eve", reason=HOSTILE, role="tester")


def _unreliable(office: Office) -> None:
    _two(office)
    page = office.report / "report.html"
    page.write_bytes(page.read_bytes() + b" ")


SITUATIONS: dict[str, Callable[[Office], object]] = {
    "approved": _two,
    "half approved": _one,
    "refused": _refused,
    "hostile": _hostile,
    "nobody": lambda _office: None,
    "unreliable": _unreliable,
}


def make(root: Path) -> dict[str, str]:
    """Return each page as text, made in `root`."""
    office = approved_reports.make(root / "office")
    (root / "hostile").mkdir()
    strange = approved_reports.make(
        root / "hostile" / "office", replace(report_inputs.rehearsal(), title=HOSTILE)
    )
    pages = {}
    for number, (name, situation) in enumerate(SITUATIONS.items()):
        one = (strange if name == "hostile" else office).copy_to(root / f"{number}")
        situation(one)
        pages[name] = render_approvals(one.judge(), one.report, now=NOW)
    return pages
