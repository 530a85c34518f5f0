"""An approved report of a tree, made as people would: a rehearsal, and somebody who signs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from harness import keys

__all__ = ["NotApprovedError", "approved"]

_DEADLINE_S = 300.0
_ROLE = "release-manager"
_POLICY = {
    "version": 1,
    "report": {
        "signed_by": "gate",
        "age_hours_max": 1,
        "checkers": {"rows": {"examined_min": 1}, "rollback": {"examined_min": 1}},
    },
    "approvals": {"age_hours_max": 1, "required": {_ROLE: 1}},
}


class NotApprovedError(Exception):
    """The migration of the tree is not approved; the text says why."""


def approved(tree: Path, manifest: Path, to: Path) -> Path:
    """Rehearse the candidate on `tree` and approve the report; return the folder that holds it.

    In `to` stand the folder `report`, `policy.yaml` and `keys.yaml`. NotApprovedError where the
    rehearsal is not valid, or its report is refused.
    """
    people = {owner: keys.generate(to / owner) for owner in ("gate", "manager")}
    roles = {"gate": "gate", "manager": _ROLE}
    entries = [
        {
            "owner": owner,
            "roles": [roles[owner]],
            "public": public.read_text(encoding="utf-8"),
            "valid_from": "2020-01-01T00:00:00Z",
        }
        for owner, (_, public) in people.items()
    ]
    (to / "policy.yaml").write_text(yaml.safe_dump(_POLICY), encoding="utf-8")
    ring = yaml.safe_dump({"version": 1, "keys": entries})
    (to / "keys.yaml").write_text(ring, encoding="utf-8")
    report = str(to / "report")
    _harness(
        *("rehearse", "--source", str(tree), "--candidate", str(manifest)),
        *("--out", report, "--key", str(people["gate"][0])),
    )
    _harness(
        *("approve", report, "--key", str(people["manager"][0]), "--role", _ROLE, "--yes"),
        *("--reason", "the container is tried on a copy"),
        *("--policy", str(to / "policy.yaml"), "--keys", str(to / "keys.yaml")),
        *("--before", str(tree), "--candidate", str(manifest)),
    )
    return to


def _harness(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE_S,
    )
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[-400:]
        raise NotApprovedError(f"`harness {words[0]}` ended with {done.returncode}: {said}")
