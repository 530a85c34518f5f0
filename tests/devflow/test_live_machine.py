"""Whatever is written, killed and tried again, whoever answers has every write, and nobody else."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from live_machine import REACHED, LiveMachine

_EXAMPLES = 80


def test_no_order_of_writes_steps_kills_and_ways_back_loses_a_write() -> None:
    run_state_machine_as_test(
        LiveMachine,
        settings=settings(
            max_examples=_EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert REACHED["runs"] >= _EXAMPLES
    for what, share in (
        ("writes after cutover", 0.25),
        ("writes after cutover and a rollback", 0.15),
        ("kills", 0.1),
    ):
        assert REACHED[what] >= share * REACHED["runs"], (what, REACHED)
