"""A small tree with a real rehearsal of it, a policy, a key file and two persons' approvals."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from devflow_tree import LegacyTree

from harness import keys
from harness.approval import Asked, KeyRing, Policy, prepare
from harness.candidate import DEFAULT_MANIFEST
from harness.commands import rehearse_tree
from harness.verify import Given

PEOPLE = {"gate": "gate", "ann": "release-manager", "bob": "release-manager"}
POLICY: dict[str, Any] = {
    "version": 1,
    "report": {
        "signed_by": "gate",
        "age_hours_max": 24,
        "checkers": {"rows": {"examined_min": 1}, "rollback": {"examined_min": 1}},
    },
    "approvals": {"age_hours_max": 24, "required": {"release-manager": 2}},
}


@dataclass(frozen=True, slots=True)
class ApprovedTree:
    """Everything in one folder, so that a test can copy it and spoil what it likes."""

    root: Path

    @property
    def tree(self) -> LegacyTree:
        return LegacyTree(self.root / "devflow")

    @property
    def report(self) -> Path:
        return self.root / "rehearsal"

    @property
    def policy(self) -> Path:
        return self.root / "policy.yaml"

    @property
    def keys(self) -> Path:
        return self.root / "keys.yaml"

    @property
    def record(self) -> Path:
        return self.tree.directory / "backups" / "uses.jsonl"

    @property
    def options(self) -> list[str]:
        named = {"--approval": self.report, "--policy": self.policy, "--keys": self.keys}
        return [part for name, path in named.items() for part in (name, str(path))]

    def copy_to(self, out: Path) -> ApprovedTree:
        shutil.copytree(self.root, out, symlinks=True)
        return ApprovedTree(out)

    def private(self, person: str) -> Path:
        return self.root / "people" / person / keys.PRIVATE_NAME

    def write_keys(self, version: int = 1, **changes: dict[str, Any]) -> None:
        entries = [
            {
                "owner": person,
                "roles": [role],
                "public": (self.root / "people" / person / keys.PUBLIC_NAME).read_text(),
                "valid_from": "2020-01-01T00:00:00Z",
                **changes.get(person, {}),
            }
            for person, role in PEOPLE.items()
        ]
        self.keys.write_text(yaml.safe_dump({"version": version, "keys": entries}))

    def rehearse(self, manifest: Path = DEFAULT_MANIFEST) -> None:
        """Rehearse the tree anew; what was approved before is gone."""
        shutil.rmtree(self.report, ignore_errors=True)
        key = self.private("gate")
        rehearse_tree(self.tree.directory, self.report, manifest=manifest, key=key)

    def approve(self, *people: str) -> None:
        for person in people:
            prepare(
                self.report,
                Given(before=self.tree.directory, candidate=DEFAULT_MANIFEST),
                Asked(policy=Policy.load(self.policy), ring=KeyRing.load(self.keys)),
                key=keys.load_private(self.private(person)),
                role="release-manager",
                reason="the page is clean",
            ).sign()


def make(root: Path) -> ApprovedTree:
    """Build the tree, rehearse it and have it approved by both."""
    made = ApprovedTree(root)
    tree = LegacyTree.make(root / "devflow")
    tree.insert("legacy", "task_contexts", id="t", title="x")
    for person in PEOPLE:
        keys.generate(root / "people" / person)
    made.policy.write_text(yaml.safe_dump(POLICY))
    made.write_keys()
    made.rehearse()
    made.approve("ann", "bob")
    return made
