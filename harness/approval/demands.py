"""Holds a report against what a policy demands of it; each shortfall is a finding of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from harness.approval.keyring import KeyRing
from harness.approval.policy import GateDemand, Policy
from harness.approval.statement import SignedReport
from harness.model import Finding
from harness.report import load
from harness.report.words import short

__all__ = ["CLOCK_SLACK", "gate_faults", "hours", "report_faults"]

CLOCK_SLACK = timedelta(minutes=5)
"""How far clocks of two machines may differ before a time is taken to lie in the future."""


def report_faults(
    report: SignedReport, policy: Policy, ring: KeyRing, now: datetime
) -> Iterator[Finding]:
    """Yield where the report on the databases falls short of the policy."""
    demand = policy.report
    said = report.says
    made = str(report.statement["predicateType"])
    if made not in demand.types:
        cause = f"The report has the type {made}; the policy takes {' or '.join(demand.types)}."
        yield _fault("report-type", cause)
    if said.get("kind") not in demand.kinds:
        cause = f"The report is of the kind {said.get('kind')};"
        yield _fault("kind", f"{cause} the policy takes {' or '.join(demand.kinds)}.")
    if said.get("profile") not in demand.profiles:
        cause = f"The report was made with the profile {said.get('profile')};"
        yield _fault("profile", f"{cause} the policy takes {' or '.join(demand.profiles)}.")
    yield from _signed(report, policy, ring, "The report")
    yield from _age(report, demand.age_hours_max, now, "The report")
    yield from _checkers(report, policy)


def gate_faults(
    gate: SignedReport, report: SignedReport, policy: Policy, ring: KeyRing, now: datetime
) -> Iterator[Finding]:
    """Yield where the gate's report falls short of the policy, or speaks of other things."""
    demand = policy.gate or GateDemand(age_hours_max=policy.report.age_hours_max)
    if gate.says.get("kind") != "gate":
        cause = f"What --gate names is a {gate.says.get('kind')}, not a report of the gate."
        yield _fault("gate-kind", cause)
    for name in ("candidate", "mapping"):
        mine, theirs = report.bound.get(name), gate.bound.get(name)
        if mine != theirs:
            cause = f"The gate tried another {name} than the report speaks of."
            yield _fault(f"gate-{name}", cause, short(mine or "none"), short(theirs or "none"))
    yield from _signed(gate, policy, ring, "The gate's report")
    yield from _age(gate, demand.age_hours_max, now, "The gate's report")
    yield from _scenarios(gate, demand)
    yield from _mutants(gate, demand)


def hours(number: float) -> str:
    """Return a number of hours in words."""
    return f"{number:g} hour{'' if number == 1 else 's'}"


def _fault(
    rule: str, cause: str, expected: str | None = None, actual: str | None = None
) -> Finding:
    return Finding(rule=f"approval/{rule}", cause=cause, expected=expected, actual=actual)


def _signed(report: SignedReport, policy: Policy, ring: KeyRing, what: str) -> Iterator[Finding]:
    """Yield why none of the keys that signed the report may have."""
    role = policy.report.signed_by
    at = datetime.fromisoformat(report.says["finished_at"])
    signers = [one for one in ring.of_role(role) if one.key.keyid in report.signed_by]
    objections = [signer.objection(role, at) for signer in signers]
    if None not in objections:
        for rule, words in filter(None, objections):
            yield _fault(f"report-{rule}", f"{what} does not count as signed: {words}.")


def _age(report: SignedReport, hours_max: float, now: datetime, what: str) -> Iterator[Finding]:
    finished = str(report.says["finished_at"])
    age = now - datetime.fromisoformat(finished)
    if age < -CLOCK_SLACK:
        cause = f"{what} was made at {finished}, which is yet to come; set the clocks right."
        yield _fault("report-future", cause)
    elif age > timedelta(hours=hours_max):
        cause = f"{what} was made at {finished}; the policy takes none older than"
        yield _fault("report-old", f"{cause} {hours(hours_max)}.")


def _checkers(report: SignedReport, policy: Policy) -> Iterator[Finding]:
    verdicts = {check["checker"]: check["verdict"] for check in report.says["checks"]}
    for name, least in policy.report.checkers.items():
        verdict = verdicts.get(name)
        if verdict is None:
            cause = f"The checker {name}, which the policy demands, was not run."
            yield _fault("checker-missing", cause)
            continue
        if verdict != "valid":
            cause = f"The checker {name}, which the policy demands, says {verdict}."
            yield _fault("checker-failed", cause)
        examined = sum(report.says["examined"].get(name, {}).values())
        if examined < least:
            cause = f"The checker {name} examined {examined:,}; the policy demands {least:,}."
            yield _fault("examined", cause, str(least), str(examined))


def _scenarios(gate: SignedReport, demand: GateDemand) -> Iterator[Finding]:
    verdicts = {run["name"]: run["verdict"] for run in load(gate.folder)["runs"]}
    for name in demand.scenarios:
        if name not in verdicts:
            cause = f"The scenario {name}, which the policy demands, was not played."
            yield _fault("scenario-missing", cause)
        elif verdicts[name] != "valid":
            cause = f"The scenario {name}, which the policy demands, came out {verdicts[name]}."
            yield _fault("scenario-failed", cause)


def _mutants(gate: SignedReport, demand: GateDemand) -> Iterator[Finding]:
    if not demand.tried_min:
        return
    mutants = gate.says["mutants"] or {"tried": 0, "caught": 0}
    tried, caught = mutants["tried"], mutants["caught"]
    if tried < demand.tried_min:
        cause = f"{tried} mutants were tried; the policy demands {demand.tried_min}."
        yield _fault("mutants-tried", cause, str(demand.tried_min), str(tried))
    # The counts decide, not the rounded rate.
    if tried and caught / tried < demand.rate_min:
        cause = f"{caught} of {tried} mutants were caught; the policy demands"
        yield _fault("mutant-rate", f"{cause} {100 * demand.rate_min:g} %.")
