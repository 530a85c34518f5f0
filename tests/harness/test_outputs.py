"""A job's outputs, and the action that sets them: its own steps are run, as a runner runs them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_inputs
import told_histories
import yaml

from harness import report
from harness.report.document import as_document
from harness.report.markdown import render_markdown
from harness.report.outputs import outputs

ROOT = Path(__file__).resolve().parent.parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["id"]: step for step in ACTION["runs"]["steps"] if "id" in step}
REFERENCE = re.compile(r"\$\{\{ (steps|inputs)\.([\w-]+)(?:\.outputs\.([\w-]+))? \}\}")


def test_the_figures_are_those_of_the_report() -> None:
    figures = outputs(as_document(report_inputs.gate(survivor=True, failing=True)), folder="out")
    assert figures["verdict"] == "invalid"
    assert figures["report"] == "out/report.html"
    assert (figures["mutants-caught"], figures["mutants-tried"]) == ("44", "45")
    assert figures["errors"] == "1"
    assert figures["line"].startswith("invalid: ")


def test_each_figure_is_one_line_whatever_the_report_holds() -> None:
    for made in report_inputs.INPUTS.values():
        named = replace(made(), title="two\nlines")
        for value in outputs(as_document(named), folder="out").values():
            assert "\n" not in value


def test_what_clients_felt_stands_in_the_outputs_and_in_the_summary() -> None:
    """101 requests, of which one failed; nobody was let wait, so there is a gap of a request."""
    base = report_inputs.gate()
    document = as_document(
        replace(base, runs=(*base.runs, told_histories.section("there-and-back")))
    )
    figures = outputs(document, folder="out")
    assert (figures["load-requests"], figures["load-failed"]) == ("101", "1")
    assert 0 < float(figures["load-gap-ms-max"]) < 10
    assert "1/101 requests under load failed" in figures["line"]
    summary = render_markdown(document)
    (row,) = [line for line in summary.splitlines() if line.startswith("| there-and-back | 101 ")]
    assert row.split(" | ")[1:4] == ["101", "1", "1"]
    nobody = outputs(as_document(base), folder="out")
    assert [nobody[f"load-{what}"] for what in ("requests", "failed", "gap-ms-max")] == [""] * 3
    assert "Under load" not in render_markdown(as_document(base))


# The action -------------------------------------------------------------------------------------


def run_step(step: str, where: Path, **environment: str) -> tuple[int, dict[str, str], str]:
    """Run a step's script with bash; return its exit code, its outputs and what it printed."""
    told = where / f"{step}.outputs"
    told.touch()
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
        cwd=where,
        env=os.environ
        | {
            "GITHUB_OUTPUT": str(told),
            "GITHUB_STEP_SUMMARY": str(where / "summary.md"),
            "RUNNER_TEMP": str(where),
        }
        | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pairs = (line.split("=", 1) for line in told.read_text().splitlines())
    return done.returncode, dict(pairs), done.stdout + done.stderr


def harness(folder: Path) -> str:
    """The real command, by a path that a step can call."""
    command = folder / "harness"
    command.write_text(f'#!/bin/sh\nexec "{ROOT}/.venv/bin/python" -m harness "$@"\n')
    command.chmod(0o755)
    return str(command)


def test_the_action_names_only_inputs_steps_and_outputs_that_there_are() -> None:
    known = set(outputs(as_document(report_inputs.gate()), folder="."))
    known |= {"exit-code", "digest", "python-version"}
    found = REFERENCE.findall((ROOT / "action.yml").read_text())
    assert len(found) > 15
    for kind, name, output in found:
        if kind == "inputs":
            assert name in ACTION["inputs"]
        else:
            assert name in STEPS
            assert output in known


def test_the_cache_is_another_one_when_the_lock_is(tmp_path: Path) -> None:
    digests = set()
    for lock in ("a==1\n", "a==2\n"):
        (tmp_path / "requirements.lock").write_text(lock)
        (tmp_path / "pyproject.toml").write_text("[project]\n")
        (tmp_path / "key.outputs").unlink(missing_ok=True)
        code, told, _ = run_step("key", tmp_path)
        assert code == 0
        digests.add(told["digest"])
    assert len(digests) == 2
    cache = str(STEPS["cache"]["with"]["key"])
    assert "steps.key.outputs.digest" in cache and "steps.python.outputs.python-version" in cache


@pytest.mark.parametrize(("code", "said"), [(0, "::notice"), (1, "::error"), (254, "::error")])
def test_the_action_ends_as_the_gate_did_and_says_so(tmp_path: Path, code: int, said: str) -> None:
    ended, _, printed = run_step("decide", tmp_path, CODE=str(code), LINE="valid: 3 scenarios")
    assert ended == code
    assert printed.startswith(said)
    assert "valid: 3 scenarios" in printed


def test_the_action_tells_the_figures_and_writes_the_summary(tmp_path: Path) -> None:
    report.write(report_inputs.gate(), tmp_path / "out")
    code, told, _ = run_step("figures", tmp_path, GATE=harness(tmp_path), OUT="out", CODE="0")
    assert code == 0
    assert told == outputs(as_document(report_inputs.gate()), folder="out")
    assert "✅ Valid" in (tmp_path / "summary.md").read_text()


def test_the_action_says_that_there_is_no_report(tmp_path: Path) -> None:
    code, told, _ = run_step("figures", tmp_path, GATE=harness(tmp_path), OUT="out", CODE="254")
    assert (code, told) == (0, {})
    assert "exit code 254" in (tmp_path / "summary.md").read_text()


def test_the_action_keeps_the_key_to_itself_and_hands_the_exit_code_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.write_text('#!/bin/sh\nstat -c %a "$GATE_KEY"; cat "$GATE_KEY"; exit 2\n')
    gate.chmod(0o755)
    given: dict[str, Any] = {"OUT": "out", "PROFILE": "quick", "SEED": "1"}
    code, told, printed = run_step("gate", tmp_path, GATE=str(gate), KEY="secret", **given)
    assert (code, told) == (0, {"exit-code": "2"})
    assert printed.split() == ["600", "secret"]
    assert not (tmp_path / "gate.key").exists()


def test_the_hooks_run_targets_that_there_are() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {hook["entry"].removeprefix("make ") for hook in hooks} <= targets
