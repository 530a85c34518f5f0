"""The checkers by the name that reports use: pure functions from evidence to a result."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from harness.checkers.evidence import Evidence
from harness.model import CheckResult

__all__ = ["CHECKERS", "Evidence"]

Checker = Callable[[Evidence], CheckResult]


def _checker(module: str) -> Checker:
    """Return the `check` of a module here, which is imported at its first use.

    Some need libraries that take long to load, and the processes that only hash rows need none.
    """

    def check(evidence: Evidence) -> CheckResult:
        loaded = importlib.import_module(f"{__name__}.{module}")
        result: CheckResult = loaded.check(evidence)
        return result

    return check


CHECKERS: dict[str, Checker] = {
    "schema": _checker("schema"),
    "rows": _checker("rows"),
    "in-use": _checker("in_use"),
    "integrity": _checker("integrity"),
    "configuration": _checker("configuration"),
    "backups": _checker("backups"),
    "ledger": _checker("ledger"),
    "contract": _checker("contract"),
    "api": _checker("api"),
    "durability": _checker("durability"),
    "containers": _checker("containers"),
    "rollback": _checker("rollback"),
}
"""In the order in which they are run and reported."""
