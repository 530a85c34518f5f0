"""Follows no faster than the services can bear: their gates tell how long answers take."""

from __future__ import annotations

import time
from collections.abc import Iterable

from devflow.live.control import GateControl
from devflow.migration.errors import MigrationError

__all__ = ["Throttle"]

_SLOWER = 2.0
_SLOWER_MS = 5.0
_PAUSE_S = 0.05
_PAUSES_MAX = 20


class Throttle:
    """Waits before each portion as long as answers take more than twice what they took at first.

    It waits for a second at most, so that a service that is slow for reasons of its own does not
    keep the migration from its end. A gate that does not answer is not waited for.
    """

    def __init__(self, gates: Iterable[GateControl]) -> None:
        """Ask each gate how long answers take now."""
        self._gates = list(gates)
        self._bearable_ms = [
            max(_SLOWER * now, now + _SLOWER_MS) for now in map(_latency_ms, self._gates)
        ]
        self.waited_s = 0.0

    def wait(self) -> None:
        """Let the services catch their breath."""
        begun = time.monotonic()
        for _ in range(_PAUSES_MAX):
            if not self._are_slow():
                break
            time.sleep(_PAUSE_S)
        self.waited_s += time.monotonic() - begun

    def _are_slow(self) -> bool:
        return any(
            _latency_ms(gate) > bearable
            for gate, bearable in zip(self._gates, self._bearable_ms, strict=True)
        )


def _latency_ms(gate: GateControl) -> float:
    try:
        return float(gate.state()["latency_ms"])
    except MigrationError:
        return 0.0
