"""Holds a report against what a policy demands of it; each shortfall is a finding of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.approval.keyring import KeyRing
from harness.approval.policy import GateDemand, Policy
from harness.approval.statement import SignedReport
from harness.model import Finding
from harness.report import load
from harness.report.words import short

__all__ = ["CLOCK_SLACK", "Demand", "gate_demands", "hours", "report_demands"]

CLOCK_SLACK = timedelta(minutes=5)
"""How far clocks of two machines may differ before a time is taken to lie in the future."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One thing that a policy demands, in words: of what, what is wanted, and what was found.

    `lacking` are the findings that say where it falls short; without any it is fulfilled.
    """

    of: str
    wanted: str
    found: str
    lacking: tuple[Finding, ...] = ()


def report_demands(
    report: SignedReport, policy: Policy, ring: KeyRing, now: datetime
) -> Iterator[Demand]:
    """Yield what the policy demands of the report on the databases, and where that falls short."""
    demand = policy.report
    said = report.says
    made = str(report.statement["predicateType"])
    yield Demand(
        of="report's type",
        wanted=" or ".join(demand.types),
        found=made,
        lacking=tuple(_type(made, demand.types)),
    )
    for name, allowed in (("kind", demand.kinds), ("profile", demand.profiles)):
        yield Demand(
            of=f"report's {name}",
            wanted=" or ".join(allowed),
            found=str(said.get(name)),
            lacking=tuple(_of_kind(name, str(said.get(name)), allowed)),
        )
    yield _signing(report, policy, ring, "The report")
    yield _youth(report, demand.age_hours_max, now, "The report")
    yield from _checkers(report, policy)


def gate_demands(
    gate: SignedReport, report: SignedReport, policy: Policy, ring: KeyRing, now: datetime
) -> Iterator[Demand]:
    """Yield what is demanded of the gate's report, that it speaks of the same things included."""
    demand = policy.gate or GateDemand(age_hours_max=policy.report.age_hours_max)
    kind = str(gate.says.get("kind"))
    lacking: tuple[Finding, ...] = ()
    if kind != "gate":
        cause = f"What --gate names is a {kind}, not a report of the gate."
        lacking = (_fault("gate-kind", cause),)
    yield Demand(of="gate's report's kind", wanted="gate", found=kind, lacking=lacking)
    for name in ("candidate", "mapping"):
        mine, theirs = report.bound.get(name), gate.bound.get(name)
        lacking = ()
        if mine != theirs:
            cause = f"The gate tried another {name} than the report speaks of."
            lacking = (
                _fault(f"gate-{name}", cause, short(mine or "none"), short(theirs or "none")),
            )
        yield Demand(
            of=f"gate's {name}",
            wanted=short(mine or "none"),
            found=short(theirs or "none"),
            lacking=lacking,
        )
    yield _signing(gate, policy, ring, "The gate's report")
    yield _youth(gate, demand.age_hours_max, now, "The gate's report")
    yield from _scenarios(gate, demand)
    yield from _mutants(gate, demand)


def hours(number: float) -> str:
    """Return a number of hours in words."""
    return f"{number:g} hour{'' if number == 1 else 's'}"


def _fault(
    rule: str, cause: str, expected: str | None = None, actual: str | None = None
) -> Finding:
    return Finding(rule=f"approval/{rule}", cause=cause, expected=expected, actual=actual)


def _type(made: str, types: tuple[str, ...]) -> Iterator[Finding]:
    if made not in types:
        cause = f"The report has the type {made}; the policy takes {' or '.join(types)}."
        yield _fault("report-type", cause)


def _of_kind(name: str, made: str, allowed: tuple[str, ...]) -> Iterator[Finding]:
    if made not in allowed:
        if name == "kind":
            cause = f"The report is of the kind {made};"
        else:
            cause = f"The report was made with the profile {made};"
        yield _fault(name, f"{cause} the policy takes {' or '.join(allowed)}.")


def _signing(report: SignedReport, policy: Policy, ring: KeyRing, what: str) -> Demand:
    """Return whether one of the keys that signed the report may, and else why none of them."""
    role = policy.report.signed_by
    at = datetime.fromisoformat(report.says["finished_at"])
    signers = [one for one in ring.of_role(role) if one.key.keyid in report.signed_by]
    objections = [signer.objection(role, at) for signer in signers]
    lacking: list[Finding] = []
    if None not in objections:
        for rule, words in filter(None, objections):
            cause = f"{what} does not count as signed: {words}."
            lacking.append(_fault(f"report-{rule}", cause))
    return Demand(
        of=f"{_short(what)} signed by",
        wanted=f"a key of the role {role}",
        found=", ".join(f"{one.owner}, key {short(one.key.keyid)}" for one in signers) or "nobody",
        lacking=tuple(lacking),
    )


def _youth(report: SignedReport, hours_max: float, now: datetime, what: str) -> Demand:
    """Return whether the report is young enough, and not of the future."""
    finished = str(report.says["finished_at"])
    age = now - datetime.fromisoformat(finished)
    lacking: tuple[Finding, ...] = ()
    if age < -CLOCK_SLACK:
        cause = f"{what} was made at {finished}, which is yet to come; set the clocks right."
        lacking = (_fault("report-future", cause),)
    elif age > timedelta(hours=hours_max):
        cause = f"{what} was made at {finished}; the policy takes none older than"
        lacking = (_fault("report-old", f"{cause} {hours(hours_max)}."),)
    return Demand(
        of=f"{_short(what)} age",
        wanted=f"{hours(hours_max)} at most",
        found=f"made {finished}",
        lacking=lacking,
    )


def _short(what: str) -> str:
    return {"The report": "report's", "The gate's report": "gate's report's"}[what]


def _checkers(report: SignedReport, policy: Policy) -> Iterator[Demand]:
    verdicts = {check["checker"]: check["verdict"] for check in report.says["checks"]}
    for name, least in policy.report.checkers.items():
        verdict = verdicts.get(name)
        examined = sum(report.says["examined"].get(name, {}).values())
        lacking = []
        if verdict is None:
            cause = f"The checker {name}, which the policy demands, was not run."
            lacking.append(_fault("checker-missing", cause))
        else:
            if verdict != "valid":
                cause = f"The checker {name}, which the policy demands, says {verdict}."
                lacking.append(_fault("checker-failed", cause))
            if examined < least:
                cause = f"The checker {name} examined {examined:,}; the policy demands {least:,}."
                lacking.append(_fault("examined", cause, str(least), str(examined)))
        yield Demand(
            of=f"checker {name}",
            wanted=f"valid, {least:,} examined at least",
            found="not run" if verdict is None else f"{verdict}, {examined:,} examined",
            lacking=tuple(lacking),
        )


def _scenarios(gate: SignedReport, demand: GateDemand) -> Iterator[Demand]:
    if not demand.scenarios:
        return
    verdicts = {run["name"]: run["verdict"] for run in load(gate.folder)["runs"]}
    for name in demand.scenarios:
        lacking: tuple[Finding, ...] = ()
        if name not in verdicts:
            cause = f"The scenario {name}, which the policy demands, was not played."
            lacking = (_fault("scenario-missing", cause),)
        elif verdicts[name] != "valid":
            cause = f"The scenario {name}, which the policy demands, came out {verdicts[name]}."
            lacking = (_fault("scenario-failed", cause),)
        found = verdicts.get(name, "not played")
        yield Demand(of=f"scenario {name}", wanted="valid", found=found, lacking=lacking)


def _mutants(gate: SignedReport, demand: GateDemand) -> Iterator[Demand]:
    if not demand.tried_min:
        return
    mutants = gate.says["mutants"] or {"tried": 0, "caught": 0}
    tried, caught = mutants["tried"], mutants["caught"]
    lacking = []
    if tried < demand.tried_min:
        cause = f"{tried} mutants were tried; the policy demands {demand.tried_min}."
        lacking.append(_fault("mutants-tried", cause, str(demand.tried_min), str(tried)))
    # The counts decide, not the rounded rate.
    if tried and caught / tried < demand.rate_min:
        cause = f"{caught} of {tried} mutants were caught; the policy demands"
        lacking.append(_fault("mutant-rate", f"{cause} {100 * demand.rate_min:g} %."))
    yield Demand(
        of="mutants",
        wanted=f"{demand.tried_min} tried at least, {100 * demand.rate_min:g} % caught",
        found=f"{tried} tried, {caught} caught",
        lacking=tuple(lacking),
    )
