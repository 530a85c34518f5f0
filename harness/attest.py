"""Attests a report: a DSSE envelope over an in-toto Statement of a test result.

The statement (https://in-toto.io/Statement/v1, predicate test-result/v0.1) binds what was
tested (subjects), with what (configuration), each check's verdict, and the report's files by
their digests. What the predicate has no field for stands under `devflow_migration_gate`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope

from harness.errors import BadInputError, InvariantError
from harness.keys import SigningKey
from harness.report.digests import file_digest, lines_digest
from harness.report.files import REPORT_FILES, load, write_atomically
from harness.report.model import Method

__all__ = [
    "ALGORITHMS",
    "ATTESTATION",
    "EXTENSION",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "attest",
    "envelope_bytes",
    "evidence_of",
    "evidence_root",
    "statement_of",
]

ATTESTATION = "attestation.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION = "devflow_migration_gate"
FORMAT = 1

# A logical digest is no SHA-256 of an artifact's bytes, so in-toto must not match it as one.
ALGORITHMS: Mapping[str, str] = {
    Method.DATABASE: "sqliteContentSha256",
    Method.SNAPSHOT: "treeContentSha256",
    Method.FILE: "sha256",
    Method.TREE: "dirHash",
    Method.CANDIDATE: "candidateSha256",
}
_CONFIGURATION = ("mapping", "policy", "harness", "scenario/")
_TEST_RESULTS = {"valid": "PASSED", "unknown": "FAILED", "invalid": "FAILED"}


def attest(report: Path, key: SigningKey) -> Path:
    """Sign the report in the folder `report` with `key` and return attestation.json's path.

    The report must name this very key, for its page says who vouches; InvariantError otherwise.
    """
    document = load(report)
    named = document["vouching"]
    if named != {"key_id": key.key_id, "throwaway": key.throwaway}:
        raise InvariantError(f"The report says that {named} vouches, not the key {key.key_id}.")
    statement = statement_of(document, evidence=evidence_of(report, document), key=key)
    payload = json.dumps(statement, sort_keys=True, ensure_ascii=False, allow_nan=False)
    envelope = Envelope(payload.encode(), PAYLOAD_TYPE, {})
    envelope.sign(key.signer)
    return write_atomically(report / ATTESTATION, envelope_bytes(envelope))


def envelope_bytes(envelope: Envelope) -> bytes:
    """Return the one form in which an envelope is written, so that no byte of it is free."""
    return (json.dumps(envelope.to_dict(), indent=1, sort_keys=True) + "\n").encode()


def evidence_of(report: Path, document: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each of the report's own files by relative path, ledgers included."""
    names = [name for name in REPORT_FILES if (report / name).is_file()]
    for run in document["runs"]:
        if run["ledger"] and run["ledger"]["path"]:
            names.append(run["ledger"]["path"])
    for name in names:
        if not (report / name).resolve().is_relative_to(report.resolve()):
            raise BadInputError(f"{name} lies outside the report's folder {report}; copy it there.")
    return {name: file_digest(report / name) for name in dict.fromkeys(names)}


def evidence_root(files: Mapping[str, str], ledgers: Mapping[str, str]) -> str:
    """Return one digest over the report's files and the ledgers' Merkle roots."""
    return lines_digest({**files, **{f"ledger root: {run}": root for run, root in ledgers.items()}})


def statement_of(
    document: Mapping[str, Any], *, evidence: Mapping[str, str], key: SigningKey
) -> dict[str, Any]:
    """Return the in-toto statement on a report; `evidence` are its files' digests."""
    subjects: list[dict[str, Any]] = []
    configuration: list[dict[str, Any]] = []
    for subject in document["subjects"]:
        bare = subject["name"].rpartition(":")[2]
        configures = bare.startswith(_CONFIGURATION)
        (configuration if configures else subjects).append(_descriptor(subject))
    subjects.append({"name": "report.json", "digest": {"sha256": evidence["report.json"]}})
    passed, warned, failed = _tests(document)
    result = _TEST_RESULTS[document["verdict"]]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": "WARNED" if result == "PASSED" and warned else result,
            "configuration": configuration,
            "passedTests": passed,
            "warnedTests": warned,
            "failedTests": failed,
            EXTENSION: _extension(document, evidence=evidence, key=key),
        },
    }


def _descriptor(subject: Mapping[str, Any]) -> dict[str, Any]:
    digest = {ALGORITHMS[subject["method"]]: subject["digest"]}
    if subject["sha256"]:
        digest["sha256"] = subject["sha256"]
    descriptor: dict[str, Any] = {"name": subject["name"], "digest": digest}
    annotations = {"method": subject["method"]}
    if subject["path"]:
        annotations["path"] = subject["path"]
    return {**descriptor, "annotations": annotations}


def _tests(document: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Return the names of what passed, passed with warnings, and did not (unknown included)."""
    passed: list[str] = []
    warned: list[str] = []
    failed: list[str] = []
    for run in document["runs"]:
        for check in run["checks"]:
            name = f"{run['name']}/{check['checker']}"
            if check["verdict"] != "valid":
                failed.append(name)
            else:
                (warned if check["warnings"] else passed).append(name)
    others = {
        "mutants": document["mutants"],
        "no false alarm": document["false_alarms"],
        "crash points": document["crash_points"],
        **{f"property: {campaign['claim']}": campaign for campaign in document["campaigns"]},
    }
    for name, part in others.items():
        if part:
            (passed if part["verdict"] == "valid" else failed).append(name)
    return passed, warned, failed


def _extension(
    document: Mapping[str, Any], *, evidence: Mapping[str, str], key: SigningKey
) -> dict[str, Any]:
    ledgers = {run["name"]: run["ledger"]["root"] for run in document["runs"] if run["ledger"]}
    copied = (
        "verdict", "kind", "title", "profile", "candidate", "left_out", "not_examined", "examined",
        "git", "versions", "seeds", "started_at", "finished_at", "expires_at", "nonce", "counter",
    )  # fmt: skip
    return {
        "format": FORMAT,
        **{name: document[name] for name in copied},
        "checks": [
            {name: check[name] for name in ("checker", "verdict", "verifies", "does_not_verify")}
            for check in document["checks"]
        ],
        "mutants": _figures(document["mutants"], "tried", "caught", "rate"),
        "crash_points": _figures(document["crash_points"], "tried", "converged"),
        "campaigns": [_figures(c, "claim", "examples", "seed") for c in document["campaigns"]],
        "ledger_roots": ledgers,
        "evidence": {"files": dict(evidence), "root": evidence_root(evidence, ledgers)},
        "key": {
            "key_id": key.key_id,
            "throwaway": key.throwaway,
            "public": key.signer.public_key.keyval["public"],
        },
    }


def _figures(part: Mapping[str, Any] | None, *names: str) -> dict[str, Any] | None:
    return {name: part[name] for name in names} if part else None
