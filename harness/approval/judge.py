"""Judges a report by a policy: whether it is what was demanded, and enough persons approved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.approval.counting import Counted, count_approvals
from harness.approval.demands import Demand, gate_demands, hours, report_demands
from harness.approval.keyring import KeyRing
from harness.approval.policy import Policy
from harness.approval.statement import SignedReport
from harness.approval.used import Use, read_uses
from harness.errors import BadInputError
from harness.model import CheckResult, Finding, Severity, Verdict
from harness.report.words import count
from harness.verify import Given, verify

__all__ = ["Asked", "Judged", "judge", "signed_pair", "with_approvals"]

_UNREADABLE = frozenset(
    f"verify/{rule}"
    for rule in (
        "unsigned", "envelope", "payload-type", "another-key", "signature", "statement",
        "missing-file", "changed-file",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a report is judged by. `run` is the migration that goes on with a use of `used`."""

    policy: Policy
    ring: KeyRing
    gate: Path | None = None
    used: Path | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The conclusion, and what it was drawn from; without reports where a signature failed."""

    result: CheckResult
    asked: Asked
    report: SignedReport | None = None
    gate: SignedReport | None = None
    counted: Counted | None = None
    demands: tuple[Demand, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the one object of `--json`; `approval` is what a record of uses is made of."""
        said = self.result.as_json()
        shown = {key: said[key] for key in ("verdict", "findings", "examined")}
        if self.report is None or self.counted is None:
            return {**shown, "approval": None}
        return {
            **shown,
            "approval": {
                "report": self.report.digest,
                "report_nonce": self.report.says["nonce"],
                "policy": self.asked.policy.digest,
                "policy_version": self.asked.policy.version,
                "keys_version": self.asked.ring.version,
                "approvals": list(self.counted.digests),
                "owners": {role: list(names) for role, names in self.counted.owners.items()},
            },
        }


def judge(
    folder: Path,
    given: Given,
    asked: Asked,
    *,
    approvals: bool = True,
    now: datetime | None = None,
) -> Judged:
    """Verify the report in `folder` and hold it against the policy; each refusal is a finding.

    Without `approvals` only what can be judged before anybody has approved. Unknown where nothing
    is wrong, but databases or candidate were not at hand to be compared. BadInputError where
    policy or keys lie in the report's own folder, where they cannot protect anything.
    """
    folder = folder.parent if folder.is_file() else folder
    _keep_apart(folder, asked)
    now = now or datetime.now(UTC)
    uses = read_uses(asked.used) if asked.used else ()
    # A use was judged when it began; what has grown old since must not stop it half-way.
    resumed = next((use for use in uses if use.run == asked.run), None)
    then = now if resumed is None else resumed.time
    gate_keys = [one.key for one in asked.ring.of_role(asked.policy.report.signed_by)]
    if not gate_keys:
        raise BadInputError(
            f"{asked.ring.path} has no key with the role {asked.policy.report.signed_by!r}, which"
            f" {asked.policy.path} wants reports signed by; add it"
        )
    given = replace(given, trusted=tuple(gate_keys))
    result = verify(folder, given, now=then)
    if any(finding.rule in _UNREADABLE for finding in result.findings):
        return Judged(result=result, asked=asked)
    report = SignedReport.load(folder, gate_keys)
    demands = list(report_demands(report, asked.policy, asked.ring, then))
    gate, of_gate = _gate(report, given, asked, then)
    demands += of_gate
    findings = [finding for demand in demands for finding in demand.lacking]
    findings += _versions(asked, uses)
    findings += _used(report, asked, uses)
    findings += _not_compared(report, given, result)
    judged = Judged(
        result=_merged(result, findings),
        asked=asked,
        report=report,
        gate=gate,
        demands=tuple(demands),
    )
    return with_approvals(judged, then) if approvals else judged


def with_approvals(judged: Judged, now: datetime) -> Judged:
    """Return what was judged with the approvals as they lie there now, and nothing verified anew.

    BadInputError where the report's signature did not hold.
    """
    report, gate = signed_pair(judged)
    policy = judged.asked.policy
    counted = count_approvals(report, gate, policy, judged.asked.ring, now)
    demands = [
        Demand(
            of=f"approvals as {role}",
            wanted=f"{count(least, 'person')}, not longer than {hours(policy.age_hours_max)} ago",
            found=", ".join(counted.owners[role]) or "nobody",
            lacking=tuple(one for one in counted.findings if _is_lacking(one, role)),
        )
        for role, least in policy.required.items()
    ]
    return replace(
        judged,
        result=_with_counted(judged.result, counted),
        counted=counted,
        demands=(*judged.demands, *demands),
    )


def signed_pair(judged: Judged) -> tuple[SignedReport, SignedReport | None]:
    """Return the report and the gate's; BadInputError where its signature did not hold."""
    if judged.report is None:
        raise BadInputError("the report's signature does not hold; nothing can be approved")
    return judged.report, judged.gate


def _keep_apart(folder: Path, asked: Asked) -> None:
    named = {"policy": asked.policy.path, "key file": asked.ring.path, "record": asked.used}
    for what, path in named.items():
        if path is not None and path.resolve().is_relative_to(folder.resolve()):
            raise BadInputError(
                f"the {what} {path} lies in the report's own folder, so who made the report could"
                " have made it too; give one that came to you another way"
            )


def _gate(
    report: SignedReport, given: Given, asked: Asked, now: datetime
) -> tuple[SignedReport | None, list[Demand]]:
    """Return the gate's report, if one was given and its signature holds, and what it owes."""
    demand = asked.policy.gate
    if asked.gate is None:
        if demand is None:
            return None, []
        cause = "The policy demands a report of the gate too, and none was given; name its folder"
        missing = Finding(rule="approval/gate-missing", cause=f"{cause} with --gate.")
        return None, [_gate_demand("none was given", missing)]
    folder = asked.gate.parent if asked.gate.is_file() else asked.gate
    alone = Given(trusted=given.trusted, candidate=given.candidate, mapping=given.mapping)
    result = verify(folder, alone, now=now)
    findings = [
        replace(finding, cause=f"The gate's report: {finding.cause}")
        for finding in result.findings
        if finding.severity is Severity.ERROR or finding.rule == "verify/says-unknown"
    ]
    findings = [replace(finding, severity=Severity.ERROR) for finding in findings]
    if any(finding.rule in _UNREADABLE for finding in findings):
        return None, [_gate_demand("it cannot be relied on", *findings)]
    gate = SignedReport.load(folder, list(given.trusted))
    own = _gate_demand(f"says {gate.says['verdict']}", *findings)
    return gate, [own, *gate_demands(gate, report, asked.policy, asked.ring, now)]


def _gate_demand(found: str, *lacking: Finding) -> Demand:
    wanted = "signed, as it was written, and valid"
    return Demand(of="gate's report", wanted=wanted, found=found, lacking=lacking)


def _versions(asked: Asked, uses: Sequence[Use]) -> Iterator[Finding]:
    newest = {
        "policy": (asked.policy.version, [use.policy_version for use in uses]),
        "key file": (asked.ring.version, [use.keys_version for use in uses]),
    }
    for what, (given, seen) in newest.items():
        if seen and max(seen) > given:
            cause = f"The {what} has version {given}, and version {max(seen)} was in use already;"
            yield Finding(
                rule=f"approval/older-{what.split()[0]}",
                cause=f"{cause} take the newest.",
                expected=str(max(seen)),
                actual=str(given),
            )


def _used(report: SignedReport, asked: Asked, uses: Sequence[Use]) -> Iterator[Finding]:
    nonce = report.says.get("nonce")
    for use in uses:
        if use.run == asked.run:
            if use.report != report.digest:
                cause = "This migration was begun with another report; go on with that one."
                yield Finding(rule="approval/other-run", cause=cause, expected=use.report[:12])
        elif use.report == report.digest or use.report_nonce == nonce:
            cause = f"The report was used before, at {use.at} for {use.tree};"
            yield Finding(
                rule="approval/used",
                cause=f"{cause} rehearse again and have the new report approved.",
            )


def _not_compared(report: SignedReport, given: Given, result: CheckResult) -> Iterator[Finding]:
    bound = report.bound
    if not any(name.startswith("before/") for name in bound):
        cause = "The report speaks of no databases, so it cannot stand for yours."
        yield Finding(rule="approval/no-databases", cause=cause)
    elif given.before is None and given.backup is None:
        cause = "The databases were not compared with those of the report; name them with --before."
        yield Finding(rule="approval/not-compared", cause=cause, severity=Severity.WARNING)
    for name in ("candidate", "mapping"):
        if name not in bound:
            cause = f"The report names no {name}, so it cannot stand for the one in use."
            yield Finding(rule=f"approval/no-{name}", cause=cause)
    if given.candidate is None:
        cause = "Candidate and mapping were not compared; name the manifest with --candidate."
        yield Finding(rule="approval/not-compared", cause=cause, severity=Severity.WARNING)


def _is_lacking(finding: Finding, role: str) -> bool:
    return finding.rule == "approval/missing" and f" as {role};" in finding.cause


def _merged(result: CheckResult, added: Sequence[Finding]) -> CheckResult:
    findings = [*result.findings, *added]
    findings.sort(key=lambda finding: list(Severity).index(finding.severity))
    compared = all(finding.rule != "approval/not-compared" for finding in findings)
    if any(finding.severity is Severity.ERROR for finding in findings):
        verdict = Verdict.INVALID
    else:
        verdict = result.verdict if compared else Verdict.UNKNOWN
    return replace(
        result,
        verdict=verdict,
        findings=tuple(findings),
        verifies="Signatures, files, digests of what was at hand, the policy and its approvals.",
        does_not_verify="That the record of uses is whole, and that keys are in the right hands.",
    )


def _with_counted(result: CheckResult, counted: Counted) -> CheckResult:
    roles = ", ".join(
        f"{count(len(owners), role)} ({', '.join(sorted(owners))})"
        for role, owners in counted.owners.items()
    )
    says = f"{result.details['says']} Approved by {roles or 'nobody'}."
    return replace(
        _merged(result, counted.findings),
        examined={**result.examined, "approval": counted.examined},
        details={**result.details, "says": says},
    )
