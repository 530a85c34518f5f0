"""Verifies a signed report: its signature, its files, and the digests of what it speaks about.

Every refusal is a finding with a sentence of its own. What was not at hand to be recomputed
is told too, for a check that looks at nothing proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import jsonschema
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key  # type: ignore[attr-defined]

from harness.attest import (
    ALGORITHMS,
    ATTESTATION,
    EXTENSION,
    PAYLOAD_TYPE,
    envelope_bytes,
    evidence_root,
)
from harness.candidate import Candidate
from harness.errors import BadInputError
from harness.fixture.copy import copy_tree
from harness.fixture.copy_database import copy_database
from harness.keys import PublicKey, load_public, public_from_hex
from harness.model import CheckResult, Finding, Severity, Verdict
from harness.report.digests import file_digest, harness_digest
from harness.report.model import Method
from harness.report.words import count, short
from harness.snapshot import Snapshot, database_digest

__all__ = ["Given", "verify", "verify_line"]

_DEADLINE_S = 10.0
_SCHEMA = Path(__file__).parent / "report" / "statement.schema.json"
_UNIFIED = "after/devflow.sqlite"
_WORDS = {
    "before": "The databases before the migration are not the ones that the report speaks of",
    "after": "The unified database is not the one that was judged",
    "candidate": "The candidate is another one than the report speaks of",
    "mapping": "The mapping is not the one that the report was made with",
    "policy": "The policy is not the one that the report was made with",
    "scenario": "A scenario is not the one that was run",
    "harness": "The report was made by another build of the harness; verify it with that one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the person who verifies has at hand, beside the report's folder itself.

    `keys` are files of public keys that they trust, `trusted` such keys themselves. `before` is a
    DevFlow tree and `after` a unified database; both are only read, through copies. `backup` is a
    migration's backup of such a tree: databases and log. `candidate` is a manifest, `scenarios` a
    folder of scenario files.
    """

    keys: Sequence[Path] = ()
    trusted: Sequence[PublicKey] = ()
    before: Path | None = None
    backup: Path | None = None
    after: Path | None = None
    candidate: Path | None = None
    mapping: Path | None = None
    policy: Path | None = None
    scenarios: Path | None = None


@dataclass(slots=True)
class _Account:
    """What was found and recomputed so far."""

    findings: list[Finding] = field(default_factory=list)
    recomputed: list[str] = field(default_factory=list)
    examined: dict[str, int] = field(default_factory=dict)

    def add(self, rule: str, cause: str, **more: Any) -> None:
        self.findings.append(Finding(rule=f"verify/{rule}", cause=cause, **more))

    def look(self, kind: str) -> None:
        self.examined[kind] = self.examined.get(kind, 0) + 1

    @property
    def refused(self) -> bool:
        return any(finding.severity is Severity.ERROR for finding in self.findings)


def verify(report: Path, given: Given | None = None, *, now: datetime | None = None) -> CheckResult:
    """Verify the report in the folder `report` (or that of a report.json).

    Valid: a key of `given` signed it, nothing bound has changed, and it says valid. Invalid:
    something of it is wrong, or it is genuine and says invalid. Unknown: nothing is wrong, but
    nobody vouches, or it says unknown. BadInputError where there is no such folder or key.
    """
    given = given or Given()
    folder = report.parent if report.is_file() else report
    if not folder.is_dir():
        raise BadInputError(f"{report} is not a report; name the folder that holds report.json.")
    keys = [load_public(path) for path in given.keys if not _inside(path, folder)]
    keys += given.trusted
    account = _Account()
    for path in given.keys:
        if _inside(path, folder):
            account.add(
                "key-from-report",
                f"{path} lies in the report's own folder, so it says nothing about who signed;"
                " give a key that came to you another way.",
                severity=Severity.WARNING,
            )
    statement = _statement(folder, keys, account)
    if statement is None:
        return _judged(account, None, vouched=False)
    extension = statement["predicate"][EXTENSION]
    vouched = bool(keys) and not extension["key"]["throwaway"]
    if not vouched:
        _nobody(account, keys, throwaway=extension["key"]["throwaway"])
    _check_time(extension, now or datetime.now(UTC), account)
    _check_files(folder, extension["evidence"], extension["ledger_roots"], account)
    _check_subjects(folder, statement, given, account)
    return _judged(account, extension, vouched=vouched)


def verify_line(result: CheckResult) -> str:
    """Return what `verify` concluded in one line for a terminal."""
    done = ", ".join(count(n, kind) for kind, n in result.examined.items())
    worst = [finding for finding in result.findings if finding.severity is Severity.ERROR]
    reason = (worst or result.findings)[0].cause if result.findings else result.details["says"]
    return f"{result.verdict}: {reason} ({done or 'nothing'} checked)"


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _judged(account: _Account, extension: dict[str, Any] | None, *, vouched: bool) -> CheckResult:
    said = Verdict(extension["verdict"]) if extension else Verdict.UNKNOWN
    if extension and said is Verdict.INVALID:
        account.add("says-invalid", "The report says invalid: what it speaks of must not go live.")
    elif extension and said is Verdict.UNKNOWN:
        cause = "The report says unknown: it does not prove what it speaks of."
        account.add("says-unknown", cause, severity=Severity.WARNING)
    if account.refused:
        verdict = Verdict.INVALID
    elif not vouched or said is not Verdict.VALID:
        verdict = Verdict.UNKNOWN
    else:
        verdict = Verdict.VALID
    account.findings.sort(key=lambda finding: list(Severity).index(finding.severity))
    key = extension["key"]["key_id"] if extension else None
    return CheckResult(
        checker="verify",
        verdict=verdict,
        findings=tuple(account.findings),
        examined=account.examined,
        verifies="The signature, each file of the report, and the digests of what was at hand.",
        does_not_verify="That this is the newest report, and that the key is in the right hands.",
        details={
            "says": f"The report is genuine and says {said}; signed with key {short(key or '')}.",
            "recomputed": list(account.recomputed),
            "key_id": key,
            "vouched": vouched,
        },
    )


def _nobody(account: _Account, keys: Sequence[PublicKey], *, throwaway: bool) -> None:
    if throwaway:
        cause = "It is signed with a throw-away key, so nobody vouches for it."
    else:
        cause = (
            "It is signed, but no key was given to check that against, so nobody is known to"
            " vouch for it; give the public key that you trust with --key."
        )
    account.add("nobody-vouches", cause, severity=Severity.WARNING)


# --- the envelope and the statement --------------------------------------------------------


def _statement(folder: Path, keys: Sequence[PublicKey], account: _Account) -> dict[str, Any] | None:
    """Return the statement if its signature holds, else add why not and return None."""
    path = folder / ATTESTATION
    if not path.is_file():
        account.add("unsigned", f"The report is not signed: there is no {ATTESTATION}.")
        return None
    envelope = _envelope(path.read_bytes(), account)
    if envelope is None:
        return None
    if keys and not _signed(envelope, keys, account):
        return None
    statement = _parsed(envelope.payload)
    if statement is None:
        account.add("statement", "What was signed is no statement on a report of this gate.")
        return None
    own = statement["predicate"][EXTENSION]["key"]["public"]
    if not keys and not _signed(envelope, (), account, own=own):
        return None
    account.look("signature")
    return statement


def _envelope(content: bytes, account: _Account) -> Envelope | None:
    try:
        data = json.loads(content)
        envelope = Envelope.from_dict(data)
        written = envelope_bytes(envelope)
    except (ValueError, KeyError, TypeError, AttributeError):
        account.add("envelope", f"{ATTESTATION} is damaged: it is no signed envelope.")
        return None
    if envelope.payload_type != PAYLOAD_TYPE:
        cause = f"The signed payload has the type {envelope.payload_type}, not {PAYLOAD_TYPE}."
        account.add("payload-type", cause)
        return None
    if written != content:
        cause = f"{ATTESTATION} is not as the gate wrote it: somebody has edited the envelope."
        account.add("envelope", cause)
        return None
    if not envelope.signatures:
        account.add("unsigned", f"The report is not signed: {ATTESTATION} holds no signature.")
        return None
    return envelope


def _parsed(payload: bytes) -> dict[str, Any] | None:
    try:
        statement = json.loads(payload)
        jsonschema.validate(statement, json.loads(_SCHEMA.read_bytes()))
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return None
    made: dict[str, Any] = statement
    return made


def _signed(
    envelope: Envelope, keys: Sequence[PublicKey], account: _Account, *, own: str = ""
) -> bool:
    """Say whether one of the trusted keys signed; without any, whether the named one did."""
    trusted: list[Key] = list(keys)
    try:
        trusted = trusted or [public_from_hex(own)]
        envelope.verify(trusted, 1)
    except (VerificationError, ValueError, TypeError):
        named = {key.keyid for key in trusted} & set(envelope.signatures)
        if keys and not named:
            signer = short(next(iter(envelope.signatures)))
            given = ", ".join(short(key.keyid) for key in keys)
            cause = f"The report was signed with another key: {signer}, not {given}."
            account.add("another-key", cause, expected=given, actual=signer)
        else:
            cause = "The signature does not fit: what was signed, or the signature, has changed."
            account.add("signature", cause)
        return False
    return True


def _check_time(extension: dict[str, Any], now: datetime, account: _Account) -> None:
    expires = extension["expires_at"]
    if expires is None:
        return
    account.look("expiry")
    if datetime.fromisoformat(expires) <= now:
        account.add("expired", f"The report expired at {expires}; run the gate again.")


# --- files and subjects -----------------------------------------------------------------------


def _check_files(
    folder: Path, evidence: dict[str, Any], ledgers: dict[str, str], account: _Account
) -> None:
    for name, digest in evidence["files"].items():
        path = folder / name
        account.look("report file")
        if not path.is_file():
            account.add("missing-file", f"{name} is missing from the report's folder.")
        elif (now := file_digest(path)) != digest:
            cause = f"{name} was changed after the report was signed."
            account.add("changed-file", cause, expected=short(digest), actual=short(now))
    if evidence_root(evidence["files"], ledgers) != evidence["root"]:
        account.add("evidence-root", "The evidence root does not fit the files that it names.")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a subject is recomputed: `own` is the copy that was kept in the report's folder.

    `asked`: the path itself was given, not only a folder that should hold it.
    """

    path: Path
    own: bool = False
    asked: bool = False


def _check_subjects(
    folder: Path, statement: dict[str, Any], given: Given, account: _Account
) -> None:
    subjects = [*statement["subject"], *statement["predicate"]["configuration"]]
    passed_over = []
    for subject in subjects:
        method = subject.get("annotations", {}).get("method")
        if method is None:
            continue  # report.json, which the evidence's files hold
        places = list(_places(folder, subject, given))
        if not places and subject["name"] != "harness":
            passed_over.append(subject["name"])
        if subject["name"] == "harness":
            _compare(subject, harness_digest(), account, _WORDS["harness"] + ".")
        for place in places:
            _check_subject(subject, Method(method), place, account)
    if passed_over:
        named = ", ".join(passed_over[:4]) + (", …" if len(passed_over) > 4 else "")
        cause = f"{count(len(passed_over), 'digest')} could not be recomputed here: {named}."
        account.add("not-recomputed", cause, severity=Severity.NOTE)


def _places(folder: Path, subject: dict[str, Any], given: Given) -> Iterator[_Place]:
    name = subject["name"]
    kept = subject["annotations"].get("path")
    if kept is not None:
        yield _Place(folder / kept, own=True)
    mapping = given.mapping
    if name == "mapping" and mapping is None and given.candidate and given.candidate.is_file():
        with contextlib.suppress(BadInputError):  # the candidate itself is told to be unreadable
            mapping = Candidate.load(given.candidate).mapping
    named = {
        "candidate": given.candidate,
        "mapping": mapping,
        "policy": given.policy,
        "before": given.before,
        _UNIFIED: given.after,
    }.get(name)
    if named is not None:
        yield _Place(named, asked=True)
    elif name.startswith("before/"):
        for tree in (given.before, given.backup):
            if tree is not None:
                yield _Place(tree / name.removeprefix("before/"))
    elif given.scenarios is not None and name.startswith("scenario/"):
        file = f"{name.removeprefix('scenario/')}.yaml"
        yield _Place(next(given.scenarios.rglob(file), given.scenarios / file))


def _check_subject(
    subject: dict[str, Any], method: Method, place: _Place, account: _Account
) -> None:
    what = next((words for start, words in _WORDS.items() if subject["name"].startswith(start)), "")
    if not place.path.exists():
        if place.asked:
            raise BadInputError(f"{place.path} does not exist; name what is to be compared.")
        cause = f"{what}: {place.path.name} is missing."
        account.add("missing-subject", cause, key=subject["name"])
        return
    where = f"{what} ({subject['name']})."
    if place.own and "sha256" in subject["digest"] and method is not Method.FILE:
        now = file_digest(place.path)
        if now != subject["digest"]["sha256"]:
            account.look("digest")
            cause = f"{where} Its bytes have changed since the report was signed."
            account.add("changed-database", cause, key=subject["name"])
            return
    try:
        now = _recomputed(method, place)
    except (BadInputError, apsw.Error) as error:
        account.add("unreadable", f"{where} It cannot be read: {error}", key=subject["name"])
        return
    _compare(subject, now, account, where, method=method)


def _compare(
    subject: dict[str, Any],
    now: str,
    account: _Account,
    cause: str,
    *,
    method: Method = Method.TREE,
) -> None:
    account.look("digest")
    account.recomputed.append(subject["name"])
    expected = subject["digest"].get(ALGORITHMS[method])
    if now != expected:
        rule = subject["name"].partition("/")[0]
        account.add(
            f"other-{rule}",
            cause,
            key=subject["name"],
            expected=short(expected or "nothing"),
            actual=short(now),
        )


def _recomputed(method: Method, place: _Place) -> str:
    if method is Method.FILE:
        return file_digest(place.path)
    if method is Method.CANDIDATE:
        return Candidate.load(place.path).digest
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        # Opening a database in WAL mode leaves files beside it: only copies are opened.
        copy = Path(scratch) / "copy"
        if method is Method.DATABASE:
            copy_database(place.path, copy, deadline_s=_DEADLINE_S)
            return database_digest(copy)
        if place.own:
            shutil.copytree(place.path, copy, symlinks=True)
        else:
            copy_tree(place.path, copy, deadline_s=_DEADLINE_S)
        return Snapshot.of(copy).digest()
