"""Approves a report: shows what is to be signed, and signs it with a person's key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.approval.judge import Asked, Judged, judge, signed_pair, with_approvals
from harness.approval.page import PAGE, write_page
from harness.approval.statement import FOLDER, approval_path, sign_approval, statement_for
from harness.assemble import now
from harness.errors import BadInputError
from harness.keys import SigningKey
from harness.model import Severity, Verdict
from harness.report import load
from harness.report.words import short
from harness.suggest import did_you_mean
from harness.verify import Given

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An approval before it is signed. `statement` is None where the report was refused."""

    judged: Judged
    key: SigningKey
    owner: str = ""
    statement: dict[str, Any] | None = None

    def lines(self) -> Iterator[str]:
        """Yield what is to be signed, for a person to read."""
        report, gate = signed_pair(self.judged)
        if self.statement is None:
            return
        document, says = load(report.folder), self.statement["predicate"]
        made = f"made {document['finished_at']}"
        yield f"report     {document['title']}: {document['verdict']}, {made}"
        yield f"page       {report.folder / document['report']}"
        for name, digest in sorted(report.bound.items()):
            if name.startswith(("before", "after", "candidate", "mapping")):
                yield f"bound      {name} {short(digest)}"
        yield f"report's   {self.statement['subject'][0]['name']} {short(report.digest)}"
        if gate is not None:
            yield f"gate's     {self.statement['subject'][1]['name']} {short(gate.digest)}"
        policy = says["policy"]
        yield f"policy     version {policy['version']}, {short(policy['sha256'])}"
        yield f"approver   {self.owner} as {says['role']}, key {short(self.key.key_id)}"
        yield f"reason     {says['reason']}"
        if approval_path(report.folder, self.statement, self.key).exists():
            yield "replaces   the approval that this key has signed in this role, and its reason"
        for finding in self.judged.result.findings:
            if finding.severity is Severity.WARNING:
                yield f"mind       {finding.cause}"

    def sign(self) -> Path:
        """Sign it and return the path of the approval, which lies below the report's folder."""
        report, _ = signed_pair(self.judged)
        if self.statement is None:
            raise BadInputError("the report was refused; there is nothing to approve")
        return sign_approval(report.folder, self.statement, self.key)

    def show(self) -> Path:
        """Write the page of the approvals beside them, as they are by now; return its path."""
        report, _ = signed_pair(self.judged)
        at = datetime.now(UTC)
        counted = with_approvals(self.judged, at)
        return write_page(report.folder / FOLDER / PAGE, counted, report.folder, now=at)


def prepare(
    folder: Path, given: Given, asked: Asked, *, key: SigningKey, role: str, reason: str
) -> Prepared:
    """Verify the report by the policy, but for its approvals, and return what would be signed.

    BadInputError where the key may not approve as `role`, or no reason is given: what cannot
    count is not signed.
    """
    if not reason.strip():
        raise BadInputError("an approval needs a reason; give one with --reason")
    required = asked.policy.required
    if role not in required:
        raise BadInputError(
            f"the policy asks for no approval as {role!r}{did_you_mean(role, required)}"
        )
    signer = asked.ring.by_id(key.key_id)
    if signer is None:
        raise BadInputError(
            f"your key {short(key.key_id)} is not in {asked.ring.path}; have its public half added"
        )
    approved_at = now()
    objection = signer.objection(role, datetime.fromisoformat(approved_at))
    if objection is not None:
        raise BadInputError(f"your approval would not count: {objection[1]}")
    judged = judge(folder, given, asked, approvals=False)
    if judged.result.verdict is Verdict.INVALID:
        return Prepared(judged=judged, key=key)
    report, gate = signed_pair(judged)
    if report.says["verdict"] != "valid":
        return Prepared(judged=judged, key=key)
    statement = statement_for(
        report,
        gate=gate,
        policy=asked.policy,
        ring=asked.ring,
        role=role,
        reason=" ".join(reason.split()),
        approved_at=approved_at,
    )
    return Prepared(judged=judged, key=key, owner=signer.owner, statement=statement)
