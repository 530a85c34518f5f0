"""Lets a cutover begin only with a report that is approved for it, and records that it was used.

The verifier is the gate's own, run as a process of its own: what it verified is what its
signers signed, and nothing is computed in two ways that might differ.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devflow.approval.record import begun_by, record_use
from devflow.migration.backups import MANIFEST
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

__all__ = ["Approved", "Gatekeeper", "unapproved"]

_CANDIDATE = Path(__file__).resolve().parent.parent / "candidate.yaml"
# -I: neither the environment nor the folder that one stands in can put another module in its place.
_VERIFIER = (sys.executable, "-I", "-m", "harness", "verify")
_DEADLINE_S = 1800.0
_TEXTS = ("report", "report_nonce", "policy")
_NUMBERS = ("policy_version", "keys_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """What an operator lays before the gatekeeper: the report's folder, and what judges it."""

    report: Path
    policy: Path
    keys: Path
    gate: Path | None = None
    used: Path | None = None


class Gatekeeper:
    """Asks the verifier about one tree's cutover."""

    def __init__(
        self,
        tree: Tree,
        approved: Approved,
        *,
        live: bool = False,
        verifier: tuple[str, ...] = _VERIFIER,
    ) -> None:
        """Keep what is given; `verifier` is the command before its arguments.

        A `live` migration is approved for its backup `before`: from there on the log of every
        write tells what the databases became, and the cutover follows it without a gap.
        """
        self._live = live
        self._tree = tree
        self._approved = approved
        self._verifier = verifier
        self._record = approved.used or tree.directory / "backups" / "uses.jsonl"

    def check(self, run: str | None) -> Mapping[str, Any]:
        """Return what the verifier says of the approval; raises `MigrationError` to refuse.

        Before the cutover the databases themselves are compared; a run that is in the record has
        begun to change them, and their backup stands for them.
        """
        compare = ["--before", str(self._tree.directory)]
        backed_up = (self._tree.backup("before") / MANIFEST).exists()
        if run is not None and (begun_by(self._record, run) or (self._live and backed_up)):
            compare = ["--backup", str(self._tree.backup("before"))]
        given = self._approved
        words = [
            *self._verifier, str(given.report.absolute()), "--json",
            "--policy", str(given.policy.absolute()), "--keys", str(given.keys.absolute()),
            "--candidate", str(_CANDIDATE), "--used", str(self._record.absolute()), *compare,
        ]  # fmt: skip
        if run is not None:
            words += ["--run", run]
        if given.gate is not None:
            words += ["--gate", str(given.gate.absolute())]
        return _answer(_asked(words))

    def allow(self, run: str) -> None:
        """Let the run begin its cutover, or go on with it; raises `MigrationError` to refuse."""
        approval = self.check(run)
        record_use(self._record, approval, run=run, tree=self._tree.directory)


def unapproved(_run: str | None = None) -> None:
    """Refuse: nothing was laid before the gatekeeper."""
    raise MigrationError(
        "not-approved",
        "a cutover needs an approved report; name it with --approval, and what judges it with"
        " --policy and --keys (`--until shadow` needs none, and neither does rollback)",
    )


def _asked(words: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_DEADLINE_S,
        )
    except OSError as error:
        text = f"the verifier cannot be run ({error.strerror}); install the gate beside devflow"
        raise MigrationError("no-verifier", text) from error
    except subprocess.TimeoutExpired as error:
        text = f"the verifier did not answer within {_DEADLINE_S:g} s; try it by hand"
        raise MigrationError("no-verifier", text) from error


def _answer(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    """Return the approval of an answer that says valid in every way; refuse any other."""
    try:
        said = json.loads(done.stdout)
        findings = [(one["severity"], str(one["cause"])) for one in said.get("findings", ())]
        valid = done.returncode == 0 and said["verdict"] == "valid"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        heard = " ".join(done.stderr.split())[-300:] or "nothing"
        text = f"the verifier gave no answer (exit code {done.returncode}; it said: {heard})"
        raise MigrationError("no-verifier", f"{text}; run harness verify by hand") from error
    if "error" in said:
        raise MigrationError("not-approved", f"the approval cannot be judged: {said['error']}")
    approval = said.get("approval")
    if valid and _whole(approval):
        kept = ("approvals", *_TEXTS, *_NUMBERS)
        return {name: approval[name] for name in kept}
    reasons = [cause for severity, cause in findings if severity == "error"]
    reasons = reasons or [cause for severity, cause in findings if severity == "warning"]
    reasons = reasons or [f"the verifier says {said['verdict']} and no reason"]
    raise MigrationError("not-approved", "\n  - ".join(["the cutover is not approved:", *reasons]))


def _whole(approval: object) -> bool:
    return (
        isinstance(approval, dict)
        and all(isinstance(approval.get(name), str) and approval[name] for name in _TEXTS)
        and all(type(approval.get(name)) is int for name in _NUMBERS)
        and isinstance(approval.get("approvals"), list)
        and bool(approval["approvals"])
    )
