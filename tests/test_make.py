"""The Makefile's targets, without making anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = (
    "setup", "gate", "scenario", "test", "coverage", "check", "bench", "image", "clean", "help",
)  # fmt: skip


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-o", ".venv/.ready", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_says_of_every_target_what_it_makes() -> None:
    told = {line.split()[1]: line.split()[2:] for line in _make("help").stdout.splitlines()}
    assert set(TARGETS) <= set(told)
    assert all(words for words in told.values())


def test_make_alone_is_make_help() -> None:
    assert _make().stdout == _make("help").stdout


def test_the_gate_is_given_profile_seed_and_folder() -> None:
    told = _make("-n", "gate", "PROFILE=full", "SEED=3", "OUT=there").stdout.strip()
    assert told == ".venv/bin/harness gate --profile full --seed 3 --out there"


def test_a_scenario_goes_by_its_name_or_its_file() -> None:
    assert _make("-n", "scenario", "NAME=emoji", "SEED=7").stdout.splitlines()[-1].split() == [
        ".venv/bin/harness", "scenario", "emoji", "--seed", "7",
    ]  # fmt: skip
    assert "harness scenario found.yaml" in _make("-n", "scenario", "FILE=found.yaml").stdout


def test_a_scenario_without_a_name_lists_those_that_there_are() -> None:
    done = _make("scenario")
    assert done.returncode
    assert "say which" in done.stdout
    assert "  emoji" in done.stdout.splitlines()


def test_ci_runs_check_and_test_without_stdin() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert script.startswith("#!/usr/bin/env bash\n")
    assert all(
        line in script.splitlines()
        for line in ("set -euo pipefail", "exec </dev/null", "make check", "make test")
    )
