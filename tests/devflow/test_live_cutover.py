"""Real proxies, real stand-ins and successors: a service moves while clients send requests."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import httpx
import live_stage
import pytest
from devflow_tree import LegacyTree, values
from live_stage import Fronted
from test_live_catching_up import copied

from devflow.live import capture
from devflow.live.authority import LEGACY, UNIFIED
from devflow.live.control import GateControl
from devflow.live.cutover import Limits, cut_over, follow
from devflow.live.following import following
from devflow.live.putting import put_over
from devflow.migration.tree import Tree


def place(tree: LegacyTree) -> Tree:
    """Bring a tree to where a cutover begins: copied, followed, put in the root's place."""
    at = copied(tree)
    with following(at, at.shadow) as connection:
        follow(connection, "root")
    assert put_over(at.shadow, at.path("root"), is_current=lambda: True)
    return at


@contextlib.contextmanager
def fronted(tree: LegacyTree, logs: Path) -> Iterator[Fronted]:
    """The Database Manager alone."""
    with live_stage.fronted(tree, logs, ["database-manager"]) as found:
        yield found["database-manager"]


@dataclass
class Writer:
    """Writes memories one after another, and remembers what was acknowledged and what failed."""

    url: str
    name: str
    acknowledged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Writer:
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _write(self) -> None:
        with httpx.Client(base_url=self.url, timeout=20) as client:
            number = 0
            while not self._stop.is_set():
                key = f"{self.name}-{number}"
                number += 1
                begun = time.monotonic()
                try:
                    answer = client.post(
                        "/memory", json={"id": key, "content": f"text {key}", "type": "note"}
                    )
                    said = str(answer.status_code)
                except httpx.HTTPError as error:
                    said = repr(error)
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
                if said == "201":
                    self.acknowledged.append(key)
                else:
                    self.failed.append(f"{key}: {said}")


@contextlib.contextmanager
def writers(url: str, count: int = 4) -> Iterator[list[Writer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Writer(url, f"w{n}")) for n in range(count)]


def go_on(clients: list[Writer]) -> None:
    """Wait until each has written once more, however slow the machine is."""
    wanted = [len(client.acknowledged) + 1 for client in clients]
    deadline = time.monotonic() + 30
    while any(len(c.acknowledged) < n for c, n in zip(clients, wanted, strict=True)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


WRITTEN = "SELECT id FROM memory_blocks WHERE id GLOB 'w[0-9]-*'"


def test_a_service_moves_and_no_request_fails(tree: LegacyTree, tmp_path: Path) -> None:
    at = place(tree)
    with fronted(tree, tmp_path) as front:
        with writers(front.url) as clients:
            go_on(clients)
            # So long a hold that a slow machine is no reason to try twice: nothing else is one.
            counts = cut_over(at, "database-manager", front.gate, Limits(hold_s=20, lease_s=60))
            go_on(clients)
        assert front.gate.state()["side"] == UNIFIED
    acknowledged = {key for client in clients for key in client.acknowledged}
    assert [failure for client in clients for failure in client.failed] == []
    before = {row[0] for row in values(tree.path("legacy"), "SELECT id FROM memory_blocks")}
    assert before
    assert before < acknowledged
    written = [row[0] for row in values(tree.root, WRITTEN)]
    assert len(written) == len(set(written))
    assert set(written) == acknowledged  # none failed, so none is there that was not acknowledged
    assert counts["attempts"] == 1
    assert counts["held us"] >= counts["locked us"] > 0


class _Counting(GateControl):
    """A gate that counts how often it was held."""

    def __init__(self, gate: GateControl) -> None:
        super().__init__(gate.service, gate.port)
        self.held = 0

    def hold(self, **limits: float) -> bool:
        self.held += 1
        return super().hold(**limits)


@pytest.mark.parametrize("source", ["legacy", "root"])
def test_a_locked_database_puts_the_cutover_off_and_clients_do_not_wait_for_it(
    source: str, tree: LegacyTree, tmp_path: Path
) -> None:
    at = place(tree)
    limits = Limits(hold_s=0.2, attempts=2, pause_s=0.01)
    with fronted(tree, tmp_path) as front, contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(_locking(tree.path(source))))
        gate = _Counting(front.gate)
        with pytest.raises(Exception, match="could not be moved"):
            cut_over(at, "database-manager", gate, limits)
        assert (front.gate.state()["side"], gate.held) == (LEGACY, 0)
        connection.execute("ROLLBACK")
        assert httpx.get(front.url + "/memory").status_code == 200
        cut_over(at, "database-manager", gate, limits)
        assert (front.gate.state()["side"], gate.held) == (UNIFIED, 1)


def _locking(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN IMMEDIATE")
    return connection


class _OpenedOnce(GateControl):
    """A gate that says once, at the last moment, that it is open again: its lease has ended."""

    def __init__(self, gate: GateControl) -> None:
        super().__init__(gate.service, gate.port)
        self.asked = 0

    def is_held(self) -> bool:
        self.asked += 1
        return self.asked > 1 and super().is_held()


def test_what_is_written_after_an_attempt_backed_out_moves_with_the_next(
    tree: LegacyTree, tmp_path: Path
) -> None:
    at = place(tree)
    with fronted(tree, tmp_path) as front:
        gate = _OpenedOnce(front.gate)
        with writers(front.url, 1) as clients:  # each request opens the database, and closes it
            go_on(clients)
            limits = Limits(hold_s=20, lease_s=60, pause_s=2.0)
            counts = cut_over(at, "database-manager", gate, limits)
            go_on(clients)
    assert counts["attempts"] == gate.asked == 2
    assert clients[0].failed == []
    assert {row[0] for row in values(tree.root, WRITTEN)} == set(clients[0].acknowledged)


def test_a_gate_whose_holder_died_opens_as_the_databases_say(
    tree: LegacyTree, tmp_path: Path
) -> None:
    place(tree)
    with fronted(tree, tmp_path) as front:
        assert front.gate.hold(drain_s=1, lease_s=0.2)
        assert httpx.get(front.url + "/memory", timeout=5).status_code == 200
        assert front.gate.state()["side"] == LEGACY


def test_a_gate_stays_held_between_fence_and_successor(tree: LegacyTree, tmp_path: Path) -> None:
    at = place(tree)
    with fronted(tree, tmp_path) as front:
        assert front.gate.hold(drain_s=1, lease_s=0.05)
        with contextlib.closing(_locking(tree.path("legacy"))) as connection:
            connection.execute(f"INSERT INTO {capture.FENCE} VALUES (1)")
            connection.execute("COMMIT")
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(front.url + "/memory", timeout=0.5)
        cut_over(at, "database-manager", front.gate, Limits())
        assert httpx.get(front.url + "/memory").status_code == 200


def test_a_killed_proxy_begins_on_the_side_that_answers(tree: LegacyTree, tmp_path: Path) -> None:
    at = place(tree)
    with fronted(tree, tmp_path) as front:
        cut_over(at, "database-manager", front.gate, Limits())
        front.proxy.restart()
        assert front.gate.state()["side"] == UNIFIED


def test_what_is_no_http_is_refused_in_one_sentence(tree: LegacyTree, tmp_path: Path) -> None:
    place(tree)
    with fronted(tree, tmp_path) as front:
        with socket.create_connection(("127.0.0.1", front.proxy.port), 5) as client:
            client.sendall(b"what is this\r\n\r\n")
            answer = client.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"this is no HTTP" in answer
        assert httpx.get(front.url + "/memory").status_code == 200


def raw(port: int, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(request)
        return client.makefile("rb").read()


def test_an_old_client_that_names_no_host_is_answered(tree: LegacyTree, tmp_path: Path) -> None:
    place(tree)
    with fronted(tree, tmp_path) as front:
        answer = raw(front.proxy.port, b"GET /memory HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(httpx.get(front.url + "/memory").content)


def test_a_head_is_refused_without_a_body_where_nobody_is_behind(
    tree: LegacyTree, tmp_path: Path
) -> None:
    place(tree)
    with fronted(tree, tmp_path) as front:
        front.legacy.kill()
        answer = raw(front.proxy.port, b"HEAD /memory HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert answer.endswith(b"\r\n\r\n")


def test_a_service_that_is_gone_is_told_and_the_gate_goes_on(
    tree: LegacyTree, tmp_path: Path
) -> None:
    place(tree)
    with fronted(tree, tmp_path) as front:
        front.legacy.kill()
        assert httpx.get(front.url + "/memory").json() == {
            "error": "the service behind this port does not answer"
        }
        front.legacy.start()
        assert httpx.get(front.url + "/memory").status_code == 200
