"""What clients feel when services are moved there and back, at several loads, from one run.

Each load is a live scenario, judged like any other: figures of one that is not valid end the whole.
Beside the gap of each hold stands that of as many quiet times as long, for what the machine does,
and how much was written meanwhile, which decides for how long databases are locked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.generators.plan import working_directory
from harness.history import Mark, read_history
from harness.model import Verdict
from harness.play import play
from harness.scenario import FixtureSource, LiveLoad, Scenario

__all__ = ["LOADS", "measure_moves", "move_lines"]

_CONNECTIONS = 32
_HEADS = ("gap_ms", "quiet_gap_ms", "locked_ms")
Told = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pace:
    """Requests a second, as fast as they are answered where it is None; and who else writes."""

    rate: float | None
    straight: bool = False

    def __str__(self) -> str:
        """Return it as a line's beginning."""
        said = "as fast as answered" if self.rate is None else f"{self.rate:g} a second"
        return f"{said}, others past the gates" if self.straight else said


LOADS = (Pace(200.0), Pace(400.0), Pace(400.0, straight=True), Pace(None))


def measure_moves(*, rounds: int, seed: int, say: Callable[[str], None]) -> list[Told]:
    """Move all services there and back `rounds` times at each load."""
    return [_measured(pace, rounds, seed, say) for pace in LOADS]


def _measured(pace: Pace, rounds: int, seed: int, say: Callable[[str], None]) -> Told:
    story = Scenario(
        name="moves",
        description=f"Services move there and back, {pace}.",
        fixture=FixtureSource(profile="real-like", seed=seed),
        path=Path(__file__),
        live=LiveLoad(
            rate=pace.rate, connections=_CONNECTIONS, rounds=rounds, straight=pace.straight
        ),
        seed=seed,
    )
    with tempfile.TemporaryDirectory(dir=working_directory(), prefix="moves-") as folder:
        result = play(story, Path(folder))
        if result.verdict is not Verdict.VALID:
            raise SystemExit(f"bench: moving services, {pace}, was {result.verdict}")
        written = _written_per_s(Path(folder) / "run")
    say(f"moved services, {pace}")
    felt = next(check for check in result.results if check.checker == "downtime")
    return {
        "load": str(pace),
        "connections": _CONNECTIONS,
        "requests": sum(n for what, n in felt.examined.items() if what.endswith(" requests")),
        "failed": felt.details["failed"],
        "written_per_s": written,
        **felt.details["held"],
    }


def _written_per_s(run: Path) -> float:
    """Return the acknowledged writes a second, of all who write, while services are moved there."""
    clients, others = (read_history(run / f"{name}.jsonl") for name in ("history", "straight"))
    moves = list(_moves(clients.marks))
    written = 0
    for history in (clients, others):
        later_ns = history.start.origin_ns - clients.start.origin_ns
        ended = [call.ended_ns + later_ns for call in history.calls if call.wrote and call.ended_ns]
        written += sum(began <= at <= end for at in ended for began, end in moves)
    return written / (sum(end - began for began, end in moves) / 1e9)


def _moves(marks: Iterable[Mark]) -> Iterator[tuple[int, int]]:
    """Yield from when to when all services were moved there, once a round."""
    began_ns = ended_ns = 0
    for mark in marks:
        if mark.mark == "cutover":
            began_ns = ended_ns = mark.at_ns
        elif mark.mark == "release":
            ended_ns = mark.at_ns
        elif mark.mark == "validate":
            yield began_ns, ended_ns


def move_lines(measured: list[Told]) -> Iterator[str]:
    """Yield a table: gaps of holds and of quiet times, and for how long databases were locked."""
    yield (
        f"moving services under the requests of {_CONNECTIONS} clients: milliseconds in which"
        " nobody was answered, and for which a database was locked"
    )
    yield (
        f"  {'requests':<40}{'in all':>8}{'failed':>8}{'writes/s':>10}{'holds':>7}"
        + "".join(f"{head:>16}" for head in ("gap", "quiet gap", "locked"))
    )
    yield f"  {'':<73}" + f"{'median':>10}{'p99':>6}" * len(_HEADS)
    for row in measured:
        yield (
            f"  {row['load']:<40}{row['requests']:>8,}{row['failed']:>8,}"
            f"{row['written_per_s']:>10,.0f}{row['holds']:>7,}"
            + "".join(f"{row[f'{h}_median']:>10.1f}{row[f'{h}_p99']:>6.0f}" for h in _HEADS)
        )
