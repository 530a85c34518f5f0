"""Speaks to a gate proxy's control port, from the migration's side."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any

from devflow.migration.errors import MigrationError

__all__ = ["GateControl"]

_HOST = "127.0.0.1"
_SPARE_S = 5.0
_AT_ONCE_S = 0.25


class GateControl:
    """The gate in front of `service`, whose proxy listens for control at 127.0.0.1:`port`."""

    def __init__(self, service: str, port: int) -> None:
        """Name it; it is asked only when it is used."""
        self.service = service
        self.port = port

    def hold(self, *, drain_s: float, lease_s: float) -> bool:
        """Hold new requests, wait for those in flight; False where they did not end in time."""
        answer = self._ask({"op": "hold", "drain_s": drain_s, "lease_s": lease_s}, drain_s)
        return bool(answer["ok"])

    def hold_if_there(self, *, drain_s: float, lease_s: float) -> bool:
        """Hold, for the way back; where no proxy stands at the port, there is nobody to hold."""
        return self.is_gone() or self.hold(drain_s=drain_s, lease_s=lease_s)

    def is_gone(self) -> bool:
        """Return whether no proxy stands at the port; one that is only busy is there."""
        try:
            socket.create_connection((_HOST, self.port), _SPARE_S).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def release(self, side: str) -> None:
        """Open towards `legacy` or `unified`."""
        self._ask({"op": "release", "side": side})

    def state(self) -> dict[str, Any]:
        """Return what the proxy says of itself: `side`, `in_flight`, `latency_ms`, …."""
        return self._ask({"op": "state"})

    def is_held(self) -> bool:
        """Return whether nothing passes: False where it says otherwise, or does not answer at once.

        One that was held may be open again: its lease has ended, or it was started anew.
        """
        with suppress(MigrationError):
            return self._ask({"op": "state"}, spare_s=_AT_ONCE_S)["side"] is None
        return False

    def let_go(self, side: str) -> None:
        """Release as far as that goes: where the proxy is gone, its lease ends by itself."""
        with suppress(MigrationError):
            self.release(side)

    def _ask(
        self, said: dict[str, object], wait_s: float = 0.0, spare_s: float = _SPARE_S
    ) -> dict[str, Any]:
        try:
            with socket.create_connection((_HOST, self.port), spare_s) as connection:
                connection.settimeout(wait_s + spare_s)
                with connection.makefile("rw") as lines:
                    lines.write(json.dumps(said) + "\n")
                    lines.flush()
                    answer: dict[str, Any] = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            text = (
                f"the gate proxy of {self.service} does not answer on port {self.port} ({error});"
                " start it again and apply again"
            )
            raise MigrationError("no-gate", text, definite=False) from error
        if "error" in answer:
            raise MigrationError("gate-refused", str(answer["error"]), definite=False)
        return answer
