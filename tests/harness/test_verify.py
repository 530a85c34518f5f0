from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import report_inputs
import signed_reports
from securesystemslib.dsse import Envelope
from signed_reports import Signed

from harness import keys
from harness.attest import ATTESTATION, envelope_bytes
from harness.errors import BadInputError
from harness.model import CheckResult, Verdict
from harness.verify import Given, verify, verify_line


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return signed_reports.make(tmp_path_factory.mktemp("signed") / "all")


@pytest.fixture
def signed(pristine: Signed, tmp_path: Path) -> Signed:
    return pristine.copy_to(tmp_path / "all")


def with_all(signed: Signed) -> Given:
    return Given(
        keys=(signed.public,),
        before=signed.folder / "before",
        after=signed.folder / "after" / "devflow.sqlite",
        candidate=signed.candidate,
        mapping=signed.mapping,
        scenarios=signed.scenarios,
    )


def flip(path: Path, offset: int = -1) -> None:
    """Change one byte; the middle one where no offset is given."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if offset < 0 else offset] ^= 1
    path.write_bytes(content)


def rules(result: CheckResult) -> set[str]:
    return {finding.rule for finding in result.findings if finding.severity == "error"}


def test_a_report_that_nobody_touched_is_accepted(signed: Signed) -> None:
    result = verify(signed.folder, with_all(signed))
    assert result.verdict is Verdict.VALID
    assert result.findings == ()
    assert {"before", "after/devflow.sqlite", "candidate", "mapping", "harness"} <= set(
        result.details["recomputed"]
    )
    assert verify_line(result).startswith("valid: The report is genuine and says valid")


def test_verifying_leaves_the_report_as_it_was(signed: Signed) -> None:
    def states() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in signed.folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = states()
    verify(signed.folder, with_all(signed))
    assert states() == before


BOUND: dict[str, tuple[Callable[[Signed], Path], str]] = {
    "report.json": (lambda s: s.folder / "report.json", "report.json was changed"),
    "report.html": (lambda s: s.folder / "report.html", "report.html was changed"),
    "report.md": (lambda s: s.folder / "report.md", "report.md was changed"),
    "junit.xml": (lambda s: s.folder / "junit.xml", "junit.xml was changed"),
    "report.sarif": (lambda s: s.folder / "report.sarif", "report.sarif was changed"),
    "root before": (lambda s: s.folder / "before/devflow.sqlite", "databases before"),
    "legacy before": (lambda s: s.folder / "before/data/devflow.sqlite", "databases before"),
    "vector before": (lambda s: s.folder / "before/data/vector.sqlite", "databases before"),
    "log before": (lambda s: s.folder / "before/logs/model-registry.log", "databases before"),
    "start script before": (lambda s: s.folder / "before/devflow-start.sh", "databases before"),
    "unified": (lambda s: s.folder / "after/devflow.sqlite", "unified database is not the one"),
    "kept mapping": (lambda s: s.folder / "evidence/mapping.yaml", "The mapping is not the one"),
    "kept scenario": (lambda s: s.folder / "evidence/scenario/small.yaml", "A scenario is not"),
    "candidate's code": (lambda s: s.candidate.parent / "migrate.py", "candidate is another one"),
    "candidate's manifest": (lambda s: s.candidate, "candidate is another one"),
    "mapping in use": (lambda s: s.mapping, "The mapping is not the one"),
    "scenario in use": (lambda s: s.scenarios / "small.yaml", "A scenario is not the one"),
}


@pytest.mark.parametrize("bound", BOUND)
def test_one_changed_byte_of_anything_bound_is_refused(signed: Signed, bound: str) -> None:
    find, sentence = BOUND[bound]
    flip(find(signed))
    result = verify(signed.folder, with_all(signed))
    assert result.verdict is Verdict.INVALID
    assert sentence in " ".join(finding.cause for finding in result.findings)


def test_every_byte_of_the_attestation_counts(signed: Signed) -> None:
    path = signed.folder / ATTESTATION
    content = path.read_bytes()
    for offset in range(0, len(content), max(1, len(content) // 200)):
        flip(path, offset)
        assert verify(signed.folder, Given(keys=(signed.public,))).verdict is Verdict.INVALID
        path.write_bytes(content)


def test_an_envelope_that_says_the_same_in_other_bytes_is_refused(signed: Signed) -> None:
    path = signed.folder / ATTESTATION
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    result = verify(signed.folder, Given(keys=(signed.public,)))
    assert rules(result) == {"verify/envelope"}
    assert "somebody has edited the envelope" in verify_line(result)


def resign(signed: Signed, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the statement and sign it again with the right key."""
    path = signed.folder / ATTESTATION
    statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))
    change(statement)
    envelope = Envelope(json.dumps(statement).encode(), "application/vnd.in-toto+json", {})
    envelope.sign(keys.load_private(signed.private).signer)
    path.write_bytes(envelope_bytes(envelope))


def test_another_key_is_named(signed: Signed, tmp_path: Path) -> None:
    _, other = keys.generate(tmp_path / "other")
    result = verify(signed.folder, Given(keys=(other,)))
    assert rules(result) == {"verify/another-key"}
    assert "signed with another key" in verify_line(result)


def test_one_of_several_trusted_keys_is_enough(signed: Signed, tmp_path: Path) -> None:
    _, other = keys.generate(tmp_path / "other")
    assert verify(signed.folder, Given(keys=(other, signed.public))).verdict is Verdict.VALID


def test_an_unsigned_report_is_refused(signed: Signed) -> None:
    (signed.folder / ATTESTATION).unlink()
    result = verify(signed.folder, Given(keys=(signed.public,)))
    assert (result.verdict, rules(result)) == (Verdict.INVALID, {"verify/unsigned"})


def test_an_envelope_without_signatures_is_refused(signed: Signed) -> None:
    path = signed.folder / ATTESTATION
    data = json.loads(path.read_bytes())
    data["signatures"] = []
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    assert rules(verify(signed.folder, Given(keys=(signed.public,)))) == {"verify/unsigned"}


def test_a_signature_over_other_bytes_is_refused(signed: Signed) -> None:
    path = signed.folder / ATTESTATION
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    envelope.payload = envelope.payload.replace(b'"verdict": "valid"', b'"verdict": "vaLid"')
    path.write_bytes(envelope_bytes(envelope))
    assert rules(verify(signed.folder, Given(keys=(signed.public,)))) == {"verify/signature"}


def test_another_payload_type_is_refused(signed: Signed) -> None:
    path = signed.folder / ATTESTATION
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    envelope.payload_type = "application/json"
    envelope.sign(keys.load_private(signed.private).signer)
    path.write_bytes(envelope_bytes(envelope))
    assert rules(verify(signed.folder, Given(keys=(signed.public,)))) == {"verify/payload-type"}


@pytest.mark.parametrize("field", ["_type", "predicateType", "predicate"])
def test_a_statement_of_another_kind_is_refused(signed: Signed, field: str) -> None:
    resign(signed, lambda statement: statement.update({field: "https://example.org/other"}))
    assert rules(verify(signed.folder, Given(keys=(signed.public,)))) == {"verify/statement"}


@pytest.mark.parametrize("path", ["/etc/passwd", "../other", "a/../../b", "..", "a\nb"])
def test_a_statement_that_leads_out_of_the_folder_is_refused(signed: Signed, path: str) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["subject"][0]["annotations"]["path"] = path

    resign(signed, change)
    assert rules(verify(signed.folder, Given(keys=(signed.public,)))) == {"verify/statement"}


def test_evidence_that_does_not_fit_its_root_is_refused(signed: Signed) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["devflow_migration_gate"]["evidence"]["root"] = "00" * 32

    resign(signed, change)
    assert rules(verify(signed.folder, Given(keys=(signed.public,)))) == {"verify/evidence-root"}


def test_a_build_of_the_harness_that_differs_is_told(signed: Signed) -> None:
    def change(statement: dict[str, Any]) -> None:
        for item in statement["predicate"]["configuration"]:
            if item["name"] == "harness":
                item["digest"]["dirHash"] = "00" * 32

    resign(signed, change)
    result = verify(signed.folder, Given(keys=(signed.public,)))
    assert rules(result) == {"verify/other-harness"}
    assert "another build of the harness" in verify_line(result)


def test_a_file_that_is_gone_is_named(signed: Signed) -> None:
    (signed.folder / "report.html").unlink()
    (signed.folder / "after" / "devflow.sqlite").unlink()
    result = verify(signed.folder, Given(keys=(signed.public,)))
    assert rules(result) == {"verify/missing-file", "verify/missing-subject"}


def test_other_databases_are_refused(signed: Signed, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(signed.folder / "before", other)
    connection = apsw.Connection(str(other / "devflow.sqlite"))
    connection.execute("PRAGMA user_version = 77")
    connection.close()
    given = Given(keys=(signed.public,), before=other, after=other / "devflow.sqlite")
    result = verify(signed.folder, given)
    assert rules(result) == {"verify/other-before", "verify/other-after"}


def test_the_same_content_in_other_pages_is_accepted(signed: Signed, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    shutil.copyfile(signed.folder / "after" / "devflow.sqlite", other)
    connection = apsw.Connection(str(other))
    connection.execute("VACUUM")
    connection.close()
    given = Given(keys=(signed.public,), after=other)
    assert verify(signed.folder, given).verdict is Verdict.VALID


def test_without_a_key_nobody_vouches(signed: Signed) -> None:
    result = verify(signed.folder)
    assert result.verdict is Verdict.UNKNOWN
    assert "give the public key that you trust" in verify_line(result)


def test_a_key_out_of_the_reports_own_folder_vouches_for_nothing(signed: Signed) -> None:
    own = signed.folder / "key.pub.pem"
    shutil.copyfile(signed.public, own)
    result = verify(signed.folder, Given(keys=(own,)))
    assert result.verdict is Verdict.UNKNOWN
    assert "says nothing about who signed" in result.findings[0].cause


def test_a_throwaway_key_never_vouches(tmp_path: Path) -> None:
    key = keys.throwaway()
    signed = signed_reports.make(tmp_path / "all", key=key)
    public = tmp_path / "public.pem"
    public.write_bytes(key.public_pem)
    for given in (Given(), Given(keys=(public,))):
        result = verify(signed.folder, given)
        assert result.verdict is Verdict.UNKNOWN
        assert "throw-away key, so nobody vouches" in verify_line(result)


def test_without_a_key_a_changed_report_is_still_refused(signed: Signed) -> None:
    flip(signed.folder / "report.json")
    assert verify(signed.folder).verdict is Verdict.INVALID


def test_without_a_key_a_forged_statement_is_still_refused(signed: Signed) -> None:
    path = signed.folder / ATTESTATION
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    envelope.payload = envelope.payload.replace(b"Rehearsal", b"Reversal.")
    path.write_bytes(envelope_bytes(envelope))
    assert rules(verify(signed.folder)) == {"verify/signature"}


def test_without_a_mapping_the_candidates_own_is_compared(signed: Signed) -> None:
    signed.mapping.write_text("contract: 1\ntables: {}\n# another\n")
    given = Given(keys=(signed.public,), candidate=signed.candidate)
    assert rules(verify(signed.folder, given)) == {"verify/other-candidate", "verify/other-mapping"}


def test_a_genuine_report_of_a_failure_is_no_pass(tmp_path: Path) -> None:
    signed = signed_reports.make(tmp_path / "all", report_inputs.broken())
    result = verify(signed.folder, Given(keys=(signed.public,)))
    assert rules(result) == {"verify/says-invalid"}


def test_a_genuine_report_that_is_unknown_stays_unknown(tmp_path: Path) -> None:
    run = report_inputs.rehearsal(report_inputs.check("rows", examined=0))
    signed = signed_reports.make(tmp_path / "all", run)
    assert verify(signed.folder, Given(keys=(signed.public,))).verdict is Verdict.UNKNOWN


def test_an_expired_report_is_refused(tmp_path: Path) -> None:
    run = replace(report_inputs.rehearsal(), expires_at="2026-02-01T00:00:00Z")
    signed = signed_reports.make(tmp_path / "all", run)
    given = Given(keys=(signed.public,))
    expiry = datetime(2026, 2, 1, tzinfo=UTC)
    assert verify(signed.folder, given, now=expiry - timedelta(1)).verdict is Verdict.VALID
    assert rules(verify(signed.folder, given, now=expiry)) == {"verify/expired"}


def test_what_could_not_be_recomputed_is_told(signed: Signed) -> None:
    result = verify(signed.folder, Given(keys=(signed.public,)))
    assert [finding.rule for finding in result.findings] == ["verify/not-recomputed"]
    assert "candidate" in result.findings[0].cause


def test_a_path_that_leads_nowhere_is_bad_input(signed: Signed, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(BadInputError, match="is not a report"):
        verify(nowhere)
    for given in (
        Given(keys=(nowhere,)),
        Given(before=nowhere),
        Given(candidate=nowhere),
        Given(mapping=nowhere),
        Given(after=nowhere),
    ):
        with pytest.raises(BadInputError, match="nowhere"):
            verify(signed.folder, given)


def test_a_text_file_in_the_place_of_a_database_is_not_what_was_judged(
    signed: Signed, tmp_path: Path
) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, but long enough to look at" * 20)
    result = verify(signed.folder, Given(keys=(signed.public,), after=text))
    assert rules(result) == {"verify/unreadable"}
    assert "The unified database is not the one that was judged" in verify_line(result)
