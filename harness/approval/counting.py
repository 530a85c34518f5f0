"""Counts a report's approvals: which of them stand, and whether enough persons gave one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from harness.approval.demands import CLOCK_SLACK, hours
from harness.approval.keyring import KeyRing, same_person
from harness.approval.policy import Policy
from harness.approval.statement import (
    GATE_SUBJECT,
    Approval,
    SignedReport,
    UnfitError,
    approvals_in,
    read_approval,
)
from harness.attest import ATTESTATION
from harness.model import Finding, Severity
from harness.report.words import count, short

__all__ = ["Counted", "Seen", "count_approvals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One approval that was looked at: what its signer says, and why it does not count.

    `approval` is None where no known key signed it: then nothing in it is anybody's word.
    """

    name: str
    approval: Approval | None = None
    objection: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What came of counting: who stands for each role, the approvals' digests, and findings."""

    owners: Mapping[str, Sequence[str]] = field(default_factory=dict)
    digests: tuple[str, ...] = ()
    examined: int = 0
    findings: tuple[Finding, ...] = ()
    seen: tuple[Seen, ...] = ()


def count_approvals(
    report: SignedReport,
    gate: SignedReport | None,
    policy: Policy,
    ring: KeyRing,
    now: datetime,
) -> Counted:
    """Count the approvals kept beside the report.

    An approval that cannot count is an error where some are lacking, else a warning: who can
    write into the folder could otherwise stop a cutover that enough persons want.
    """
    paths = approvals_in(report.folder)
    read: list[Approval] = []
    unfit: list[Finding] = []
    signed: dict[str, Approval] = {}
    for path in paths:
        try:
            approval = signed[path.name] = read_approval(path, ring)
            _fit(approval, report, gate, policy, ring, now)
            read.append(approval)
        except UnfitError as error:
            unfit.append(Finding(rule=f"approval/{error.rule}", cause=str(error), key=path.name))
    # The earlier one of two counts; of two at once, the one whose name comes first.
    read.sort(key=lambda approval: (approval.approved_at, approval.name))
    standing, doubled = _once_each(read)
    unfit += doubled
    objections = {finding.key: finding.cause for finding in unfit}
    owners: dict[str, list[str]] = {role: [] for role in policy.required}
    for approval in standing:
        owners[approval.role].append(approval.signer.owner)
    lacking = list(_lacking(policy, owners, given=len(paths)))
    if not lacking:
        unfit = [replace(finding, severity=Severity.WARNING) for finding in unfit]
    return Counted(
        owners=owners,
        digests=tuple(approval.digest for approval in standing),
        examined=len(paths),
        findings=(*lacking, *unfit),
        seen=tuple(
            Seen(
                name=path.name,
                approval=signed.get(path.name),
                objection=objections.get(path.name),
            )
            for path in paths
        ),
    )


def _fit(
    approval: Approval,
    report: SignedReport,
    gate: SignedReport | None,
    policy: Policy,
    ring: KeyRing,
    now: datetime,
) -> None:
    """Raise UnfitError where the approval does not count for this report under this policy."""
    name = f"The approval {approval.name}"
    if approval.predicate_type not in policy.types:
        cause = f"{name} has the type {approval.predicate_type}; the policy takes"
        raise UnfitError("type", f"{cause} {' or '.join(policy.types)}.")
    _fits_report(approval, report, gate, name)
    if approval.says["policy"]["sha256"] != policy.digest:
        version = approval.says["policy"]["version"]
        cause = f"{name} was given under another policy (version {version}); give it anew under"
        raise UnfitError("other-policy", f"{cause} version {policy.version}.")
    if approval.says["keys_version"] > ring.version:
        cause = f"{name} knew version {approval.says['keys_version']} of the key file, and this is"
        raise UnfitError("older-keys", f"{cause} version {ring.version}; take the newest.")
    objection = approval.signer.objection(approval.role, approval.approved_at)
    if objection is not None:
        raise UnfitError(objection[0], f"{name} does not count: {objection[1]}.")
    if approval.role not in policy.required:
        cause = f"{name} was given as {approval.role}, and the policy asks for"
        raise UnfitError("role", f"{cause} {' and '.join(policy.required)}.")
    _fits_time(approval, report, policy, now, name)


def _fits_report(
    approval: Approval, report: SignedReport, gate: SignedReport | None, name: str
) -> None:
    if approval.subjects.get(ATTESTATION) != report.digest:
        named = short(approval.subjects.get(ATTESTATION, "none"))
        cause = f"{name} is of another report: it names the attestation {named}, and this"
        raise UnfitError("other-report", f"{cause} one is {short(report.digest)}.")
    theirs = approval.subjects.get(GATE_SUBJECT)
    if theirs != (gate.digest if gate else None):
        was = f"the gate's report {short(theirs)}" if theirs else "no report of the gate"
        now = f"it is {short(gate.digest)}" if gate else "none was given"
        raise UnfitError("other-gate", f"{name} was given beside {was}, and now {now}.")
    for what, digest in report.bound.items():
        if approval.says["bound"].get(what) != digest:
            cause = f"{name} speaks of another {what} than the report does."
            raise UnfitError("other-bound", cause)
    if approval.says["report_nonce"] != report.says["nonce"]:
        raise UnfitError("other-nonce", f"{name} names another nonce than the report does.")


def _fits_time(
    approval: Approval, report: SignedReport, policy: Policy, now: datetime, name: str
) -> None:
    at, said = approval.approved_at, approval.says["approved_at"]
    finished = report.says["finished_at"]
    if at < datetime.fromisoformat(finished) - CLOCK_SLACK:
        cause = f"{name} was given at {said}, before the report was made at {finished}."
        raise UnfitError("before-report", cause)
    if at > now + CLOCK_SLACK:
        cause = f"{name} was given at {said}, which is yet to come; set the clocks right."
        raise UnfitError("future", cause)
    if now - at > timedelta(hours=policy.age_hours_max):
        cause = f"{name} was given at {said}; the policy takes none older than"
        raise UnfitError("old", f"{cause} {hours(policy.age_hours_max)}.")


def _once_each(approvals: Sequence[Approval]) -> tuple[list[Approval], list[Finding]]:
    """Return the first approval of each person, in whatever role, and why others don't count."""
    standing: list[Approval] = []
    doubled: list[Finding] = []
    for approval in approvals:
        name, owner = f"The approval {approval.name}", approval.signer.owner
        for other in standing:
            if other.signer.key.keyid == approval.signer.key.keyid:
                cause = f"{name} was signed with the key that signed {other.name}; a key counts"
                doubled.append(_doubled("doubled-key", f"{cause} once.", approval))
                break
            if same_person(other.signer.owner, owner):
                cause = f"{name} is {owner}'s, who gave {other.name} already; a person counts once."
                doubled.append(_doubled("doubled-person", cause, approval))
                break
        else:
            standing.append(approval)
    return standing, doubled


def _doubled(rule: str, cause: str, approval: Approval) -> Finding:
    return Finding(rule=f"approval/{rule}", cause=cause, key=approval.name)


def _lacking(
    policy: Policy, owners: Mapping[str, Sequence[str]], *, given: int
) -> Iterator[Finding]:
    for role, least in policy.required.items():
        counting = len(owners[role])
        if counting < least:
            cause = f"The policy asks for {count(least, 'approval')} as {role}; {counting}"
            there = f" of the {given} given" if given else ""
            yield Finding(
                rule="approval/missing",
                cause=f"{cause}{there} count{'s' if counting == 1 else ''}.",
                expected=str(least),
                actual=str(counting),
            )
