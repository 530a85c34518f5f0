"""Speaks the candidate contract: `python -m devflow.migration plan|apply|status|rollback|serve`."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import apsw

from devflow.migration import phases
from devflow.migration.errors import MigrationError, sqlite_says
from devflow.migration.tree import Tree

CONTRACT = 1
EXIT_UNCHANGED, EXIT_INDEFINITE = 1, 3
_OPERATIONS = ("plan", "apply", "status", "rollback")
_REQUEST = {
    "contract", "tree", "paths", "until", "keep_writes", "approval", "lockstep", "op", "gates",
}  # fmt: skip


class _Speaker:
    """Writes events as JSON lines, and in lockstep waits for a line after each step's events."""

    def __init__(self, commands: TextIO, events: TextIO) -> None:
        self._commands = commands
        self._events = events
        self.lockstep = False
        self.steps_done = 0

    def tell(self, event: Mapping[str, object]) -> None:
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()
        if event["event"] == "step_done" and not event.get("skipped"):
            self.steps_done += 1
        if self.lockstep and event["event"] in ("step_started", "step_done"):
            self._commands.readline()


def _read(line: str) -> dict[str, Any]:
    """Parse a request; every mistake in it is one sentence."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MigrationError("bad-request", f"stdin's first line is no JSON: {error}") from error
    if not isinstance(request, dict) or request.get("contract") != CONTRACT:
        raise MigrationError(
            "bad-request", f"the request must be an object with contract {CONTRACT}"
        )
    unknown = sorted(set(request) - _REQUEST)
    if unknown:
        raise MigrationError("bad-request", f"the request has an unknown key {unknown[0]!r}")
    if not isinstance(request.get("tree"), str):
        raise MigrationError("bad-request", "the request's tree must be a directory's path")
    if request.setdefault("until", phases.PHASES[-1]) not in phases.PHASES:
        known = ", ".join(phases.PHASES)
        raise MigrationError("bad-request", f"until is {request['until']!r}; it may be {known}")
    return request


def _perform(operation: str, request: dict[str, Any], speaker: _Speaker) -> None:
    if operation not in _OPERATIONS:
        known = ", ".join(_OPERATIONS)
        raise MigrationError("bad-request", f"op is {operation!r}; it may be {known}")
    keep_writes = bool(request.get("keep_writes"))
    if keep_writes and operation == "apply":
        raise MigrationError("bad-request", "keep_writes is for rollback; apply keeps them anyway")
    tree = Tree.at(Path(request["tree"]), request.get("paths"))
    speaker.lockstep = bool(request.get("lockstep"))
    way = _way(request.get("gates"))
    if operation == "plan":
        for step in phases.plan(tree, request["until"], way, keep_writes=keep_writes):
            speaker.tell({"event": "planned", "phase": step.phase, "step": step.name})
        state = phases.status(tree)
    elif operation == "apply":
        state = phases.apply(tree, request["until"], speaker.tell, way=way)
    elif operation == "rollback":
        state = phases.rollback(tree, speaker.tell, way, keep_writes=keep_writes)
    else:
        state = phases.status(tree)
    speaker.tell({"event": "done", "state": state})


def _way(gates: object) -> phases.Way:
    """Return how to migrate: live where the request names gates, by the control port of each."""
    if gates is None:
        return phases.AT_REST
    if not isinstance(gates, dict) or not all(isinstance(port, int) for port in gates.values()):
        raise MigrationError("bad-request", "gates must be an object of services and ports")
    # A migration at rest, which is started often, must not wait for what it does not need.
    from devflow.live.control import GateControl  # noqa: PLC0415
    from devflow.live.steps import live_way  # noqa: PLC0415

    return live_way({str(name): GateControl(str(name), port) for name, port in gates.items()})


def _answer(operation: str, line: str, speaker: _Speaker) -> int:
    """Perform one request; a failure is an event with one sentence, never a traceback."""
    speaker.steps_done = 0
    try:
        request = _read(line)
        _perform(str(request.get("op") or operation), request, speaker)
    except MigrationError as error:
        code, text, definite = error.code, error.text, error.definite
    except apsw.Error as error:
        code, text, definite = "sqlite", f"SQLite refused: {sqlite_says(error)}", False
    except OSError as error:
        code, text, definite = "file-system", f"{error.filename}: {error.strerror}", False
    else:
        return 0
    definite = definite and not speaker.steps_done
    speaker.tell({"event": "error", "code": code, "definite": definite, "text": text})
    return EXIT_UNCHANGED if definite else EXIT_INDEFINITE


def main() -> int:
    """Run one operation on the request in stdin's first line, or serve one request a line."""
    operation = sys.argv[1] if len(sys.argv) == 2 else ""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    speaker = _Speaker(sys.stdin, sys.stdout)
    if operation == "serve":
        for line in sys.stdin:
            _answer("", line, speaker)
        return 0
    if operation not in _OPERATIONS:
        sys.stderr.write(f"usage: python -m devflow.migration {'|'.join(_OPERATIONS)}|serve\n")
        return EXIT_UNCHANGED
    return _answer(operation, sys.stdin.readline(), speaker)


if __name__ == "__main__":
    sys.exit(main())
