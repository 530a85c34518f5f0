"""Policy, key file and record of uses: how each is read, and what each mistake in them says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import approved_reports
import pytest
import yaml
from approved_reports import NOW, POLICY, Office, causes

from harness import keys
from harness.approval import APPROVAL_TYPE, KeyRing, Policy, judge
from harness.approval.used import read_uses
from harness.attest import PREDICATE_TYPE
from harness.errors import BadInputError
from harness.model import Verdict
from harness.verify import Given

LEAST = """\
version: 1
report:
  signed_by: gate
  age_hours_max: 24
  checkers:
    rows: {examined_min: 1}
approvals:
  age_hours_max: 24
  required: {release-manager: 1}
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return approved_reports.make(tmp_path_factory.mktemp("approval") / "office")


@pytest.fixture
def office(pristine: Office, tmp_path: Path) -> Office:
    return pristine.copy_to(tmp_path / "office")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return path


def test_the_least_policy_has_sound_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST)
    policy = Policy.load(path)
    assert policy.gate is None
    assert policy.types == (APPROVAL_TYPE,)
    assert policy.report.types == (PREDICATE_TYPE,)
    assert policy.report.kinds == ("rehearsal",)
    assert policy.digest == hashlib.sha256(path.read_bytes()).hexdigest()


POLICY_FAULTS = {
    "signed_by": ("signd_by", "3: unknown key 'signd_by'; did you mean 'signed_by'? in `report`"),
    "version: 1": ("version: 0", "1: 0 is not possible in `version`: A whole number from 1"),
    "examined_min: 1": ("examined_min: 0", "6: 0 is not possible in `report.checkers.rows.examin"),
    "  age_hours_max: 24\n  required": ("  required", "the key `age_hours_max` is missing"),
    "{release-manager: 1}": ("{}", "9: {} is not possible in `approvals.required`: Roles, each"),
    "approvals:": ("approvals: {}\napprovals:", "8: the key 'approvals' stands twice"),
    "age_hours_max: 24": ("age_hours_max: -1", "4: -1 is not possible in `report.age_hours_max`"),
}


@pytest.mark.parametrize("fault", POLICY_FAULTS)
def test_a_mistake_in_a_policy_is_named_with_its_line(tmp_path: Path, fault: str) -> None:
    instead, said = POLICY_FAULTS[fault]
    path = written(tmp_path, LEAST.replace(fault, instead, 1))
    with pytest.raises(BadInputError, match=re.escape(said)):
        Policy.load(path)


def test_a_policy_that_is_not_there_or_no_mapping_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"the policy .* cannot be read"):
        Policy.load(tmp_path / "none.yaml")
    with pytest.raises(BadInputError, match=r"a policy is a mapping of keys; docs/approval\.md"):
        Policy.load(written(tmp_path, "- 1\n"))


def test_a_mistake_in_a_gates_part_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + "gate: {age_hours_max: 1, mutants: {tried_min: 3}}\n")
    with pytest.raises(BadInputError, match=r"the key `rate_min` is missing in `gate\.mutants`"):
        Policy.load(path)


def ring(tmp_path: Path, *entries: dict[str, Any]) -> Path:
    _, public = keys.generate(tmp_path / "pair")
    made = [
        {
            "owner": "Ann",
            "roles": ["release-manager"],
            "public": public.read_text(),
            "valid_from": "2026-01-01T00:00:00Z",
            **entry,
        }
        for entry in entries
    ]
    return written(tmp_path, yaml.safe_dump({"version": 1, "keys": made}, sort_keys=False))


def test_a_time_may_stand_without_quotes_and_a_key_has_its_times(tmp_path: Path) -> None:
    path = ring(tmp_path, {"valid_until": "2027-01-01T00:00:00Z", "owner": " Ann\tArcher "})
    path.write_text(path.read_text().replace("'2027-01-01T00:00:00Z'", "2027-01-01T00:00:00Z"))
    (signer,) = KeyRing.load(path).signers
    assert signer.owner == "Ann Archer"
    assert signer.valid_until == datetime(2027, 1, 1, tzinfo=UTC)


KEY_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a word too many": ({"ownr": "x"}, "unknown key 'ownr'; did you mean 'owner'? in `keys.0`"),
    "no time": ({"valid_from": "2026-02-30T00:00:00Z"}, "'2026-02-30T00:00:00Z' is not possible"),
    "another form": ({"valid_from": "2026-01-01"}, "A time in UTC such as 2026-01-31T12:00:00Z"),
    "backwards": ({"valid_until": "2025-01-01T00:00:00Z"}, "comes before `valid_from`"),
    "no reason": ({"revoked_at": "2026-01-02T00:00:00Z"}, "is not possible in `keys.0`: One key"),
    "no key": ({"public": "x"}, "this is not a public key in PEM"),
    "a role's form": ({"roles": ["Release Manager"]}, "Small letters, digits and hyphens"),
}


@pytest.mark.parametrize("fault", KEY_FAULTS)
def test_a_mistake_in_a_key_file_is_named(tmp_path: Path, fault: str) -> None:
    entry, said = KEY_FAULTS[fault]
    with pytest.raises(BadInputError, match=re.escape(said)):
        KeyRing.load(ring(tmp_path, entry))


def test_one_key_of_two_persons_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="the key of Bob is the key of Ann too; each key"):
        KeyRing.load(ring(tmp_path, {}, {"owner": "Bob"}))


# --- the record of uses


def use(office: Office, **changes: Any) -> dict[str, Any]:
    judged = office.judge()
    assert judged.report is not None
    return {
        "report": judged.report.digest,
        "report_nonce": judged.report.says["nonce"],
        "run": "run-1",
        "tree": "/srv/devflow",
        "at": "2026-01-02T03:50:00Z",
        "policy_version": 2,
        "keys_version": 5,
        **changes,
    }


def record(office: Office, *uses: dict[str, Any]) -> Path:
    path = office.root / "uses.jsonl"
    previous, lines = "0" * 64, b""
    for one in uses:
        line = json.dumps({**one, "previous": previous}).encode()
        previous, lines = hashlib.sha256(line).hexdigest(), lines + line + b"\n"
    path.write_bytes(lines)
    return path


@pytest.fixture
def approved(office: Office) -> Office:
    office.approve("ann")
    office.approve("bob")
    return office


@pytest.mark.parametrize("change", [{}, {"report": "00" * 32}, {"report_nonce": "33" * 16}])
def test_a_report_that_was_used_before_is_refused(approved: Office, change: dict[str, str]) -> None:
    path = record(approved, use(approved, **change))
    assert causes(approved.judge(used=path)) == {
        "used": "The report was used before, at 2026-01-02T03:50:00Z for /srv/devflow;"
        " rehearse again and have the new report approved."
    }


def test_a_record_that_is_not_there_yet_refuses_nothing(approved: Office) -> None:
    judged = approved.judge(used=approved.root / "none.jsonl", run="run-1")
    assert judged.result.verdict is Verdict.VALID


def test_the_run_that_used_a_report_may_go_on_when_it_has_grown_old(approved: Office) -> None:
    path = record(approved, use(approved))
    late = NOW + timedelta(days=30)
    assert approved.judge(used=path, run="run-1", now=late).result.verdict is Verdict.VALID
    assert set(causes(approved.judge(used=path, run="run-2", now=late))) > {"used", "report-old"}


def test_a_run_cannot_go_on_with_another_report(approved: Office) -> None:
    path = record(approved, use(approved, report="00" * 32))
    assert causes(approved.judge(used=path, run="run-1"))["other-run"] == (
        "This migration was begun with another report; go on with that one."
    )


@pytest.mark.parametrize(("key", "rule"), [("policy", "older-policy"), ("keys", "older-key")])
def test_a_policy_or_key_file_older_than_one_in_use_is_refused(
    approved: Office, key: str, rule: str
) -> None:
    other = {"report": "00" * 32, "report_nonce": "", f"{key}_version": 9}
    said = causes(approved.judge(used=record(approved, use(approved, **other))))
    assert set(said) == {rule}
    assert said[rule].endswith("and version 9 was in use already; take the newest.")


SPOILT: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a line taken out": (lambda lines: lines[1:], ":1: the line before was changed or taken out"),
    "a line changed": (
        lambda lines: [lines[0].replace(b"run-1", b"run-9"), *lines[1:]],
        ":2: the line before was changed or taken out",
    ),
    "a line cut off": (lambda lines: [*lines[:-1], lines[-1][:40]], ":2: this is no use of a rep"),
    "a line of something else": (lambda lines: [b"[]", *lines], ":1: this is no use of a report"),
    "a number as text": (
        lambda lines: [lines[0].replace(b'"policy_version": 2', b'"policy_version": "2"')],
        ":1: this is no use of a report",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_record_that_was_meddled_with_refuses_everything(approved: Office, how: str) -> None:
    spoil, said = SPOILT[how]
    path = record(approved, use(approved), use(approved, run="run-2"))
    path.write_bytes(b"\n".join(spoil(path.read_bytes().splitlines())))
    with pytest.raises(BadInputError, match=re.escape(said)):
        approved.judge(used=path)


def test_a_record_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"the record of uses .* cannot be read"):
        read_uses(tmp_path)


def test_resuming_compares_the_backup_and_not_the_tree(approved: Office) -> None:

    given = Given(backup=approved.tree, candidate=approved.candidate)
    assert judge(approved.report, given, approved.asked(), now=NOW).result.verdict == "valid"
    (approved.tree / "logs" / "model-registry.log").write_text("other\n")
    judged = judge(approved.report, given, approved.asked(), now=NOW)
    assert set(causes(judged)) == {"other-before"}


def test_the_policy_of_the_tests_is_a_policy(office: Office) -> None:
    assert Policy.load(office.policy).required == POLICY["approvals"]["required"]
