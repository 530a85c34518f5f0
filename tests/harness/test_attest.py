from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_inputs
from securesystemslib.dsse import Envelope

from harness import keys, report
from harness.attest import ATTESTATION, attest, evidence_root
from harness.errors import BadInputError, InvariantError
from harness.model import Finding, Severity
from harness.report.model import Ledger, Method, ReportInput, Subject, Vouching


def signed(out: Path, run: ReportInput, key: keys.SigningKey | None = None) -> dict[str, Any]:
    """Write and sign a report, and return its statement."""
    key = key or keys.throwaway()
    vouching = Vouching(key_id=key.key_id, throwaway=key.throwaway)
    report.write(replace(run, vouching=vouching), out)
    envelope = json.loads(attest(out, key).read_bytes())
    statement: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return statement


def test_the_envelope_is_one_that_securesystemslib_verifies(tmp_path: Path) -> None:
    key = keys.throwaway()
    signed(tmp_path, report_inputs.rehearsal(), key)
    data = json.loads((tmp_path / ATTESTATION).read_bytes())
    assert data["payloadType"] == "application/vnd.in-toto+json"
    assert Envelope.from_dict(data).verify([key.signer.public_key], 1)


def test_the_statement_is_an_in_toto_test_result(tmp_path: Path) -> None:
    statement = signed(tmp_path, report_inputs.gate())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    predicate = statement["predicate"]
    assert predicate["result"] == "PASSED"
    assert "hazard-00/rows" in predicate["passedTests"]
    assert {"mutants", "crash points", "no false alarm"} <= set(predicate["passedTests"])
    assert predicate["failedTests"] == predicate["warnedTests"] == []
    assert all(subject["digest"] for subject in statement["subject"])


def test_configuration_is_told_from_what_was_tested(tmp_path: Path) -> None:
    names = ("before", "candidate", "mapping", "policy", "harness", "scenario/a", "a:before")
    subjects = tuple(Subject(name=name, digest="ab" * 32, method=Method.FILE) for name in names)
    run = replace(report_inputs.rehearsal(), subjects=subjects)
    statement = signed(tmp_path, run)
    configuration = [item["name"] for item in statement["predicate"]["configuration"]]
    tested = [item["name"] for item in statement["subject"]]
    assert configuration == ["mapping", "policy", "harness", "scenario/a"]
    assert tested == ["before", "candidate", "a:before", "report.json"]


def test_a_digest_of_logical_content_is_not_passed_off_as_one_of_bytes(tmp_path: Path) -> None:
    subject = Subject(name="before/devflow.sqlite", digest="ab" * 32, method=Method.DATABASE)
    run = replace(report_inputs.rehearsal(), subjects=(subject,))
    assert signed(tmp_path, run)["subject"][0]["digest"] == {"sqliteContentSha256": "ab" * 32}


def test_warnings_make_a_pass_a_warned_one(tmp_path: Path) -> None:
    warning = Finding(rule="rows/odd", cause="odd", severity=Severity.WARNING)
    run = report_inputs.rehearsal(report_inputs.check("rows", warning))
    predicate = signed(tmp_path, run)["predicate"]
    assert (predicate["result"], predicate["warnedTests"]) == ("WARNED", ["rehearsal/rows"])


@pytest.mark.parametrize("examined", [0, 32])
def test_neither_invalid_nor_unknown_is_a_pass(tmp_path: Path, examined: int) -> None:
    found = [report_inputs.lost_row()] if examined else []
    run = report_inputs.rehearsal(report_inputs.check("rows", *found, examined=examined))
    predicate = signed(tmp_path, run)["predicate"]
    assert (predicate["result"], predicate["failedTests"]) == ("FAILED", ["rehearsal/rows"])


def test_the_extension_says_what_the_predicate_has_no_field_for(tmp_path: Path) -> None:
    statement = signed(tmp_path, report_inputs.gate())
    extension = statement["predicate"]["devflow_migration_gate"]
    assert extension["mutants"] == {"tried": 45, "caught": 45, "rate": 1.0}
    assert extension["crash_points"] == {"tried": 84, "converged": 84}
    assert extension["campaigns"][0]["examples"] == 200
    assert extension["ledger_roots"]["hazard-00"] == "5f" * 32
    assert extension["git"]["clean"] is True
    assert extension["versions"]["sqlite"] == "3.54.0"
    assert extension["seeds"] == {"fixture": 7}
    assert extension["nonce"] == "00" * 16
    assert extension["checks"][0]["does_not_verify"]


def test_the_evidence_root_covers_every_file_and_every_ledger() -> None:
    files, roots = {"report.json": "aa", "report.html": "bb"}, {"one": "cc"}
    first = evidence_root(files, roots)
    assert first != evidence_root({**files, "report.html": "bc"}, roots)
    assert first != evidence_root(files, {"one": "cd"})
    assert first != evidence_root(files, {})


def test_a_ledger_in_the_folder_is_bound(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"ledger")
    section = report_inputs.section()
    ledger = Ledger(root="5f" * 32, leaves=1, dispositions={"kept": 1}, path="ledger.sqlite")
    run = replace(report_inputs.rehearsal(), runs=(replace(section, ledger=ledger),))
    evidence = signed(tmp_path, run)["predicate"]["devflow_migration_gate"]["evidence"]
    assert set(evidence["files"]) == {
        "report.json", "report.html", "report.md", "junit.xml", "report.sarif", "ledger.sqlite",
    }  # fmt: skip


def test_a_ledger_outside_of_the_folder_is_not_bound_but_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"ledger")
    ledger = Ledger(root="5f" * 32, leaves=1, dispositions={"kept": 1}, path="../ledger.sqlite")
    section = replace(report_inputs.section(), ledger=ledger)
    run = replace(report_inputs.rehearsal(), runs=(section,))
    with pytest.raises(BadInputError, match="outside"):
        signed(tmp_path / "report", run)


def test_a_report_is_signed_only_by_the_key_that_it_names(tmp_path: Path) -> None:
    report.write(report_inputs.rehearsal(), tmp_path)
    with pytest.raises(InvariantError, match="vouches"):
        attest(tmp_path, keys.throwaway())
    assert not (tmp_path / ATTESTATION).exists()
