"""A real gate before two little services that tell which side they are; its valve is named."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import apsw
import httpx
from devflow_tree import REPOSITORY

from devflow.live.authority import LEGACY, UNIFIED, give_authority
from devflow.live.control import GateControl
from harness.candidate_services import Service
from harness.services import Running, free_port

VALVES = ("own", "haproxy")
SERVICE = "model-registry"
LARGE = b"0123456789abcdef" * (1 << 18)


def lacks(valve: str) -> bool:
    """Return whether this machine lacks what the valve needs, with a warning that says so."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    if valve == "own" or shutil.which("haproxy", path=places):
        return False
    warnings.warn("there is no haproxy here: no gate of it is tried", stacklevel=2)
    return True


class _Answers(BaseHTTPRequestHandler):
    """Answers each path in its own way; `side` is the server's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body is a write of its own

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(split.query).items()}
        side = self.server.side.encode()  # type: ignore[attr-defined]
        if split.path == "/slow":
            time.sleep(float(asked["s"]))
            self._say(200, side)
        elif split.path == "/drip":
            self._drip(side, float(asked["s"]))
        elif split.path == "/large":
            self._say(200, LARGE)
        elif split.path == "/status":
            self._say(int(asked["is"]), b'{"error": "as it was said"}')
        elif split.path == "/half":
            self._say(200, b"half", length=100)
            self.close_connection = True
        elif split.path == "/silent":
            self.close_connection = True
        else:
            self._say(200, side)

    def do_HEAD(self) -> None:
        self._say(200, b"", length=6)

    def do_POST(self) -> None:
        body = b"".join(self._body())
        self._say(201, hashlib.sha256(body).hexdigest().encode())

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _drip(self, body: bytes, seconds: float) -> None:
        """Send the head at once, a chunk now, and the last one after a while."""
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.wfile.flush()
        time.sleep(seconds)
        self.wfile.write(b"3\r\nend\r\n0\r\n\r\n")

    def _say(self, status: int, body: bytes, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.send_header("x-told", "unchanged")
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # beyond its five the kernel lets who connects try again in a second


@contextlib.contextmanager
def answering(side: str) -> Iterator[str]:
    """Serve one side on a free port; yields its URL."""
    server = _Server(("127.0.0.1", free_port()), _Answers)
    server.daemon_threads = True
    server.side = side  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Front:
    """A gate that runs, and the tree whose database says who answers."""

    process: Running
    gate: GateControl
    tree: Path
    pool: ThreadPoolExecutor

    @property
    def url(self) -> str:
        return self.process.url

    def get(self, path: str = "/", *, timeout_s: float = 20) -> str:
        return httpx.get(self.url + path, timeout=timeout_s).text

    def give(self, side: str) -> None:
        """Let the database say that this side answers."""
        with contextlib.closing(apsw.Connection(str(self.tree / "devflow.sqlite"))) as database:
            database.set_busy_timeout(5_000)
            database.execute("CREATE TABLE IF NOT EXISTS migration_facts (name PRIMARY KEY, value)")
            give_authority(database, SERVICE, side)

    def until(self, is_so: Callable[[], bool], *, timeout_s: float = 10) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline, self.gate.state()
            time.sleep(0.005)

    def until_in_flight(self, number: int) -> None:
        self.until(lambda: self.gate.state()["in_flight"] == number)

    def until_waiting(self, number: int) -> None:
        self.until(lambda: self.gate.state()["waiting"] == number)


def gate_before(folder: Path, *, legacy: str, unified: str, words: tuple[str, ...]) -> Front:
    """Return a gate of these services that is still to be started."""
    control = free_port()
    command = (
        sys.executable, "-m", "devflow.live.front", SERVICE, "{port}", "--control", str(control),
        "--legacy", legacy, "--unified", unified, "--tree", str(folder), *words,
    )  # fmt: skip
    service = Service(
        name="gate", command=command, directory=REPOSITORY, pythonpath=(REPOSITORY,), health="/"
    )
    process = Running(service, environment={"TMPDIR": str(folder)}, log=folder / "gate.log")
    return Front(process, GateControl(SERVICE, control), folder, ThreadPoolExecutor(16))


@contextlib.contextmanager
def front(folder: Path, valve: str, *words: str) -> Iterator[Front]:
    """Start two sides and a gate before them."""
    with contextlib.ExitStack() as stack:
        legacy, unified = (stack.enter_context(answering(side)) for side in (LEGACY, UNIFIED))
        found = gate_before(folder, legacy=legacy, unified=unified, words=("--by", valve, *words))
        stack.callback(found.pool.shutdown)
        stack.callback(found.process.kill)
        found.process.start()
        yield found
