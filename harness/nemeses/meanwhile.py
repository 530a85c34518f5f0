"""Harm that is done while a migration goes there and back live, at its steps and amid them."""

from __future__ import annotations

import abc
import errno
import random
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import apsw

from harness.candidate import Event, Lockstep, Outcome
from harness.errors import BadInputError, EnvironmentFaultError
from harness.model import DATABASES
from harness.nemeses.clock import Clocks
from harness.scenario import Fault
from harness.services import Running, ServiceError
from harness.suggest import did_you_mean

__all__ = [
    "FAULT",
    "MENDED",
    "MIGRATION",
    "Nemesis",
    "Place",
    "Strike",
    "small_disk",
    "strikes",
]

FAULT, MENDED = "fault", "mended"
"""The marks around harm that lasts: what fails between them is excused.

A migration that is killed lets go of all it had, and what fails then is not; one that stands still
may have a database's lock in hand, and nobody can take that from it. A clock that jumps takes
nothing from anybody, so that it excuses nothing, either.
"""
MIGRATION = "migration"
"""The command that is harmed, and the name of its clock."""
_MACHINE = "machine"
_CLOCK = "clock"
_SERVICES = ("gate", "legacy", "unified")
_GIVING_BACK = "rollback.services"
_AMID_S = 0.05
_LOCK_S = 10.0
_BACK_S = 10.0
_BLOCK_BYTES = 1 << 20
_DISK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a live migration runs: its gates and services by the legacy service's name.

    `disk` is a small file system that holds the tree and nothing else, where there is one; `clocks`
    are theirs, by the names of what runs, where they have some of their own.
    """

    gate: Mapping[str, Running]
    legacy: Mapping[str, Running]
    unified: Mapping[str, Running]
    tree: Path
    disk: Path | None = None
    clocks: Clocks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One harm: to `victim`, `delay_s` after the moment of `step` that `when` names."""

    fault: Fault
    victim: str
    step: str
    when: str
    delay_s: float = 0.0

    def __str__(self) -> str:
        """Say it in words."""
        where = {"before": "before", "after": "after", "mid": "amid"}[self.when]
        victim = "" if self.victim == self.fault.target else f" of {self.victim}"
        whose, by_s = f"{self.fault.target}{victim}", self.fault.by_seconds
        if self.is_jump:
            ways = f"{'back' if by_s < 0 else 'ahead'} by {abs(by_s):,.0f} s"
            return f"clock of {whose} set {ways} {where} {self.step}"
        return f"{self.fault.harm} of {whose} {where} {self.step}"

    @property
    def of_migration(self) -> bool:
        """Whether it is the command itself that is harmed."""
        return self.fault.target == MIGRATION

    @property
    def is_jump(self) -> bool:
        """Whether a clock jumps: nothing may fail for that, so it excuses nothing."""
        return self.fault.harm == "set-clock"


def strikes(
    faults: Iterable[Fault], steps: Iterable[tuple[str, str]], services: Iterable[str], seed: int
) -> list[Strike]:
    """Return what `faults` mean, given each (phase, step); random moments are drawn from `seed`.

    A step that moves one service harms that one's gate and services, any other those of all.
    BadInputError where a fault names a step that there is not.
    """
    walked, moved = list(steps), list(services)
    names = {name for pair in walked for name in pair}
    drawn = random.Random(f"faults/{seed}")  # noqa: S311 - no secret
    found = []
    for fault in faults:
        for name in fault.at:
            if name not in names:
                raise BadInputError(f"`live.faults` names {name!r}{did_you_mean(name, names)}")
        for phase, step in walked:
            if not _is_meant(fault, phase, step, moved):
                continue
            found += [
                Strike(
                    fault=fault,
                    victim=victim,
                    step=step,
                    when=when,
                    delay_s=drawn.uniform(0, _AMID_S) if when == "mid" else 0.0,
                )
                for when in fault.when
                for _ in range(fault.times)
                for victim in _victims(fault, step, moved)
            ]
    return found


def _is_meant(fault: Fault, phase: str, step: str, services: list[str]) -> bool:
    if fault.at:
        return phase in fault.at or step in fault.at
    if fault.harm == "kill" and fault.target == MIGRATION:
        return True
    return step == _GIVING_BACK or (phase == "cutover" and step.partition(".")[2] in services)


def _victims(fault: Fault, step: str, services: list[str]) -> list[str]:
    if fault.harm not in ("kill", "stop", "set-clock") or fault.target not in _SERVICES:
        return [fault.target]
    of_step = step.partition(".")[2]
    return [of_step] if of_step in services else services


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Yield a small file system of its own, mounted at `folder`; None where we may not mount."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "devflow", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        done = None
    if done is None or done.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


class _Harm(abc.ABC):
    @abc.abstractmethod
    def begin(self) -> None: ...

    @abc.abstractmethod
    def end(self) -> None: ...


class _Killed(_Harm):
    """Started anew; a successor on the way back may find its database gone, and stay away."""

    def __init__(self, victim: Running, *, may_stay_away: bool) -> None:
        self._victim, self._may_stay_away = victim, may_stay_away

    def begin(self) -> None:
        self._victim.kill()

    def end(self) -> None:
        if not self._may_stay_away:
            self._victim.start()
            return
        with suppress(ServiceError):
            self._victim.start(timeout_s=_BACK_S)


class _Stopped(_Harm):
    def __init__(self, victim: Running | Lockstep) -> None:
        self._victim = victim

    def begin(self) -> None:
        self._victim.freeze()

    def end(self) -> None:
        self._victim.thaw()


class _Locked(_Harm):
    """Somebody else's write transaction; where the database is always busy, there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: apsw.Connection | None = None

    def begin(self) -> None:
        self._connection = apsw.Connection(str(self._path))
        self._connection.set_busy_timeout(round(_LOCK_S * 1000))
        self._connection.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        if self._connection is not None:
            with closing(self._connection):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


class _Filled(_Harm):
    """A file that takes all the room that its file system has."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def begin(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            for size in (_BLOCK_BYTES, 4096, 1):
                _write_until_full(file, size)

    def end(self) -> None:
        self._ballast.unlink(missing_ok=True)


def _write_until_full(file: FileIO, size: int) -> None:
    """Write until the disk is full; a disk that refuses for another reason is no full one."""
    try:
        while file.write(bytes(size)):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


class _Jumped(_Harm):
    """Clocks that are wrong by so much, and then right again: two jumps."""

    def __init__(self, clocks: Clocks, names: Iterable[str], by_s: float) -> None:
        self._clocks, self._names, self._by_s = clocks, tuple(names), by_s

    def begin(self) -> None:
        self._clocks.move(self._names, by_s=self._by_s)

    def end(self) -> None:
        self._clocks.move(self._names, by_s=-self._by_s)


class Nemesis:
    """Strikes once each, as the command comes to the steps; `struck` counts what was done.

    `excuses` counts those of them for which a command may fail.
    `mark` notes in the load's history when harm begins and ends, from threads of its own.
    """

    def __init__(
        self, planned: Iterable[Strike], place: Place, mark: Callable[[str, str], object]
    ) -> None:
        """Do nothing yet; `left` are the strikes that have not come to their step."""
        self.left = list(planned)
        self.struck: Counter[str] = Counter()
        self.excuses = 0
        self._place = place
        self._mark = mark
        self._threads: list[threading.Thread] = []
        self._alone: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._errors: list[BaseException] = []

    def pass_on(self, event: Event, command: Lockstep) -> tuple[Strike, Outcome] | None:
        """Strike at a pause of the command and let it go on; the strike where that killed it."""
        step = str(event.get("step"))
        if event["event"] == "step_done":
            if event.get("skipped") is True:  # an earlier kill came after it was durable
                self.left = [s for s in self.left if (s.step, s.when) != (step, "mid")]
            killed = self._kill(command, step, "after")
            if killed is None:
                command.release()
            return killed
        for strike in self._take(step, "before"):
            self._harm(strike, command, at_once=True)
        if (killed := self._kill(command, step, "before")) is not None:
            return killed
        command.release()
        for strike in self._take(step, "mid"):
            self._harm(strike, command, at_once=False)
        return self._kill(command, step, "mid")

    def settle(self) -> None:
        """Wait until all harm has ended; raises what went wrong with it."""
        while self._threads:
            self._threads.pop().join()
        if self._errors:
            raise self._errors.pop()

    def _take(self, step: str, when: str) -> Iterator[Strike]:
        """Yield and forget what is to be done to others than a killed migration."""
        for strike in list(self.left):
            kills = strike.of_migration and strike.fault.harm == "kill"
            if (strike.step, strike.when) == (step, when) and not kills:
                self.left.remove(strike)
                yield strike

    def _kill(self, command: Lockstep, step: str, when: str) -> tuple[Strike, Outcome] | None:
        for strike in self.left:
            if (strike.step, strike.when) == (step, when) and strike.of_migration:
                self.left.remove(strike)
                time.sleep(strike.delay_s)
                outcome = command.kill()
                self._count(strike)
                self._mark("kill", str(strike))
                return strike, outcome
        return None

    def _count(self, strike: Strike) -> None:
        noun = {
            "kill": "kills", "stop": "stops", "lock": "locks", "fill": "full disks",
            "set-clock": "clock jumps",
        }  # fmt: skip
        of = "" if strike.fault.harm == "fill" else f" of {strike.fault.target}"
        self.struck[noun[strike.fault.harm] + of] += 1
        self.excuses += not strike.is_jump

    def _harm(self, strike: Strike, command: Lockstep, *, at_once: bool) -> None:
        alone = self._alone[str((strike.fault.target, strike.victim))]
        begun = threading.Event()

        def run() -> None:
            try:
                time.sleep(strike.delay_s)
                with alone:  # no two harms to one at once
                    self._last(strike, self._harm_of(strike, command), begun)
            except BaseException as error:
                self._errors.append(error)
            finally:
                begun.set()

        thread = threading.Thread(target=run, name=str(strike), daemon=True)
        self._threads.append(thread)
        thread.start()
        if at_once:
            begun.wait()

    def _last(self, strike: Strike, harm: _Harm, begun: threading.Event) -> None:
        note = str(strike)
        begins, ends = (_CLOCK, _CLOCK) if strike.is_jump else (FAULT, MENDED)
        self._mark(begins, note)
        try:
            harm.begin()
            self._count(strike)
            begun.set()
            time.sleep(strike.fault.seconds)
        finally:
            harm.end()
            self._mark(ends, f"right again: {note}" if strike.is_jump else note)

    def _harm_of(self, strike: Strike, command: Lockstep) -> _Harm:
        fault = strike.fault
        if fault.harm == "lock":
            return _Locked(self._place.tree / DATABASES[fault.target])
        if fault.harm == "fill":
            assert self._place.disk is not None  # noqa: S101 - else nothing is planned
            return _Filled(self._place.disk)
        if strike.is_jump:
            return self._jump(strike, command)
        if strike.of_migration:
            return _Stopped(command)
        victim = self._victim(strike)
        if fault.harm == "stop":
            return _Stopped(victim)
        returning = fault.target == "unified" and strike.step.startswith("rollback.")
        return _Killed(victim, may_stay_away=returning)

    def _victim(self, strike: Strike) -> Running:
        """Return the gate or service that is harmed; BadInputError where it does not run."""
        ones: Mapping[str, Running] = getattr(self._place, strike.fault.target)
        victim = ones[strike.victim]
        if not victim.alive:
            raise BadInputError(
                f"`live.faults` harms {victim.service.name} at {strike.step}, where it does not run"
            )
        return victim

    def _running(self, command: Lockstep) -> dict[str, int]:
        """Return what runs now, by the names of its clocks."""
        found = {MIGRATION: command.pid}
        for ones in (self._place.gate, self._place.legacy, self._place.unified):
            found |= {one.service.name: one.pid for one in ones.values() if one.alive}
        return found

    def _jump(self, strike: Strike, command: Lockstep) -> _Harm:
        """Return a jump of a clock, of all clocks where they are the machine's.

        EnvironmentFaultError where a process would not see it.
        """
        clocks = self._place.clocks
        assert clocks is not None  # noqa: S101 - else nothing is planned
        if strike.fault.target == _MACHINE:
            running = self._running(command)
        elif strike.of_migration:
            running = {MIGRATION: command.pid}
        else:
            victim = self._victim(strike)
            running = {victim.service.name: victim.pid}
        for name, pid in running.items():
            if not clocks.is_in(pid):
                raise EnvironmentFaultError(
                    f"the clock of {name} cannot be set: the library for it was not loaded, as"
                    " into no program that is linked statically; leave out `set-clock`"
                )
        names = clocks.names if strike.fault.target == _MACHINE else running
        return _Jumped(clocks, names, strike.fault.by_seconds)
