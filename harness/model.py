"""The words of the gate as frozen data: verdicts, findings, check results. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["COMMAND_S", "DATABASES", "CheckResult", "Finding", "Severity", "Verdict", "worst"]

DATABASES: Mapping[str, str] = {
    "root": "devflow.sqlite",
    "legacy": "data/devflow.sqlite",
    "vector": "data/vector.sqlite",
}
"""The legacy databases by their name here; each path is relative to the DevFlow root."""
COMMAND_S = 120
"""After how many seconds one command of a candidate is ended, where nothing else is asked for."""


class Verdict(StrEnum):
    """What a check, a scenario or a whole gate concludes; the worst of several wins."""

    VALID = "valid"
    UNKNOWN = "unknown"
    INVALID = "invalid"

    @property
    def rank(self) -> int:
        """0 for valid, 1 for unknown, 2 for invalid: the higher, the worse."""
        return list(Verdict).index(self)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of `verdicts`; of none at all it is unknown, never valid."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.UNKNOWN)


class Severity(StrEnum):
    """How much a finding weighs: an error makes a check invalid, the others do not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, with its place, its cause in words and how to see it again.

    `rule` is a stable slug such as `rows/value-changed`. `database` is a source name
    (`root`, `legacy`, `vector`, `registry`) or `unified`. `key`, `expected` and `actual`
    are printable renderings of typed values, shortened; they are None where they do not apply.
    """

    rule: str
    cause: str
    severity: Severity = Severity.ERROR
    database: str | None = None
    table: str | None = None
    key: str | None = None
    column: str | None = None
    expected: str | None = None
    actual: str | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one checker concluded, from how much, and what it does not speak of.

    `examined` counts what was looked at by kind (`{"root rows": 32}`). `details` holds
    JSON values for the report: figures, tables, the ledger's root. `not_examined` says what this
    machine lacks, where that is why nothing was looked at.
    """

    checker: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    examined: Mapping[str, int] = field(default_factory=dict)
    verifies: str = ""
    does_not_verify: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    elapsed_s: float = 0.0
    not_examined: str | None = None

    @classmethod
    def lacking(
        cls, checker: str, lack: str, *, verifies: str, does_not_verify: str
    ) -> CheckResult:
        """Return that nothing was examined, and why: it is unknown, with a warning that says so."""
        finding = Finding(
            rule=f"{checker}/not-examined",
            cause=f"not examined: {lack}",
            severity=Severity.WARNING,
        )
        return cls(
            checker=checker,
            verdict=Verdict.UNKNOWN,
            findings=(finding,),
            verifies=verifies,
            does_not_verify=does_not_verify,
            not_examined=lack,
        )

    @classmethod
    def judged(
        cls,
        checker: str,
        findings: Iterable[Finding],
        examined: Mapping[str, int],
        *,
        verifies: str,
        does_not_verify: str,
        details: Mapping[str, Any] | None = None,
    ) -> CheckResult:
        """Derive the verdict: an error finding is invalid, nothing examined is unknown."""
        kept = tuple(findings)
        if any(finding.severity is Severity.ERROR for finding in kept):
            verdict = Verdict.INVALID
        elif sum(examined.values()) == 0:
            verdict = Verdict.UNKNOWN
        else:
            verdict = Verdict.VALID
        return cls(
            checker=checker,
            verdict=verdict,
            findings=kept,
            examined=dict(examined),
            verifies=verifies,
            does_not_verify=does_not_verify,
            details=dict(details or {}),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values, enums as their text."""
        return asdict(self)
