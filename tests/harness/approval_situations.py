"""What can be wrong with an approval, by the words that docs/approval.md has for it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import approved_reports
import apsw
import report_inputs
from approved_reports import POLICY, Office
from securesystemslib.dsse import Envelope

from harness.approval.statement import SignedReport
from harness.attest import envelope_bytes
from harness.keys import load_private

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def at(hours: float) -> str:
    """Return the time that many hours after the reports were made."""
    return (START + timedelta(hours=hours)).isoformat().replace("+00:00", "Z")


def make(root: Path) -> Office:
    """Build an office whose reports are two hours old, as the commands ask the clock."""
    office = approved_reports.make(root, replace(report_inputs.rehearsal(), finished_at=at(0)))
    gate(office)
    (root / "rehearsal").symlink_to("signed/report")
    return office


def gate(office: Office, *, nonce: str = "44" * 16, hours: float = 0, **changes: bool) -> None:
    run = replace(report_inputs.gate(**changes), finished_at=at(hours), nonce=nonce)
    approved_reports.write_gate(office, run)


def approved(office: Office) -> Path:
    office.approve("ann", at=at(1))
    return office.approve("bob", at=at(1.5))


def policy(part: str, **changes: Any) -> Callable[[Office], object]:
    """Return what approves a report and then has a part of the policy changed."""

    def change(office: Office) -> None:
        altered = copy.deepcopy(POLICY)
        altered[part] |= changes
        office.write_policy(altered)
        approved(office)

    return change


def of_key(person: str, **changes: Any) -> Callable[[Office], object]:
    def change(office: Office) -> None:
        approved(office)
        office.write_keys(**{person: changes or None})

    return change


def said(**changes: Any) -> Callable[[Office], object]:
    """Return what has Ann approve, and Bob with a statement that was changed."""

    def change(office: Office) -> None:
        office.approve("ann", at=at(1))
        office.approve("bob", **{"at": at(1.5), **changes})

    return change


def other_report(office: Office) -> None:
    approved(office)
    office.approve("bob", at=at(1), report=office.gate)


def other_gate(office: Office) -> None:
    approved(office)
    gate(office, nonce="55" * 16)


def gate_alone(office: Office) -> None:
    """Lay a gate's report, with a scenario that failed, before a policy that would take it."""
    altered = copy.deepcopy(POLICY)
    altered["report"] |= {"kinds": ["gate"]}
    del altered["gate"]
    office.write_policy(altered)
    gate(office, failing=True)


def unbound(office: Office) -> None:
    """Have the gate sign a report that names neither a candidate nor a mapping."""
    altered = copy.deepcopy(POLICY)
    altered["report"] |= {"kinds": ["gate"]}
    del altered["gate"]
    office.write_policy(altered)
    run = replace(report_inputs.gate(), finished_at=at(0))
    approved_reports.write_gate(office, run, bound=("harness",))


def edited(**changes: Any) -> Callable[[Office], object]:
    def change(office: Office) -> None:
        path = approved(office)
        data = json.loads(path.read_bytes()) | changes
        path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")

    return change


def signatures(*people: str) -> Callable[[Office], object]:
    """Return what leaves the signatures of these in Bob's envelope."""

    def change(office: Office) -> None:
        path = approved(office)
        envelope = Envelope.from_dict(json.loads(path.read_bytes()))
        envelope.signatures = {}
        for person in people:
            envelope.sign(load_private(office.private(person)).signer)
        path.write_bytes(envelope_bytes(envelope))

    return change


def altered_statement(office: Office) -> None:
    path = approved(office)
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    envelope.payload = envelope.payload.replace(b"rehearsed twice", b"rehearsed often")
    path.write_bytes(envelope_bytes(envelope))


def doubled_key(office: Office) -> None:
    path = office.approve("ann", at=at(1))
    path.with_name("once-more.json").write_bytes(path.read_bytes())


def doubled_person(office: Office) -> None:
    office.write_keys(bob={"owner": "Ann Archer"})
    approved(office)


def role_unasked(office: Office) -> None:
    office.approve("ann", at=at(1))
    office.approve("carl", role="data-owner", at=at(1))


def other_candidate(office: Office) -> None:
    approved(office)
    (office.candidate.parent / "migrate.py").write_text("print('other')\n")
    (office.candidate.parent / "mapping.yaml").write_text("contract: 1\ntables: {a: {}}\n")


def gate_of_another(office: Office) -> None:
    path = office.candidate.parent / "migrate.py"
    mapping = office.candidate.parent / "mapping.yaml"
    kept = path.read_text(), mapping.read_text()
    path.write_text("print('other')\n")
    mapping.write_text("contract: 1\ntables: {a: {}}\n")
    gate(office)
    path.write_text(kept[0])
    mapping.write_text(kept[1])
    approved(office)


def other_data(office: Office) -> None:
    approved(office)
    with apsw.Connection(str(office.tree / "data" / "vector.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 7")


def changed_page(office: Office) -> None:
    approved(office)
    (office.report / "report.html").write_text("<p>valid</p>")


def no_attestation(office: Office) -> None:
    approved(office)
    (office.report / "attestation.json").unlink()


def wrong_key(office: Office) -> None:
    office.write_keys(gate={"roles": ["tester"]}, eve={"roles": ["gate"]})


def used(**changes: Any) -> Callable[[Office], object]:
    """Return what approves the report and records a use."""

    def record(office: Office) -> None:
        approved(office)
        key = [load_private(office.private("gate")).signer.public_key]
        report = SignedReport.load(office.report, key)
        entry = {
            "report": report.digest,
            "report_nonce": report.says["nonce"],
            "run": "run-1",
            "tree": "/srv/devflow",
            "at": at(1.75),
            "policy_version": 2,
            "keys_version": 5,
            "previous": "0" * 64,
            **changes,
        }
        (office.root / "uses.jsonl").write_text(json.dumps(entry) + "\n")

    return record


def meddled(office: Office) -> None:
    used()(office)
    path = office.root / "uses.jsonl"
    line = path.read_bytes().splitlines()[0]
    entry = {**json.loads(line), "previous": hashlib.sha256(line).hexdigest(), "run": "run-2"}
    path.write_text(json.dumps(entry) + "\n")


OTHER = {"report": "00" * 32, "report_nonce": "11" * 16}
BOTH = approved

SITUATIONS: dict[str, Callable[[Office], object]] = {
    "approved by two": BOTH,
    "approved by nobody": lambda _office: None,
    "approved by one": lambda office: office.approve("ann", at=at(1)),
    "one approval, copied": doubled_key,
    "two keys of one person": doubled_person,
    "another role than is asked for": role_unasked,
    "a role that the key has not": of_key("bob", roles=["data-owner"]),
    "a key that was revoked": of_key(
        "bob", revoked_at=at(1.75), revoked_because="the laptop was stolen"
    ),
    "a key that was retired before": of_key("bob", valid_until=at(1.25)),
    "a key that is not valid yet": of_key("bob", valid_from=at(1.75)),
    "a key that nobody knows": of_key("bob"),
    "an approval that was edited": edited(more=1),
    "an approval that is no envelope": edited(payload=7),
    "an approval of another payload type": edited(payloadType="application/json"),
    "an approval without a signature": signatures(),
    "two signatures in one approval": signatures("ann", "bob"),
    "a statement that was changed": altered_statement,
    "a statement of something else": said(verdict="unknown"),
    "an older type of approval": said(predicateType="urn:devflow-migration-gate:approval:v0"),
    "approvals under another policy": said(policy={"sha256": "00" * 32, "version": 1}),
    "an older key file": said(keys_version=6),
    "an approval of another report": other_report,
    "an approval beside another report of the gate": other_gate,
    "an approval that binds other things": said(bound={}),
    "an approval with another nonce": said(report_nonce="11" * 16),
    "an approval from before the report": said(at=at(-1)),
    "an approval of the future": said(at=at(5)),
    "an approval that is too old": policy("approvals", age_hours_max=0.25),
    "a report of another type": policy("report", types=["https://example.org/other"]),
    "a report of another kind": policy("report", kinds=["audit"]),
    "a report of a smaller profile": policy("report", profiles=["full"]),
    "a report that is too old": policy("report", age_hours_max=1),
    "a checker that was not run": policy("report", checkers={"leaks": {"examined_min": 1}}),
    "a checker that examined too little": policy(
        "report", checkers={"rows": {"examined_min": 1000}}
    ),
    "no report of the gate": BOTH,
    "a rehearsal in the place of the gate's report": BOTH,
    "a gate that let a mutant live": lambda office: gate(office, survivor=True),
    "a gate with a scenario that failed": lambda office: gate(office, failing=True),
    "a gate without that scenario": policy("gate", scenarios=["disk-full"]),
    "a gate with few mutants": policy("gate", mutants={"tried_min": 60, "rate_min": 1}),
    "a gate that tried another candidate": gate_of_another,
    "a gate of the future": lambda office: gate(office, hours=5),
    "a report signed before its key was valid": of_key("gate", valid_from=at(1)),
    "a report signed with a retired key": of_key("gate", valid_until=at(-1)),
    "a report signed with a revoked key": of_key(
        "gate", revoked_at=at(1), revoked_because="the runner was broken into"
    ),
    "a report signed with a key of another role": wrong_key,
    "a report that is not signed": no_attestation,
    "a page that was changed": changed_page,
    "other databases": other_data,
    "another candidate and mapping": other_candidate,
    "a checker that failed, and no databases": gate_alone,
    "no candidate and no mapping": unbound,
    "used before": used(),
    "goes on with another report": used(**OTHER),
    "an older policy than one in use": used(**OTHER, policy_version=3),
    "an older key file than one in use": used(**OTHER, keys_version=6),
    "a record that was meddled with": meddled,
    "databases that were not compared": BOTH,
}
