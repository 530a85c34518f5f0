"""An approval: a statement of one person on one report, signed and kept beside it.

A DSSE envelope over an in-toto statement. Its subjects are the bytes of the report's
`attestation.json`, and of the gate's where one was laid beside it; so it fits no other report,
and nothing of what the report binds can be exchanged below it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from harness.approval.keyring import KeyRing, Signer
from harness.approval.policy import APPROVAL_TYPE, Policy
from harness.assemble import new_nonce
from harness.attest import (
    ALGORITHMS,
    ATTESTATION,
    EXTENSION,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    envelope_bytes,
)
from harness.errors import BadInputError
from harness.keys import PublicKey, SigningKey
from harness.report.files import write_atomically

__all__ = [
    "FOLDER",
    "Approval",
    "SignedReport",
    "UnfitError",
    "approval_path",
    "approvals_in",
    "read_approval",
    "sign_approval",
    "statement_for",
]

FOLDER = "approvals"
GATE_SUBJECT = f"gate/{ATTESTATION}"
_BYTES_MAX = 1 << 20


class UnfitError(Exception):
    """An approval cannot count: `rule` is a slug, the text a sentence."""

    def __init__(self, rule: str, text: str) -> None:
        """Take both as they are."""
        super().__init__(text)
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReport:
    """A report whose signature holds: the digest of its attestation's bytes, and what it says.

    `signed_by` are the ids of all keys whose signature it bears.
    """

    folder: Path
    digest: str
    statement: Mapping[str, Any]
    signed_by: frozenset[str]

    @classmethod
    def load(cls, folder: Path, keys: list[PublicKey]) -> SignedReport:
        """Read a report that `verify` found well signed with at least one of `keys`."""
        content = (folder / ATTESTATION).read_bytes()
        envelope = Envelope.from_dict(json.loads(content))
        return cls(
            folder=folder,
            digest=hashlib.sha256(content).hexdigest(),
            statement=json.loads(envelope.payload),
            signed_by=frozenset(key.keyid for key in keys if _verifies(envelope, key)),
        )

    @property
    def says(self) -> Mapping[str, Any]:
        """What the gate says of its run, beside the standard predicate."""
        said: Mapping[str, Any] = self.statement["predicate"][EXTENSION]
        return said

    @property
    def bound(self) -> dict[str, str]:
        """The digest of each thing that the report speaks of, by name."""
        listed = [*self.statement["subject"], *self.statement["predicate"]["configuration"]]
        return {
            one["name"]: one["digest"][ALGORITHMS[one["annotations"]["method"]]]
            for one in listed
            if "annotations" in one
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One approval whose signature holds; `digest` is of its file, `subjects` of what it names."""

    name: str
    digest: str
    signer: Signer
    predicate_type: str
    subjects: Mapping[str, str]
    says: Mapping[str, Any]

    @property
    def role(self) -> str:
        """What the person signed as."""
        return str(self.says["role"])

    @property
    def approved_at(self) -> datetime:
        """When, as the person's machine said."""
        return datetime.fromisoformat(self.says["approved_at"])


def _verifies(envelope: Envelope, key: PublicKey) -> bool:
    try:
        envelope.verify([key], 1)
    except VerificationError:
        return False
    return True


def statement_for(
    report: SignedReport,
    *,
    gate: SignedReport | None,
    policy: Policy,
    ring: KeyRing,
    role: str,
    reason: str,
    approved_at: str,
) -> dict[str, Any]:
    """Return the statement that a person is to sign."""
    subjects = [{"name": ATTESTATION, "digest": {"sha256": report.digest}}]
    if gate is not None:
        subjects.append({"name": GATE_SUBJECT, "digest": {"sha256": gate.digest}})
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": APPROVAL_TYPE,
        "predicate": {
            "format": 1,
            "role": role,
            "reason": reason,
            "approved_at": approved_at,
            "nonce": new_nonce(),
            "report_nonce": report.says["nonce"],
            "verdict": report.says["verdict"],
            "policy": {"sha256": policy.digest, "version": policy.version},
            "keys_version": ring.version,
            "bound": report.bound,
        },
    }


def sign_approval(folder: Path, statement: Mapping[str, Any], key: SigningKey) -> Path:
    """Sign the statement and keep it below the report's folder; return its path.

    An earlier approval with the same key in the same role is replaced.
    """
    payload = json.dumps(statement, sort_keys=True, ensure_ascii=False, allow_nan=False)
    envelope = Envelope(payload.encode(), PAYLOAD_TYPE, {})
    envelope.sign(key.signer)
    return write_atomically(approval_path(folder, statement, key), envelope_bytes(envelope))


def approval_path(folder: Path, statement: Mapping[str, Any], key: SigningKey) -> Path:
    """Return where the statement signed with this key lies below the report's folder."""
    return folder / FOLDER / f"{statement['predicate']['role']}-{key.key_id[:12]}.json"


def approvals_in(folder: Path) -> tuple[Path, ...]:
    """Return the files of a report's approvals, by name."""
    return tuple(sorted((folder / FOLDER).glob("*.json")))


def read_approval(path: Path, ring: KeyRing) -> Approval:
    """Read one approval; UnfitError where it is none, or where no known key signed it."""
    content = _content(path)
    name = f"The approval {path.name}"
    try:
        envelope = Envelope.from_dict(json.loads(content))
        written = envelope_bytes(envelope)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnfitError("damaged", f"{name} is damaged: it is no signed envelope.") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        cause = f"{name} has a payload of the type {envelope.payload_type}, not {PAYLOAD_TYPE}."
        raise UnfitError("payload-type", cause)
    if written != content:
        cause = f"{name} is not as it was written: somebody has edited the envelope."
        raise UnfitError("damaged", cause)
    if not envelope.signatures:
        raise UnfitError("unsigned", f"{name} is not signed.")
    if len(envelope.signatures) > 1:
        cause = f"{name} holds {len(envelope.signatures)} signatures; each person signs their own."
        raise UnfitError("doubled-signature", cause)
    signer = ring.by_id(next(iter(envelope.signatures)))
    if signer is None:
        cause = f"{name} was signed with a key that is not in the key file {ring.path.name}."
        raise UnfitError("unknown-key", cause)
    if not _verifies(envelope, signer.key):
        cause = f"The signature of the approval {path.name} does not fit: what was signed, or the"
        raise UnfitError("signature", f"{cause} signature, has changed.")
    return _approval(path.name, content, envelope.payload, signer)


def _approval(name: str, content: bytes, payload: bytes, signer: Signer) -> Approval:
    try:
        statement = json.loads(payload)
        _validator().validate(statement)
        approval = Approval(
            name=name,
            digest=hashlib.sha256(content).hexdigest(),
            signer=signer,
            predicate_type=statement["predicateType"],
            subjects={one["name"]: one["digest"]["sha256"] for one in statement["subject"]},
            says=statement["predicate"],
        )
        _ = approval.approved_at  # the pattern lets a 30th of February pass
    except (ValueError, RecursionError, jsonschema.ValidationError) as error:
        cause = f"What was signed in the approval {name} is no approval of a report."
        raise UnfitError("statement", cause) from error
    return approval


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_BYTES_MAX)
    except OSError as error:
        raise BadInputError(f"{path} cannot be read ({error.strerror}); mend it.") from error


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    file = Path(__file__).parent / "approval.schema.json"
    return jsonschema.Draft202012Validator(json.loads(file.read_bytes()))
