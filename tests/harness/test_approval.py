"""Approvals: what is needed, who counts, and every attack on them, each with its sentence."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import approved_reports
import apsw
import pytest
import report_inputs
from approved_reports import NOW, POLICY, Office, causes
from securesystemslib.dsse import Envelope

from harness.approval import KeyRing, Policy, judge
from harness.attest import envelope_bytes
from harness.errors import BadInputError
from harness.keys import load_private
from harness.model import Verdict
from harness.verify import Given


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return approved_reports.make(tmp_path_factory.mktemp("approval") / "office")


@pytest.fixture
def office(pristine: Office, tmp_path: Path) -> Office:
    return pristine.copy_to(tmp_path / "office")


def test_a_report_that_enough_persons_approved_is_valid(office: Office) -> None:
    office.approve("ann")
    office.approve("bob")
    judged = office.judge()
    assert causes(judged) == {}
    assert judged.result.verdict is Verdict.VALID
    assert judged.result.examined["approval"] == 2
    assert "Approved by 2 release-managers (Ann Archer, Bob Baker)." in str(
        judged.result.details["says"]
    )
    said = judged.as_json()["approval"]
    assert (said["policy_version"], said["keys_version"], len(said["approvals"])) == (2, 5, 2)


def test_a_report_that_nobody_approved_is_refused(office: Office) -> None:
    assert causes(office.judge()) == {
        "missing": "The policy asks for 2 approvals as release-manager; 0 count."
    }


def test_one_approval_of_two_is_not_enough(office: Office) -> None:
    office.approve("ann")
    assert causes(office.judge()) == {
        "missing": "The policy asks for 2 approvals as release-manager; 1 of the 1 given counts."
    }


def approved(office: Office) -> Office:
    office.approve("ann")
    office.approve("bob")
    return office


# --- what counts as an approval


def test_the_same_key_twice_counts_once(office: Office) -> None:
    first = office.approve("ann")
    shutil.copyfile(first, first.with_name("another.json"))
    assert causes(office.judge()) == {
        "missing": "The policy asks for 2 approvals as release-manager; 1 of the 2 given counts.",
        "doubled-key": f"The approval {first.name} was signed with the key that signed"
        " another.json; a key counts once.",
    }


def test_two_keys_of_one_person_count_once(office: Office) -> None:
    office.write_keys(bob={"owner": "ANN  archer"})
    office.approve("ann", at="2026-01-02T03:20:00Z")
    approved(office)
    said = causes(office.judge())["doubled-person"]
    assert "gave release-manager-" in said
    assert said.endswith("a person counts once.")


def test_one_person_does_not_count_in_two_roles(office: Office) -> None:
    policy = copy.deepcopy(POLICY)
    policy["approvals"]["required"] = {"release-manager": 1, "data-owner": 1}
    office.write_policy(policy)
    office.approve("bob", at="2026-01-02T03:20:00Z")
    office.approve("bob", role="data-owner")
    assert set(causes(office.judge())) == {"missing", "doubled-key"}
    office.approve("carl", role="data-owner")
    judged = office.judge()
    assert judged.result.verdict is Verdict.VALID
    assert set(causes(judged, "warning")) == {"doubled-key"}


def test_two_signatures_in_one_envelope_are_refused(office: Office) -> None:
    path = office.approve("ann")
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    envelope.sign(load_private(office.private("bob")).signer)
    path.write_bytes(envelope_bytes(envelope))
    assert causes(office.judge())["doubled-signature"] == (
        f"The approval {path.name} holds 2 signatures; each person signs their own."
    )


def test_an_approval_without_a_signature_is_refused(office: Office) -> None:
    path = office.approve("ann")
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    envelope.signatures = {}
    path.write_bytes(envelope_bytes(envelope))
    assert causes(office.judge())["unsigned"] == f"The approval {path.name} is not signed."


def test_a_spoilt_approval_beside_enough_good_ones_is_a_warning(office: Office) -> None:
    approved(office)
    (office.report / "approvals" / "x.json").write_text("{}")
    judged = office.judge()
    assert judged.result.verdict is Verdict.VALID
    assert causes(judged, "warning") == {
        "damaged": "The approval x.json is damaged: it is no signed envelope."
    }


KEY_CHANGES: dict[str, tuple[dict[str, object] | None, str]] = {
    "revoked": (
        {"revoked_at": "2026-01-03T00:00:00Z", "revoked_because": "the laptop was stolen."},
        "does not count: the key of Bob Baker was revoked at 2026-01-03T00:00:00Z"
        " (the laptop was stolen).",
    ),
    "retired": (
        {"valid_until": "2026-01-02T03:30:00Z"},
        "does not count: the key of Bob Baker was retired at 2026-01-02T03:30:00Z, before it"
        " signed.",
    ),
    "not-yet": (
        {"valid_from": "2026-01-02T03:30:01Z"},
        "does not count: the key of Bob Baker is valid only from 2026-01-02T03:30:01Z.",
    ),
    "role": (
        {"roles": ["data-owner"]},
        "does not count: the key of Bob Baker may sign as data-owner, not as release-manager.",
    ),
    "unknown-key": (None, "was signed with a key that is not in the key file keys.yaml."),
}


@pytest.mark.parametrize("rule", KEY_CHANGES)
def test_a_key_that_may_not_sign_does_not_count(office: Office, rule: str) -> None:
    change, sentence = KEY_CHANGES[rule]
    approved(office)
    office.write_keys(bob=change)
    said = causes(office.judge())
    assert set(said) == {"missing", rule}
    assert said[rule].endswith(sentence)


def test_a_key_that_was_retired_after_it_signed_counts(office: Office) -> None:
    approved(office)
    office.write_keys(bob={"valid_until": "2026-01-02T03:30:01Z"})
    assert office.judge().result.verdict is Verdict.VALID


def test_a_role_that_nobody_asks_for_does_not_count(office: Office) -> None:
    office.approve("carl", role="data-owner")
    assert causes(office.judge())["role"].endswith(
        "was given as data-owner, and the policy asks for release-manager."
    )


# --- replay, other data, tampering, downgrade, stale, mixed parts


STATEMENTS: dict[str, tuple[dict[str, object], str]] = {
    "type": (
        {"predicateType": "urn:devflow-migration-gate:approval:v0"},
        "has the type urn:devflow-migration-gate:approval:v0; the policy takes"
        " urn:devflow-migration-gate:approval:v1.",
    ),
    "statement": ({"verdict": "unknown"}, "is no approval of a report."),
    "other-policy": (
        {"policy": {"sha256": "00" * 32, "version": 1}},
        "was given under another policy (version 1); give it anew under version 2.",
    ),
    "older-keys": (
        {"keys_version": 6},
        "knew version 6 of the key file, and this is version 5; take the newest.",
    ),
    "other-bound": ({"bound": {}}, "speaks of another before than the report does."),
    "other-nonce": ({"report_nonce": "11" * 16}, "names another nonce than the report does."),
}


@pytest.mark.parametrize("rule", STATEMENTS)
def test_a_statement_on_something_else_does_not_count(office: Office, rule: str) -> None:
    changes, sentence = STATEMENTS[rule]
    office.approve("ann")
    office.approve("bob", **changes)
    said = causes(office.judge())
    assert set(said) == {"missing", rule}
    assert said[rule].endswith(sentence)


def test_a_time_that_is_no_time_is_no_approval(office: Office) -> None:
    office.approve("ann", approved_at="2026-02-30T00:00:00Z")
    assert set(causes(office.judge())) == {"missing", "statement"}


TIMES = {
    "before-report": ("2026-01-02T02:00:00Z", "before the report was made at"),
    "future": ("2026-01-02T05:00:00Z", "is yet to come; set the clocks right."),
    "old": ("2026-01-02T03:30:00Z", "the policy takes none older than 12 hours."),
}


@pytest.mark.parametrize("rule", TIMES)
def test_an_approval_of_a_wrong_time_does_not_count(office: Office, rule: str) -> None:
    at, sentence = TIMES[rule]
    office.approve("ann", at=at)
    now = NOW + timedelta(hours=12) if rule == "old" else NOW
    said = causes(office.judge(now=now))
    assert set(said) == {"missing", rule}
    assert sentence in said[rule]


def test_an_approval_of_another_report_does_not_count(office: Office) -> None:
    other = approved_reports.write_gate(
        office, replace(report_inputs.gate(), nonce="22" * 16), folder=office.root / "other"
    )
    office.approve("ann")
    path = office.approve("bob", report=other)
    said = causes(office.judge())
    assert set(said) == {"missing", "other-report"}
    assert said["other-report"].startswith(f"The approval {path.name} is of another report: it")
    office.approve("bob", gate=other)
    assert "was given beside the gate's report" in causes(office.judge())["other-gate"]


def test_an_approval_without_the_gates_report_does_not_stand_for_one_with_it(
    office: Office,
) -> None:
    approved(office)
    policy = copy.deepcopy(POLICY)
    del policy["gate"]
    office.write_policy(policy)
    said = causes(office.judge(gate=None))
    assert said["other-gate"].endswith(" and now none was given.")


@pytest.mark.parametrize("edit", ["payload", "sig", "keyid"])
def test_one_changed_letter_of_an_approval_is_noticed(office: Office, edit: str) -> None:
    approved(office)
    path = next((office.report / "approvals").iterdir())
    data = json.loads(path.read_bytes())
    place = data if edit == "payload" else data["signatures"][0]
    content = place[edit]
    place[edit] = content[:20] + ("A" if content[20] != "A" else "B") + content[21:]
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    rule = {"payload": "signature", "sig": "signature", "keyid": "unknown-key"}[edit]
    assert set(causes(office.judge())) == {"missing", rule}


def test_an_envelope_in_other_bytes_or_of_another_type_does_not_count(office: Office) -> None:
    path = office.approve("ann")
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps(data))
    assert "somebody has edited the envelope" in causes(office.judge())["damaged"]
    data["payloadType"] = "application/json"
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    assert "has a payload of the type application/json" in causes(office.judge())["payload-type"]


@pytest.mark.parametrize(
    "name", ["report.json", "report.html", "attestation.json", "before/data/vector.sqlite"]
)
def test_a_report_that_was_tampered_with_is_refused_whoever_approved(
    office: Office, name: str
) -> None:
    path = approved(office).report / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert office.judge().result.verdict is Verdict.INVALID


def test_other_databases_candidate_and_mapping_are_refused(office: Office) -> None:
    approved(office)
    with apsw.Connection(str(office.tree / "data" / "vector.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 7")
    (office.candidate.parent / "migrate.py").write_text("print('other')")
    (office.candidate.parent / "mapping.yaml").write_text("contract: 1\ntables: {a: {}}\n")
    said = causes(office.judge())
    assert set(said) >= {"other-before", "other-candidate", "other-mapping"}


def test_a_policy_that_asks_for_less_does_not_take_approvals_of_another(office: Office) -> None:
    approved(office)
    office.write_policy({**POLICY, "version": 3, "gate": {"age_hours_max": 1000}})
    said = causes(office.judge())
    assert set(said) == {"missing", "other-policy"}


def test_what_was_not_compared_is_unknown_never_valid(office: Office) -> None:
    approved(office)
    judged = judge(office.report, Given(), office.asked(), now=NOW)
    assert judged.result.verdict is Verdict.UNKNOWN
    assert "name them with --before" in judged.result.findings[0].cause
    half = judge(office.report, Given(before=office.tree), office.asked(), now=NOW)
    assert half.result.verdict is Verdict.UNKNOWN
    assert "name the manifest with --candidate" in half.result.findings[0].cause


@pytest.mark.parametrize("what", ["policy", "keys"])
def test_policy_and_keys_from_the_reports_own_folder_are_refused(office: Office, what: str) -> None:
    path = office.report / f"{what}.yaml"
    shutil.copyfile(getattr(office, what), path)
    asked = office.asked()
    asked = (
        replace(asked, policy=Policy.load(path))
        if what == "policy"
        else replace(asked, ring=KeyRing.load(path))
    )
    with pytest.raises(BadInputError, match="lies in the report's own folder"):
        judge(office.report, office.given(), asked, now=NOW)
