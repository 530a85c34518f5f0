"""Signed reports over real databases, candidate and mapping, for the tests of verification."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import report_inputs

from harness import keys, report
from harness.attest import attest
from harness.candidate import Candidate
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.report import bind
from harness.report.model import ReportInput, Vouching
from harness.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed report's folder, the public key, and the things outside that it is bound to."""

    folder: Path
    private: Path
    public: Path
    candidate: Path
    mapping: Path
    scenarios: Path

    def copy_to(self, out: Path) -> Signed:
        """Return all of it copied below `out`, for a test to spoil."""
        root = self.folder.parent
        shutil.copytree(root, out, symlinks=True)
        return Signed(
            **{
                name: out / getattr(self, name).relative_to(root)
                for name in ("folder", "private", "public", "candidate", "mapping", "scenarios")
            }
        )


def candidate_in(folder: Path) -> Path:
    """Write a candidate with its mapping into `folder` and return its manifest."""
    folder.mkdir(parents=True)
    (folder / "mapping.yaml").write_text("contract: 1\ntables: {}\n")
    (folder / "migrate.py").write_text("print('migrated')\n")
    manifest = folder / "candidate.yaml"
    manifest.write_text(
        "contract: 1\nname: small\nkind: command\ncommand: [python, migrate.py]\n"
        "mapping: mapping.yaml\n"
    )
    return manifest


def make(
    root: Path, run: ReportInput | None = None, *, key: keys.SigningKey | None = None
) -> Signed:
    """Build a tree, bind it with a candidate and a scenario, write and sign the report."""
    private, public = keys.generate(root / "keys")
    manifest = candidate_in(root / "candidate")
    scenarios = root / "scenarios"
    scenarios.mkdir()
    (scenarios / "small.yaml").write_text("name: small\n")
    folder = root / "report"
    build(Recipe(profile="as-planned", scale=0.1), folder / "before")
    after = folder / "after" / "devflow.sqlite"
    after.parent.mkdir(parents=True)
    shutil.copyfile(folder / "before" / "devflow.sqlite", after)
    subjects = [
        *bind.bind_snapshot(Snapshot.of(folder / "before"), kept="before"),
        bind.bind_database(after, name="after/devflow.sqlite", kept="after/devflow.sqlite"),
        bind.bind_candidate(Candidate.load(manifest)),
        bind.bind_harness(),
        *bind.keep_copies(
            [
                ("mapping", manifest.parent / "mapping.yaml"),
                ("scenario/small", scenarios / "small.yaml"),
            ],
            folder,
        ),
    ]
    signing = key or keys.load_private(private)
    made = replace(
        run or report_inputs.rehearsal(),
        subjects=tuple(subjects),
        vouching=Vouching(key_id=signing.key_id, throwaway=signing.throwaway),
    )
    report.write(made, folder)
    attest(folder, signing)
    return Signed(
        folder=folder,
        private=private,
        public=public,
        candidate=manifest,
        mapping=manifest.parent / "mapping.yaml",
        scenarios=scenarios,
    )
