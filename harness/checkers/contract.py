"""The contract checker: what a legacy client asked for, it is told alike by the unified services.

Recorded requests (`fixtures/contracts/`) go to the legacy stand-ins on the databases as they
were, and to the candidate's services on the migrated ones, in the same order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import httpx
from deepdiff import DeepDiff

from harness.candidate_services import Service
from harness.checkers.evidence import Evidence
from harness.checkers.invariants import violations
from harness.checkers.recorded import Contract, Recorded, Sent, contracts, filled, found_in
from harness.checkers.serving import Served, digest_copy, served_after, served_before
from harness.fixture.folder import fixtures_folder
from harness.model import CheckResult, Finding, Severity
from harness.services import Live, ServiceError

__all__ = ["check", "replayed"]

_VERIFIES: Final = (
    "Every legacy task, memory and vector read by its id, lists, filters, searches, creations,"
    " changes, deletions and refusals: the unified service answers with the status and the body"
    " with which the legacy stand-in answered on the databases before the migration."
)
_DOES_NOT_VERIFY: Final = (
    "That the stand-ins answer as the originals did, which cannot be had. Of times made now and"
    " ids made up only the form is compared, of similarities five decimals, of a malformed"
    " request's sentence nothing; numbers are compared by value. What the stand-in itself fails"
    " at, the unified service may answer as it likes, except by failing. Ids that no URL can hold."
)
_TIMEOUT_S: Final = 30.0
_NEAR: Final = 5e-6
_NOW_S: Final = 900.0
_SHOWN_CHARACTERS: Final = 200
_SHOWN_DIFFERENCES: Final = 3
_FINDINGS_MAX: Final = 50


def check(evidence: Evidence) -> CheckResult:
    """Replay every contract of a legacy service that the candidate replaces."""
    known = contracts(fixtures_folder() / "contracts")
    pairs = [
        (known[service.replaces], service)
        for service in evidence.services
        if service.replaces in known
        and (not evidence.trial.only or service.name in evidence.trial.only)
    ]
    findings: list[Finding] = []
    examined: dict[str, int] = {}
    for contract, service in pairs:
        try:
            found, compared = replayed(contract, service, evidence)
        except ServiceError as error:
            findings.append(Finding(rule="contract/service", cause=str(error)))
            continue
        findings += found
        examined |= compared
    return CheckResult.judged(
        "contract",
        findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
    )


def replayed(
    contract: Contract, service: Service, evidence: Evidence
) -> tuple[list[Finding], dict[str, int]]:
    """Send every request of a contract to both sides; return findings, and what was compared."""
    with (
        served_before(evidence, [contract.service], "contract") as before,
        served_after(evidence, [service], "contract") as after,
    ):
        folder = after.tree.parent
        was = digest_copy(after.database, folder / "before.sqlite")
        with _Replay(contract, service.name, before=before, after=after) as replay:
            replay.run(evidence.before.directory)
        unsound, _ = violations(
            was, digest_copy(after.database, folder / "after.sqlite"), service=service.name
        )
    findings = unsound + replay.findings[:_FINDINGS_MAX]
    if (more := len(replay.findings) - _FINDINGS_MAX) > 0:
        findings.append(
            Finding(
                rule="contract/more",
                severity=Severity.NOTE,
                cause=f"{service.name}: {more} more requests are answered in another way",
            )
        )
    return findings, replay.counts()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status and body, the body parsed where it is JSON; or why nothing came."""

    status: int
    body: Any


class _Replay:
    """One contract while it is replayed."""

    def __init__(self, contract: Contract, name: str, *, before: Served, after: Served) -> None:
        self.contract, self.name = contract, name
        self.sides = before.services[contract.service], after.services[name]
        self.served = before, after
        self.clients = tuple(
            httpx.Client(base_url=side.url, timeout=_TIMEOUT_S) for side in self.sides
        )
        self.findings: list[Finding] = []
        self.compared = self.failing = 0
        self.kept: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        self.made: dict[str, str] = {}

    def __enter__(self) -> _Replay:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()

    def counts(self) -> dict[str, int]:
        """What was examined, by kind."""
        counts = {f"{self.name} requests": self.compared}
        if self.failing:
            counts[f"{self.name} requests that the stand-in fails at"] = self.failing
        return counts

    def run(self, legacy: Path) -> None:
        """Send all of it; what fills the requests is read from the databases as they were."""
        database = None if self.contract.database is None else legacy / self.contract.database
        there = database is not None and database.is_file() and database.stat().st_size > 0
        fillings: list[list[dict[str, Any]]] = [
            [{}]
            if recorded.each is None
            else list(found_in(database, recorded))
            if there and database is not None
            else []
            for recorded in self.contract.requests
        ]
        for recorded, rows in zip(self.contract.requests, fillings, strict=True):
            for served in self.served:
                served.providers.well.update(recorded.providers)
            for row in rows:
                self._one(recorded, row)

    def _one(self, recorded: Recorded, row: dict[str, Any]) -> None:
        sent = tuple(filled(recorded, {**row, **kept}) for kept in self.kept)
        answers = [
            _asked(client, one, running)
            for client, one, running in zip(self.clients, sent, self.sides, strict=True)
        ]
        for kept, answer in zip(self.kept, answers, strict=True):
            for name, key in recorded.keep.items():
                if isinstance(answer.body, dict) and key in answer.body:
                    kept[name] = answer.body[key]
        before, after = answers
        if before.status >= 500:
            self.failing += 1
            if after.status >= 500:
                self._find(sent[1], "contract/server-error", "no failure", f"status {after.status}")
            return
        self.compared += 1
        self._compare(recorded, sent[1], before, after)

    def _compare(self, recorded: Recorded, sent: Sent, before: Answer, after: Answer) -> None:
        if before.status != after.status:
            expected = f"{before.status}: {_shown(before.body)}"
            self._find(sent, "contract/status", expected, f"{after.status}: {_shown(after.body)}")
        elif before.status == 400:
            if not _says_why(after.body):
                self._find(sent, "contract/body", '{"error": a sentence}', _shown(after.body))
        else:
            forms = _Forms(recorded.volatile, self.made)
            was, now = forms.of(before.body, after.body)
            if was != now or _kinds(was) != _kinds(now):
                for expected, actual, place in _differences(was, now):
                    self._find(sent, "contract/body", expected, actual, place)

    def _find(self, sent: Sent, rule: str, expected: str, actual: str, place: str = "") -> None:
        request = f"{sent.method} {unquote(sent.path)}"
        body = sent.raw if sent.raw is not None else _shown(sent.body) if sent.body else ""
        what = "the body differs" if rule == "contract/body" else "the answer is another one"
        self.findings.append(
            Finding(
                rule=rule,
                cause=f"{self.name}: {request} {body}".rstrip() + f": {what}",
                database="unified",
                table=self.name,
                key=request[:_SHOWN_CHARACTERS],
                column=place or None,
                expected=expected,
                actual=actual,
            )
        )


def _asked(client: httpx.Client, sent: Sent, running: Live) -> Answer:
    content = sent.raw if sent.raw is not None else None
    if content is None and sent.method in ("POST", "PUT", "PATCH"):
        content = json.dumps(sent.body)
    headers = {"content-type": "application/json"} if content is not None else {}
    try:
        answer = client.request(sent.method, sent.path, content=content, headers=headers)
    except httpx.HTTPError as error:
        gone = "" if running.alive else "; its process has ended"
        return Answer(599, f"no answer: {type(error).__name__}{gone}")
    try:
        return Answer(answer.status_code, answer.json())
    except ValueError:
        return Answer(answer.status_code, answer.text)


def _says_why(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("error"), str) and bool(body["error"])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


# Comparing ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Forms:
    """Puts the form of a value where the value itself differs by nature, on both sides."""

    volatile: Any
    made: dict[str, str]
    now: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    def of(self, was: Any, now: Any, kind: str | None = None) -> tuple[Any, Any]:
        """Return both values, made equal wherever only their volatile parts differ."""
        if isinstance(was, dict) and isinstance(now, dict) and was.keys() == now.keys():
            pairs = {k: self.of(was[k], now[k], self.volatile.get(k)) for k in was}
            return {k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}
        if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
            items = [self.of(a, b) for a, b in zip(was, now, strict=True)]
            return [a for a, _ in items], [b for _, b in items]
        if kind is not None and was != now and self._alike(kind, was, now):
            return was, was
        return was, now

    def _alike(self, kind: str, was: Any, now: Any) -> bool:
        if kind in ("near", "number"):
            numbers = all(isinstance(v, int | float) for v in (was, now))
            return numbers and (kind == "number" or abs(was - now) <= _NEAR)
        if not isinstance(was, str) or not isinstance(now, str) or not was or not now:
            return False
        if kind == "time":
            return _shape(was) == _shape(now) and self._present(was) and self._present(now)
        return kind == "text" or self.made.setdefault(was, now) == now

    def _present(self, text: str) -> bool:
        """Whether it is a moment of this run, in UTC."""
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            return False
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return abs(moment.timestamp() - self.now) < _NOW_S


def _shape(text: str) -> str:
    return re.sub(r"\d", "9", text)


def _kinds(value: Any) -> Any:
    """Return true and false apart from 1 and 0, which Python takes for equal."""
    if isinstance(value, dict):
        return {key: _kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kinds(item) for item in value]
    return isinstance(value, bool)


def _differences(was: Any, now: Any) -> Iterator[tuple[str, str, str]]:
    """Yield expected, actual and place of the first few differences."""
    diff = DeepDiff(was, now, ignore_numeric_type_changes=True, view="tree", verbose_level=2)
    found = [change for changes in diff.values() for change in changes]
    for change in found[:_SHOWN_DIFFERENCES]:
        expected, actual = (
            "nothing" if type(side).__name__ == "NotPresent" else _shown(side)
            for side in (change.t1, change.t2)
        )
        yield expected, actual, change.path(root="body")
