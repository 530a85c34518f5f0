"""Reports with a policy, a key file and persons who approve them, for the tests of approval."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import report_inputs
import signed_reports
import yaml

from harness import keys, report
from harness.approval import Asked, Judged, KeyRing, Policy, judge
from harness.approval.statement import SignedReport, sign_approval, statement_for
from harness.attest import attest
from harness.candidate import Candidate
from harness.keys import load_private
from harness.report import bind
from harness.report.model import ReportInput, Vouching
from harness.verify import Given

NOW = datetime(2026, 1, 2, 4, tzinfo=UTC)  # the reports are made at 03:04:09
AT = "2026-01-02T03:30:00Z"
PEOPLE = {
    "gate": ("Continuous integration", ["gate"]),
    "ann": ("Ann Archer", ["release-manager"]),
    "bob": ("Bob Baker", ["release-manager", "data-owner"]),
    "carl": ("Carl Cook", ["data-owner"]),
    "eve": ("Eve", ["tester"]),
}
POLICY: dict[str, Any] = {
    "version": 2,
    "report": {
        "signed_by": "gate",
        "age_hours_max": 24,
        "checkers": {"rows": {"examined_min": 100}, "ledger": {"examined_min": 1}},
    },
    "gate": {
        "age_hours_max": 72,
        "scenarios": ["hazard-03", "hazard-04"],
        "mutants": {"tried_min": 40, "rate_min": 1.0},
    },
    "approvals": {"age_hours_max": 12, "required": {"release-manager": 2}},
}


@dataclass(frozen=True, slots=True)
class Office:
    """A folder with a report, a gate's report, the tree, keys, key file, policy and candidate."""

    root: Path

    @property
    def report(self) -> Path:
        return self.root / "signed" / "report"

    @property
    def gate(self) -> Path:
        return self.root / "gate"

    @property
    def tree(self) -> Path:
        return self.root / "tree"

    @property
    def candidate(self) -> Path:
        return self.root / "signed" / "candidate" / "candidate.yaml"

    @property
    def policy(self) -> Path:
        return self.root / "policy.yaml"

    @property
    def keys(self) -> Path:
        return self.root / "keys.yaml"

    def private(self, person: str) -> Path:
        return self.root / "people" / person / keys.PRIVATE_NAME

    def copy_to(self, out: Path) -> Office:
        shutil.copytree(self.root, out, symlinks=True)
        return Office(out)

    def write_policy(self, policy: Mapping[str, Any] = POLICY) -> None:
        self.policy.write_text(yaml.safe_dump(dict(policy)))

    def write_keys(self, version: int = 5, **changes: Mapping[str, Any] | None) -> None:
        """Write the key file; `changes` are more keys of a person's entry, None leaves it out."""
        entries = []
        for person, (owner, roles) in PEOPLE.items():
            change = changes.get(person, {})
            if change is not None:
                public = (self.root / "people" / person / keys.PUBLIC_NAME).read_text()
                entry = {"owner": owner, "roles": roles, "public": public}
                entries.append({**entry, "valid_from": "2026-01-01T00:00:00Z", **change})
        self.keys.write_text(yaml.safe_dump({"version": version, "keys": entries}))

    def given(self) -> Given:
        return Given(before=self.tree, candidate=self.candidate)

    def asked(self, **more: Any) -> Asked:
        return Asked(
            policy=Policy.load(self.policy),
            ring=KeyRing.load(self.keys),
            **{"gate": self.gate, **more},
        )

    def approve(
        self,
        person: str,
        *,
        role: str = "release-manager",
        at: str = AT,
        report: Path | None = None,
        gate: Path | None = None,
        **changes: Any,
    ) -> Path:
        """Approve as a person would who is not held back; `changes` alter the statement."""
        gate_key = [load_private(self.private("gate")).signer.public_key]
        asked = self.asked()
        statement = statement_for(
            SignedReport.load(report or self.report, gate_key),
            gate=SignedReport.load(gate or self.gate, gate_key),
            policy=asked.policy,
            ring=asked.ring,
            role=role,
            reason="rehearsed twice, and read the page",
            approved_at=at,
        )
        for name, change in changes.items():
            place = statement if name in statement else statement["predicate"]
            place[name] = change
        return sign_approval(self.report, statement, load_private(self.private(person)))

    def judge(self, *, now: datetime = NOW, **more: Any) -> Judged:
        return judge(self.report, self.given(), self.asked(**more), now=now)


def make(root: Path, run: ReportInput | None = None) -> Office:
    """Build everything in `root`, with no approval yet."""
    office = Office(root)
    for person in PEOPLE:
        keys.generate(root / "people" / person)
    gate_key = load_private(office.private("gate"))
    signed_reports.make(root / "signed", run, key=gate_key)
    shutil.copytree(office.report / "before", office.tree)
    write_gate(office, report_inputs.gate())
    office.write_policy()
    office.write_keys()
    return office


def write_gate(
    office: Office,
    run: ReportInput,
    *,
    folder: Path | None = None,
    bound: tuple[str, ...] = ("candidate", "mapping", "harness"),
) -> Path:
    """Write and sign the gate's report on the office's candidate; `bound` is what it names."""
    candidate = Candidate.load(office.candidate)
    key = load_private(office.private("gate"))
    subjects = (
        bind.bind_candidate(candidate),
        bind.bind_file(candidate.mapping, name="mapping"),
        bind.bind_harness(),
    )
    made = replace(
        run,
        subjects=tuple(subject for subject in subjects if subject.name in bound),
        vouching=Vouching(key_id=key.key_id, throwaway=False),
    )
    out = folder or office.gate
    report.write(made, out)
    attest(out, key)
    return out


def causes(judged: Judged, severity: str = "error") -> dict[str, str]:
    """Return the findings' sentences by rule, without the rule's first word."""
    return {
        finding.rule.partition("/")[2]: finding.cause
        for finding in judged.result.findings
        if finding.severity == severity
    }
