"""Generated requests to one service, by schemathesis: counted, watched, and each failure kept.

The engine runs in this process, in one thread, from a seed. Nothing is written anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import schemathesis
from schemathesis import hooks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import CheckFailureInfo, ScenarioRecorder

__all__ = ["Failure", "Fuzzed", "fuzz"]

Mode = Literal["positive", "negative", "all"]
PHASES = ("examples", "coverage", "fuzzing", "stateful")
_TIMEOUT_S = 20.0
_MESSAGE_CHARACTERS = 400
_STEPS_MAX = 12
_HOST = "$URL"
_CHAINS = "Stateful tests: Missing Open API links"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One promise of a description that an answer broke.

    `check` is schemathesis's name for it, `requests` are lines for curl, the last of them the one
    that failed, with the service's address as `$URL`.
    """

    check: str
    operation: str
    title: str
    message: str
    status: int | None
    requests: tuple[str, ...]


@dataclass(slots=True)
class Fuzzed:
    """What came of some requests. `moved` are refused ones during which the database changed."""

    requests: int = 0
    refused: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[tuple[str, str, str], Failure] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    moved: list[str] = field(default_factory=list)
    operations: set[str] = field(default_factory=set)

    def add(self, other: Fuzzed) -> None:
        """Add what came of more requests."""
        self.requests += other.requests
        self.refused += other.refused
        self.statuses += other.statuses
        self.failures = other.failures | self.failures
        self.errors = other.errors | self.errors
        self.moved += other.moved
        self.operations |= other.operations


def fuzz(  # noqa: PLR0913 - each is one thing to bound
    url: str,
    description: str,
    *,
    mode: Mode,
    phases: Iterable[str],
    examples: int,
    seed: int,
    limit: int,
    operations: Iterable[str] = (),
    version: Callable[[], int],
) -> Fuzzed:
    """Send generated requests to the service at `url`, whose OpenAPI is at the path `description`.

    `examples` bound the cases of an operation, `limit` those of the whole; only `operations` are
    asked where some are named. `version` is a number that changes with the database; it is
    looked at before and after each request.
    """
    made = Fuzzed()
    wanted = set(phases)
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": url,
            "request-timeout": _TIMEOUT_S,
            "suppress-health-check": ["all"],
            "cache": {"enabled": False},
            "generation": {"mode": mode, "max-examples": examples, "database": "none"},
            "phases": {phase: {"enabled": phase in wanted} for phase in PHASES},
        }
    )
    try:
        schema = schemathesis.openapi.from_url(url + description, config=config)
    except schemathesis.errors.SchemathesisError as error:
        made.errors["description"] = _brief(str(error))
        return made
    named = list(operations)
    stream = from_schema(schema.include(operation_id=named) if named else schema).execute()
    with _watching(made, url, version=version, limit=limit, stop=stream.stop):
        for event in stream:
            if isinstance(event, events.ScenarioFinished):
                _keep(made, event.recorder, url)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                _keep_error(made, event)
    if named:  # chains may lead elsewhere
        made.errors = {k: v for k, v in made.errors.items() if not k.startswith(_CHAINS)}
    return made


@contextmanager
def _watching(
    made: Fuzzed,
    url: str,
    *,
    version: Callable[[], int],
    limit: int,
    stop: Callable[[], None],
) -> Iterator[None]:
    """Count each request, and look at the database around those that are refused."""
    before = version()

    def before_call(_context: Any, _case: Any, _kwargs: Any) -> None:
        nonlocal before
        before = version()

    def after_call(_context: Any, case: Any, response: Any) -> None:
        made.requests += 1
        made.statuses[response.status_code] += 1
        made.operations.add(case.operation.label)
        if 400 <= response.status_code < 500:
            made.refused += 1
            if version() != before:
                made.moved.append(f"{response.status_code} to {_curl(case, url)}")
        if made.requests >= limit:
            stop()

    for hook in (before_call, after_call):
        schemathesis.hook(hook)
    try:
        yield
    finally:
        for hook in (before_call, after_call):
            hooks.unregister(hook)


def _curl(case: Any, url: str) -> str:
    return str(case.as_curl_command()).replace(url, _HOST)


def _keep(made: Fuzzed, recorder: ScenarioRecorder, url: str) -> None:
    for identifier, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            failure = check.failure_info.failure
            case = recorder.cases[identifier].value
            interaction = recorder.interactions.get(identifier)
            response = interaction.response if interaction else None
            key = (check.name, case.operation.label, failure.title)
            made.failures.setdefault(
                key,
                Failure(
                    check=check.name,
                    operation=case.operation.label,
                    title=failure.title,
                    message=_brief(failure.message),
                    status=response.status_code if response else None,
                    requests=_requests(check.failure_info, url),
                ),
            )


def _requests(info: CheckFailureInfo, url: str) -> tuple[str, ...]:
    lines = [step.curl for step in info.steps] or [info.code_sample]
    return tuple(line.replace(url, _HOST) for line in lines[-_STEPS_MAX:])


def _keep_error(made: Fuzzed, event: events.NonFatalError | events.FatalError) -> None:
    if isinstance(event, events.NonFatalError):
        info = event.info
        made.errors[f"{event.label}: {info.title}"] = _brief(info.message or str(info))
    else:
        made.errors["the engine"] = _brief(repr(event.exception))


def _brief(text: str) -> str:
    said = " ".join(text.split())
    return said if len(said) <= _MESSAGE_CHARACTERS else said[:_MESSAGE_CHARACTERS] + "…"
