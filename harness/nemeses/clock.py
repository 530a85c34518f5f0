"""The clocks of processes under test: set back or ahead while they run, and no clock but theirs.

A small library is compiled (`clock.c`) and loaded into each process before the C library. It adds
to the time of day what a mapped file says; what counts how long things take goes on as it did. This
machine's clock, the load's and the history's are never touched.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["LACK", "Clocks", "own_clocks"]

LACK = (
    "a clock that is set needs Linux and a C compiler (`cc`) for the library that sets it, and"
    " there is none, or it does nothing here"
)
_SOURCE = Path(__file__).with_suffix(".c")
_COMPILE_S = _PROBE_S = 60.0
_NS_PER_S = 1_000_000_000
_ASIDE_S = 10_000.0
_NEAR_S = 60.0
_PROBE = "import time; time.sleep(0.001); print(time.time(), time.monotonic())"


class Clocks:
    """One clock for each process that `environment` was asked for, all of them right at first."""

    def __init__(self, library: Path, folder: Path) -> None:
        """`folder` holds what each clock is off by, a file each; it is made where it is not."""
        self._library, self._folder = library.resolve(), folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._off: dict[str, memoryview] = {}
        self._one_move = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """All clocks that there are."""
        return tuple(self._off)

    def environment(self, name: str) -> dict[str, str]:
        """Return what a process must be started with to have the clock `name`."""
        file = self._folder / name
        if name not in self._off:
            file.write_bytes(bytes(8))
            with file.open("r+b") as opened:
                self._off[name] = memoryview(mmap.mmap(opened.fileno(), 8)).cast("q")
        loaded = [str(self._library), *filter(None, [os.environ.get("LD_PRELOAD")])]
        return {"LD_PRELOAD": ":".join(loaded), "GATE_CLOCK": str(file)}

    def move(self, names: Iterable[str], *, by_s: float) -> None:
        """Let clocks jump from one moment to the next: ahead, or where it is negative, back."""
        with self._one_move:
            for name in names:
                self._off[name][0] += round(by_s * _NS_PER_S)  # one store: nobody reads half of it

    def off_s(self, name: str) -> float:
        """Return how far a clock is ahead of what is right, in seconds."""
        return self._off[name][0] / _NS_PER_S

    def is_in(self, pid: int) -> bool:
        """Return whether a process has its clock; True where it has ended meanwhile."""
        try:
            return str(self._library) in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return True

    def work(self) -> bool:
        """Return whether a clock jumps here, and what counts how long things take does not."""
        given = {**os.environ, **self.environment("probe")}
        self.move(["probe"], by_s=-_ASIDE_S)
        try:
            said = subprocess.run(
                [sys.executable, "-c", _PROBE],
                env=given,
                capture_output=True,
                check=True,
                timeout=_PROBE_S,
            )
            time_s, monotonic_s = map(float, said.stdout.split())
        except (OSError, subprocess.SubprocessError, ValueError):
            return False
        finally:
            del self._off["probe"]
        off_s = time_s - time.time()
        return abs(off_s + _ASIDE_S) < _NEAR_S and abs(monotonic_s - time.monotonic()) < _NEAR_S


def own_clocks(folder: Path) -> Clocks | None:
    """Return clocks whose files lie in `folder`, which is made; None where they cannot be set."""
    folder.mkdir(parents=True)
    library = _compiled(folder / "clock.so")
    clocks = None if library is None else Clocks(library, folder)
    return clocks if clocks is not None and clocks.work() else None


def _compiled(library: Path) -> Path | None:
    """Compile the library; None where there is no compiler, or it does not get there."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=_COMPILE_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return library
