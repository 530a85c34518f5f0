"""Following waits while the services answer slowly, and not for ever."""

from __future__ import annotations

from typing import Any

from devflow.live.control import GateControl
from devflow.live.throttle import Throttle


class Telling(GateControl):
    """A gate that tells one latency after another, the last one for ever."""

    def __init__(self, *latencies_ms: float) -> None:
        super().__init__("telling", 0)
        self.left = list(latencies_ms)
        self.asked = 0

    def state(self) -> dict[str, Any]:
        self.asked += 1
        return {"latency_ms": self.left.pop(0) if len(self.left) > 1 else self.left[0]}


def test_services_that_answer_as_before_are_not_waited_for() -> None:
    gate = Telling(4.0, 8.9)
    throttle = Throttle([gate])
    throttle.wait()
    assert gate.asked == 2


def test_slow_services_are_waited_for_until_they_answer_as_before() -> None:
    gate = Telling(4.0, 30.0, 20.0, 10.0, 4.0)
    Throttle([gate]).wait()
    assert gate.asked == 5


def test_a_service_that_stays_slow_does_not_hold_the_migration_up() -> None:
    gate = Telling(4.0, 100.0)
    throttle = Throttle([gate])
    throttle.wait()
    assert gate.asked == 21
    assert throttle.waited_s > 0


def test_a_gate_that_does_not_answer_is_not_waited_for() -> None:
    throttle = Throttle([GateControl("nobody", 1)])
    throttle.wait()
    assert throttle.waited_s < 1
