"""The benchmark of the history checkers: what it invents is right, and told with its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.histories import history_lines, invent, judge, measure_history

STEPS = {"invent_history": invent, "judge_history": judge}


def step(name: str, *given: object) -> dict[str, Any]:
    return {**STEPS[name](*map(str, given)), "own_mib": 1.0, "cpu_seconds": 1.0}


def test_what_is_invented_has_unsure_writes_and_is_judged_right(tmp_path: Path) -> None:
    invent(str(tmp_path), "4000", "7")
    told = judge(str(tmp_path))
    assert told["verdicts"] == ["valid", "valid"]
    assert told["operations"] == 4_000
    assert told["indefinite"] > 0
    assert told["examined"]["acknowledged writes"] > 1_000


def test_both_sizes_are_measured_and_told(tmp_path: Path) -> None:
    measured = measure_history(tmp_path, step, scale=0.01, seed=2)
    assert [one["operations"] for one in measured] == [500, 5_000]
    printed = list(history_lines(measured))
    assert any("5,000" in line for line in printed)
    assert "times that of the smaller one" in printed[-1]
