"""How a candidate speaks: JSON lines read one by one, judged against the contract."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from harness.candidate_process import DeadlineError, LineProcess
from harness.model import DATABASES, Finding

__all__ = ["PHASES", "Conversation", "Driver", "Event", "Lockstep", "Outcome", "Session", "request"]

PHASES = ("backup", "shadow", "cutover", "validate", "cleanup")
"""The phases of an apply, in their order."""

PATHS: Mapping[str, str] = {**DATABASES, "registry": "logs/model-registry.log"}
"""What lies where below a DevFlow root, as a candidate is told."""

_STATES = ("none", *PHASES)
_PAUSES = ("step_started", "step_done")
_ENDS = ("done", "error")
_SHOWN_CHARACTERS = 300

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one command of a candidate came to.

    `exit_code` is None where the deadline passed, or in a session, which has no exit codes.
    `moments_s` are the seconds from the start to each of the events.
    `definite` tells that `state` was reached, or that nothing was changed. `violations` are
    findings about how the candidate spoke; they do not make an outcome indefinite by themselves.
    """

    op: str
    exit_code: int | None
    definite: bool
    state: str | None
    events: tuple[Event, ...]
    error: str | None
    violations: tuple[Finding, ...] = ()
    elapsed_s: float = 0.0
    moments_s: tuple[float, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the command did all of what it was asked for."""
        return self.definite and self.error is None

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """(phase, step) of every `planned` line, in order."""
        return tuple(
            (str(event.get("phase")), str(event.get("step")))
            for event in self.events
            if event.get("event") == "planned"
        )


class Driver(Protocol):
    """What can be asked of a candidate, in whatever way it runs."""

    def plan(self, tree: Path) -> Outcome:
        """Tell the steps."""
        ...

    def apply(self, tree: Path, *, until: str = "cleanup") -> Outcome:
        """Migrate `tree` up to the phase `until`."""
        ...

    def status(self, tree: Path) -> Outcome:
        """Tell the last phase done."""
        ...

    def rollback(self, tree: Path) -> Outcome:
        """Restore `tree` to what it was."""
        ...


def request(
    tree: Path,
    *,
    until: str = "cleanup",
    lockstep: bool = False,
    op: str = "",
    gates: Mapping[str, int] | None = None,
    keep_writes: bool = False,
) -> str:
    """Return a request's one line; `op` is there in a session only, `gates` where it is live."""
    said: dict[str, Any] = {"op": op} if op else {}
    said |= {
        "contract": 1,
        "tree": str(tree.resolve()),
        "paths": dict(PATHS),
        "until": until,
        "keep_writes": keep_writes,
        "approval": None,
        "lockstep": lockstep,
    }
    if gates is not None:
        said["gates"] = dict(gates)
    return json.dumps(said)


def _shown(line: bytes) -> str:
    return line[:_SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")


class Conversation:
    """The answer to one command: its events as they come, and what they break of the contract."""

    def __init__(self, process: LineProcess, op: str, *, timeout_s: float) -> None:
        """Listen to `process`, which has been asked for `op`, for at most `timeout_s`."""
        self.op = op
        self.events: list[Event] = []
        self.violations: list[Finding] = []
        self.last: Event | None = None
        self.late = False
        self._process = process
        self._began = time.monotonic()
        self._moments_s: list[float] = []
        self.until = self._began + timeout_s
        self._timeout_s = timeout_s

    def violation(self, rule: str, cause: str, *, actual: str | None = None) -> None:
        """Note that the candidate broke the contract."""
        self.violations.append(
            Finding(rule=f"candidate/{rule}", cause=f"`{self.op}`: {cause}", actual=actual)
        )

    def next_event(self) -> Event | None:
        """Return the next event, None at the end of output or when the deadline has passed."""
        while True:
            try:
                line = self._process.read_line(until=self.until)
            except DeadlineError as error:
                self.late = True
                self.violation(
                    "deadline",
                    f"the candidate was ended after {self._timeout_s:g} s: {error}; --timeout"
                    " of rehearse and scenario gives each command longer",
                )
                self._process.kill()
                return None
            if line is None:
                return None
            event = self._event(line)
            if event is not None:
                self.events.append(event)
                self._moments_s.append(time.monotonic() - self._began)
                return event

    def _event(self, line: bytes) -> Event | None:
        shown = _shown(line)
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            self.violation(
                "not-json", "a line of stdout is no JSON object with an `event`", actual=shown
            )
            return None
        if self.last is not None:
            self.violation("line-after-end", "a line follows `done` or `error`", actual=shown)
        elif event["event"] in _ENDS:
            self._end(event)
        return event

    def _end(self, event: Event) -> None:
        self.last = event
        if event["event"] == "done" and event.get("state") not in _STATES:
            self.violation(
                "state", "`done` names no state of the contract", actual=str(event.get("state"))
            )
        if event["event"] == "error" and not isinstance(event.get("definite"), bool):
            self.violation("error-line", "`error` does not say whether it is `definite`")

    def outcome(self, *, exit_code: int | None, stderr: str, session: bool = False) -> Outcome:
        """Judge the whole answer, given how the process ended."""
        last = self.last or {}
        if self.last is None and exit_code is not None and exit_code >= 0 and not self.late:
            self.violation("no-last-line", "the answer ends without `done` or `error`")
        done = last.get("event") == "done"
        refused = last.get("event") == "error" and last.get("definite") is True
        if not session and not self.late:
            self._compare_exit(exit_code, done=done, refused=refused)
        definite = (done and (session or exit_code == 0)) or (
            refused and (session or exit_code == 1)
        )
        return Outcome(
            op=self.op,
            exit_code=exit_code,
            definite=definite,
            state=str(last["state"]) if done and "state" in last else None,
            events=tuple(self.events),
            error=None if done and definite else self._error(last, exit_code, stderr),
            violations=tuple(self.violations),
            elapsed_s=time.monotonic() - self._began,
            moments_s=tuple(self._moments_s),
        )

    def _compare_exit(self, exit_code: int | None, *, done: bool, refused: bool) -> None:
        if exit_code is None or exit_code < 0 or self.last is None:
            return
        expected = 0 if done else 1 if refused else None
        if expected is None and exit_code in (0, 1):
            self.violation(
                "exit-code", "an indefinite error ends with an exit code that is definite",
                actual=str(exit_code),
            )  # fmt: skip
        elif expected is not None and exit_code != expected:
            self.violation(
                "exit-code", f"the last line says exit code {expected}", actual=str(exit_code)
            )

    def _error(self, last: Event, exit_code: int | None, stderr: str) -> str:
        if last.get("event") == "error":
            return f"{last.get('code', 'error')}: {last.get('text', '')}"
        said = stderr.strip().splitlines()
        tail = f"; its stderr ends with: {said[-1][:_SHOWN_CHARACTERS]}" if said else ""
        if self.late:
            return f"no answer within {self._timeout_s:g} s{tail}"
        if exit_code is not None and exit_code < 0:
            return f"ended by signal {-exit_code}{tail}"
        return f"ended with exit code {exit_code} and no last line{tail}"


class Lockstep:
    """One command in a process of its own, which can be held and killed at every step.

    Used as a context manager. `next_pause` yields the events at which the candidate waits;
    `release` lets it go on, `kill` ends it there, `finish` lets it run to its end.
    """

    def __init__(
        self, process: LineProcess, op: str, line: str, *, timeout_s: float, walking: bool = True
    ) -> None:
        """Send the request `line`; `walking` tells that it asked for lockstep."""
        self._process = process
        self._walking = walking
        self._answer = Conversation(process, op, timeout_s=timeout_s)
        process.send(line)
        if not walking:
            process.end_input()

    def __enter__(self) -> Lockstep:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, whatever happened."""
        self._process.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def next_pause(self) -> Event | None:
        """Return the next `step_started` or `step_done`, None when the command has ended."""
        while (event := self._answer.next_event()) is not None:
            if event["event"] in _PAUSES:
                return event
        return None

    def release(self) -> None:
        """Let the candidate go on from the pause it is at."""
        self._process.send("{}")

    def freeze(self) -> None:
        """Send SIGSTOP: the candidate stands still until `thaw`."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let the candidate go on after `freeze`."""
        self._process.thaw()

    def kill(self) -> Outcome:
        """Send SIGKILL where the candidate stands; the outcome is indefinite."""
        code = self._process.kill()
        return self._answer.outcome(exit_code=code, stderr=self._process.stderr_tail())

    def finish(self) -> Outcome:
        """Release every further pause and return what the command came to."""
        while (event := self._answer.next_event()) is not None:
            if self._walking and event["event"] in _PAUSES:
                self.release()
        self._process.end_input()
        code: int | None = None
        if not self._answer.late:
            try:
                code = self._process.wait(until=self._answer.until)
            except DeadlineError:
                self._answer.late = True
                self._answer.violation("deadline", "the process stays after its last line")
                self._process.kill()
        return self._answer.outcome(exit_code=code, stderr=self._process.stderr_tail())


class Session:
    """A `serve` process kept alive over many commands, and started again when it has died."""

    def __init__(self, start: Callable[[], LineProcess], *, timeout_s: float) -> None:
        """Start nothing yet; `start` gives the serving process."""
        self._start = start
        self._timeout_s = timeout_s
        self._process: LineProcess | None = None

    def plan(self, tree: Path) -> Outcome:
        """Ask for the steps that `apply` would run."""
        return self._ask("plan", tree)

    def apply(self, tree: Path, *, until: str = "cleanup") -> Outcome:
        """Run the migration up to and with the phase `until`."""
        return self._ask("apply", tree, until=until)

    def status(self, tree: Path) -> Outcome:
        """Ask for the last phase done."""
        return self._ask("status", tree)

    def rollback(self, tree: Path) -> Outcome:
        """Restore what was before the first phase."""
        return self._ask("rollback", tree)

    def close(self) -> None:
        """End the serving process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ask(self, op: str, tree: Path, *, until: str = "cleanup") -> Outcome:
        if self._process is None or not self._process.running:
            self.close()
            self._process = self._start()
        process = self._process
        answer = Conversation(process, op, timeout_s=self._timeout_s)
        if unread := process.drain():
            answer.violation(
                "line-after-end", "lines follow the answer before", actual=_shown(unread)
            )
        process.send(request(tree, until=until, op=op))
        while answer.last is None and answer.next_event() is not None:
            pass
        if answer.last is not None:
            return answer.outcome(exit_code=None, stderr="", session=True)
        code = process.kill()
        outcome = answer.outcome(exit_code=code, stderr=process.stderr_tail(), session=True)
        self.close()
        return outcome
