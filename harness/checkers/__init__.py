"""The checkers by the name that reports use: pure functions from evidence to a result."""

from __future__ import annotations

from collections.abc import Callable

from harness.checkers.evidence import Evidence
from harness.model import CheckResult

__all__ = ["CHECKERS", "Evidence"]

CHECKERS: dict[str, Callable[[Evidence], CheckResult]] = {}
