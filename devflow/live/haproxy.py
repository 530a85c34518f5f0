"""Another valve for the gate: a haproxy, made from a template and steered by its admin socket.

The process that steers it keeps the listening socket and starts it again when it dies; until it
is told otherwise, one that is started holds. It cannot outlive who steers it: the kernel ends it.
A map entry says to which side requests pass, or that they are held; with its one thread nothing
comes between the two looks at it, nor between them and a count of what is in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import ctypes
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click

from devflow.live.gate import WAIT_S_MAX, Figures, ValveError

__all__ = ["TEMPLATE", "Haproxy"]

TEMPLATE = Path(__file__).with_name("haproxy.cfg")
_HELD = "held"
_MAP = "haproxy.map"
_BACKENDS = "show stat -1 2 -1"
_LATENCY = "get var proc.gate_latency_us"
# Debian's lies in one of these, which only root's PATH has.
_BESIDE_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None)
_START_S = 10.0
_ANSWER_S = 2.0
_END_S = 2.0
_ASK_AGAIN_S = 0.01
_COUNT_AGAIN_S = 0.001
_DEATHS_MAX = 5
_WITHIN_S = 10.0
_LAST_WORDS = 20
_TROUBLE = (OSError, TimeoutError)


class Haproxy:
    """A haproxy between clients and `sides`, base URLs by the names of its backends."""

    def __init__(self, sides: Mapping[str, str], *, name: str, template: Path = TEMPLATE) -> None:
        """Start nothing yet; `name` is that of its admin socket. ValveError where it cannot be."""
        self._program = _program()
        self._sides = dict(sides)
        self._template = template.resolve()
        self._admin = _private_folder() / f"{name}.sock"
        self._wanted = _HELD
        self._steering = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._is_up = False
        self._hearing: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)

    async def serve(self, listening: socket.socket) -> None:
        """Keep a haproxy at this socket until cancelled; ValveError where none stays alive."""
        deaths: deque[float] = deque(maxlen=_DEATHS_MAX)
        clock = asyncio.get_running_loop().time
        try:
            while True:
                child = await self._start(listening.fileno())
                code = await child.wait()
                self._is_up = False
                if code > 0:  # by itself: it would again
                    raise ValveError(f"haproxy does not stay{await self._last_words()}")
                deaths.append(clock())
                if len(deaths) == _DEATHS_MAX and deaths[-1] - deaths[0] < _WITHIN_S:
                    raise ValveError(f"haproxy ended {_DEATHS_MAX} times{await self._last_words()}")
                click.echo(f"haproxy ended ({code}) and is started again", err=True)
        finally:
            await self._end()
            self._admin.unlink(missing_ok=True)

    async def open(self, side: str) -> None:
        """Let requests pass to `side`; where haproxy is about to start, from its start on."""
        await self._want(side)

    async def close(self) -> None:
        """Let nothing new pass."""
        await self._want(_HELD)

    async def empty(self, within_s: float) -> bool:
        """Wait until what has passed is answered; False where nobody can tell that it is."""
        clock = asyncio.get_running_loop().time
        until = clock() + within_s
        while True:
            with contextlib.suppress(*_TROUBLE):
                if not _in_flight(await self._ask(_BACKENDS)):
                    return True
            if clock() > until:
                return False
            await asyncio.sleep(_COUNT_AGAIN_S)

    async def figures(self) -> Figures:
        """Return what haproxy counts; it counts anew where it was started again."""
        try:
            backends, _, rest = (await self._ask(f"{_BACKENDS};{_LATENCY};show sess")).partition(
                "\n\n"
            )
        except _TROUBLE:
            return Figures()
        latency, _, streams = rest.partition("\n")
        rows = _rows(backends)
        return Figures(
            in_flight=sum(int(row["scur"]) for row in rows),
            waiting=sum("fe=gate " in line and "be=<NONE>" in line for line in streams.split("\n")),
            passed=sum(int(row["stot"]) for row in rows),
            latency_ms=int(latency.partition("<")[2].rstrip(">")) / 1000,
        )

    # Steering ------------------------------------------------------------------------------------

    async def _want(self, what: str) -> None:
        """Have haproxy told, to the end even where the caller is cancelled; the last one counts."""
        self._wanted = what
        await asyncio.shield(self._steer())

    async def _steer(self) -> None:
        async with self._steering:
            child = self._child
            if child is None or not self._is_up:  # the next one starts held, and is told then
                return
            wanted = self._wanted  # who wants another one meanwhile, comes next
            try:
                said = await self._ask(f"set map {_MAP} side {wanted};show map {_MAP}")
            except _TROUBLE:
                said = ""
            if f" side {wanted}" not in said:  # who knows what it does: the next one holds
                await _kill(child)

    async def _ask(self, commands: str) -> str:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(self._admin)
            try:
                writer.write(commands.encode() + b"\n")
                return (await reader.read()).decode()
            finally:
                writer.close()

    # The process ---------------------------------------------------------------------------------

    async def _start(self, listener: int) -> asyncio.subprocess.Process:
        """Start one, wait until it answers or has ended, and tell it where requests pass to."""
        parent = os.getpid()
        child = self._child = await asyncio.create_subprocess_exec(
            self._program, "-db", "-f", str(self._template),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=TEMPLATE.parent,
            env=self._environment(listener),
            pass_fds=(listener,),
            preexec_fn=lambda: _die_with(parent),
        )  # fmt: skip
        self._hearing = asyncio.create_task(self._hear(child))
        clock = asyncio.get_running_loop().time
        until = clock() + _START_S
        while not await self._answers():
            if child.returncode is not None:
                return child
            if clock() > until:
                raise ValveError(f"haproxy does not answer{await self._last_words()}")
            await asyncio.sleep(_ASK_AGAIN_S)
        self._is_up = True
        await asyncio.shield(self._steer())
        return child

    async def _answers(self) -> bool:
        """Return whether it does; ValveError where the template lacks what it is steered by."""
        try:
            said = await self._ask(f"{_BACKENDS};{_LATENCY};show map {_MAP}")
        except _TROUBLE:
            return False
        needed = {f"backend {name}": f"\n{name},BACKEND," for name in self._sides}
        needed |= {"variable proc.gate_latency_us": ": type=sint ", f"map {_MAP}": " side held"}
        for what, word in needed.items():
            if word not in said:
                raise ValveError(f"{self._template} has no {what}, as {TEMPLATE} has")
        return True

    def _environment(self, listener: int) -> dict[str, str]:
        given = {f"GATE_{name.upper()}": _address(url) for name, url in self._sides.items()}
        given |= {"GATE_ADMIN": str(self._admin), "GATE_LISTENER": str(listener)}
        return {**os.environ, **given, "GATE_PATIENCE_S": f"{WAIT_S_MAX:g}"}

    async def _hear(self, child: asyncio.subprocess.Process) -> None:
        """Pass on what it says, and keep the last of it."""
        assert child.stderr is not None  # noqa: S101 - it is a pipe
        async for line in child.stderr:
            text = line.decode("utf-8", "replace").rstrip()
            self._said.append(text)
            click.echo(text, err=True)

    async def _last_words(self) -> str:
        """Return what it said that matters, after a colon; it has ended, or is ended now."""
        await self._end()
        if self._hearing is not None:
            await self._hearing
        alerts = [line for line in self._said if "[ALERT]" in line] or list(self._said)
        return f": {alerts[0]}" if alerts else ""

    async def _end(self) -> None:
        """Ask it to end, and see to it that it does."""
        self._is_up = False
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), _END_S)
            await _kill(self._child)


async def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()


def _program() -> str:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *_BESIDE_PATH])
    found = shutil.which("haproxy", path=places)
    if found is None or not hasattr(_LIBC, "prctl"):
        raise ValveError(
            "there is no haproxy here: install Debian's package haproxy, on Linux; or leave --by"
            " away, and the gate's own proxy stands there"
        )
    return found


def _private_folder() -> Path:
    """Return a folder for admin sockets that nobody else of this machine can open."""
    folder = Path(tempfile.gettempdir()) / f"devflow-gate-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ValveError(
            f"{folder} is not a folder of yours that is closed to others; remove it, or name"
            " another place in TMPDIR"
        )
    return folder


def _die_with(parent: int) -> None:
    """In the child: have the kernel end this process when its parent ends, however that does."""
    _LIBC.prctl(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _address(url: str) -> str:
    split = urlsplit(url)
    return f"{split.hostname or '127.0.0.1'}:{split.port or 80}"


def _rows(answer: str) -> list[dict[str, str]]:
    """Return the lines of `show stat`, which are CSV."""
    return list(csv.DictReader(answer.strip().splitlines()))


def _in_flight(answer: str) -> int:
    return sum(int(row["scur"]) for row in _rows(answer))
