"""The api checker: whatever is asked of a service, it keeps what its description promises.

Each service runs alone on a copy of the migrated database. First it gets requests that are wrong,
then all kinds, alone and in chains. Afterwards the database is read by SQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from harness.candidate_services import Service
from harness.checkers.evidence import Evidence
from harness.checkers.fuzzing import Failure, Fuzzed, fuzz
from harness.checkers.invariants import violations
from harness.checkers.serving import Served, digest_copy, served_after
from harness.model import CheckResult, Finding
from harness.scenario import Trial
from harness.services import ServiceError
from harness.snapshot import database_differences, database_facts

__all__ = ["check", "tried"]

_VERIFIES: Final = (
    "No generated request, alone or in a chain, is answered by a server error, by a status or a"
    " body that the description does not promise, or by a refusal of what the description allows;"
    " what is wrong is refused, and what is refused changes nothing; afterwards SQLite finds the"
    " database sound, no reference dangles that did not before, full-text indexes are in step, no"
    " vector is without its block nor block of the vector store without its vector, and"
    " cost_analytics is its opening balance and the sum of its usage; what entities are mentioned"
    " together, related and believed follows from what was learned and said, each thing once, and"
    " what is believed of a platform from the outcomes that were reported."
)
_DOES_NOT_VERIFY: Final = (
    "That the descriptions promise what a client needs; what only requests side by side, or"
    " longer chains than were drawn, would show; load."
)
_DEEPER: Final = 8
_ROUNDS_MAX: Final = 40


def check(evidence: Evidence) -> CheckResult:
    """Try every service of the candidate that the scenario names."""
    trial = evidence.trial
    chosen = [s for s in evidence.services if not trial.only or s.name in trial.only]
    findings: list[Finding] = []
    examined: Counter[str] = Counter()
    details: list[dict[str, Any]] = []
    for service, served in _started(evidence, chosen):
        if isinstance(served, ServiceError):
            findings.append(Finding(rule="api/service", cause=str(served)))
            continue
        found, fuzzed, held = tried(service, served, trial)
        findings += found
        examined[f"{service.name} requests"] += fuzzed.requests
        examined["refusals that changed nothing"] += fuzzed.refused - len(fuzzed.moved)
        examined["invariants"] += held
        details.append(
            {
                "service": service.name,
                "requests": fuzzed.requests,
                "operations": len(fuzzed.operations),
                "statuses": {str(s): n for s, n in sorted(fuzzed.statuses.items())},
                "findings": len(found),
            }
        )
    return CheckResult.judged(
        "api",
        findings,
        examined,
        verifies=_VERIFIES,
        does_not_verify=_DOES_NOT_VERIFY,
        details={"services": details},
    )


def _started(
    evidence: Evidence, chosen: list[Service]
) -> Iterator[tuple[Service, Served | ServiceError]]:
    """Yield each service as it runs on a copy of its own, the next one starting meanwhile."""
    with ExitStack() as stack:
        for service in chosen:
            try:
                place = f"api/{service.name}"
                yield service, stack.enter_context(served_after(evidence, [service], place))
            except ServiceError as error:
                yield service, error
            stack.close()


def tried(service: Service, served: Served, trial: Trial) -> tuple[list[Finding], Fuzzed, int]:
    """Send it requests; return the findings, what was sent, and how many invariants held.

    `served` is how it runs, as a process or otherwise, on a database that nobody else writes.
    """
    folder = served.tree.parent
    before = digest_copy(served.database, folder / "before.sqlite")
    url = served.services[service.name].url
    with _versions(served.database) as version:
        fuzzed = _wrong_ones(service, url, trial, version)
        after_wrong = digest_copy(served.database, folder / "after-refusals.sqlite")
        findings = list(_changed(service, before, after_wrong, fuzzed))
        fuzzed.add(_all_kinds(service, url, trial, version))
    if not served.services[service.name].alive:
        findings.append(
            Finding(rule="api/gone", cause=f"{service.name} ended while it was asked things")
        )
    after = digest_copy(served.database, folder / "after.sqlite")
    broken, held = violations(before, after, service=service.name)
    findings += broken
    findings += [_failed(service, failure) for failure in fuzzed.failures.values()]
    findings += [
        Finding(
            rule="api/description",
            cause=f"{service.name}: what its description says cannot be tried: {place}: {text}",
            table=service.name,
        )
        for place, text in fuzzed.errors.items()
    ]
    return findings, fuzzed, held


def _wrong_ones(service: Service, url: str, trial: Trial, version: Callable[[], int]) -> Fuzzed:
    return fuzz(
        url,
        service.openapi,
        mode="negative",
        phases=("fuzzing",),
        examples=trial.examples,
        seed=trial.seed,
        limit=trial.requests_max,
        operations=trial.operations,
        version=version,
    )


def _all_kinds(service: Service, url: str, trial: Trial, version: Callable[[], int]) -> Fuzzed:
    """Send what the examples and the edges of the description give, then chains; then more."""
    made = Fuzzed()
    for turn in range(_ROUNDS_MAX):
        left = trial.requests_max - made.requests
        deeper = 1 if turn == 0 else _DEEPER
        made.add(
            fuzz(
                url,
                service.openapi,
                mode="all",
                phases=("examples", "coverage", "fuzzing", "stateful")
                if turn == 0
                else ("fuzzing", "stateful"),
                examples=trial.examples * deeper,
                seed=trial.seed + turn,
                limit=left,
                operations=trial.operations,
                version=version,
            )
        )
        if made.requests >= min(trial.requests, trial.requests_max) or made.errors:
            break
    return made


@contextmanager
def _versions(database: Path) -> Iterator[Callable[[], int]]:
    """Yield a function whose answer changes when somebody else commits to the database."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(5_000)
    try:
        yield lambda: int(connection.pragma("data_version"))
    finally:
        connection.close()


def _changed(service: Service, before: Path, after: Path, fuzzed: Fuzzed) -> Iterator[Finding]:
    """Yield what differs although all that was sent was refused at the time."""
    if not fuzzed.moved:
        return
    for finding in database_differences(
        database_facts(before), database_facts(after), database="unified", check="api"
    ):
        yield Finding(
            rule="api/refused-and-changed",
            cause=f"{service.name} refused a request and changed the database: {finding.cause};"
            f" {fuzzed.moved[0]}",
            database="unified",
            table=finding.table,
            key=fuzzed.moved[0],
            expected=finding.expected,
            actual=finding.actual,
        )


def _failed(service: Service, failure: Failure) -> Finding:
    return Finding(
        rule=f"api/{failure.check.replace('_', '-')}",
        cause=f"{service.name}: {failure.operation}: {failure.title}: {failure.message}",
        database="unified",
        table=service.name,
        key=" && ".join(failure.requests),
        expected="what the description promises",
        actual=None if failure.status is None else f"status {failure.status}",
    )
