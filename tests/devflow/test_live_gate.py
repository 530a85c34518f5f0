"""A gate does the same for its clients and its migration, whichever valve it has."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live_front import LARGE, VALVES, answering, front, gate_before, lacks

from devflow.live import haproxy, proxy
from devflow.live.authority import LEGACY, NOBODY, UNIFIED
from devflow.live.gate import Gate, Valve
from devflow.live.haproxy import Haproxy
from devflow.live.proxy import Proxy
from harness.services import free_port

pytestmark = pytest.mark.parametrize("valve", VALVES)
HOLD = {"drain_s": 2.0, "lease_s": 30.0}


def test_requests_wait_while_it_is_held_and_go_to_the_side_that_it_opens_to(
    tmp_path: Path, valve: str
) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate, httpx.Client(base_url=gate.url) as kept:
        assert kept.get("/").text == LEGACY
        before = gate.gate.state()["passed"]
        assert gate.gate.hold(**HOLD)
        assert gate.gate.is_held()
        waiting = [gate.pool.submit(gate.get) for _ in range(5)]
        gate.until_waiting(5)
        time.sleep(0.1)
        assert not any(one.done() for one in waiting)
        assert gate.gate.state()["passed"] == before
        gate.gate.release(UNIFIED)
        assert {one.result() for one in waiting} == {UNIFIED}
        # The connection that was there before the hold goes to the new side, too.
        assert kept.get("/").text == UNIFIED
        assert gate.gate.state()["passed"] == before + 6
        gate.gate.release(LEGACY)
        assert kept.get("/").text == LEGACY


@pytest.mark.parametrize("path", ["/slow?s=0.5", "/drip?s=0.5"])
def test_a_hold_waits_for_the_last_byte_of_what_is_in_flight(
    tmp_path: Path, valve: str, path: str
) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate:
        begun = time.monotonic()
        answer = gate.pool.submit(gate.get, path)
        gate.until_in_flight(1)
        assert gate.gate.hold(**HOLD)
        assert time.monotonic() - begun >= 0.5
        assert gate.gate.state()["in_flight"] == 0
        assert answer.result(0.2).startswith(LEGACY)


def test_a_hold_that_would_take_too_long_opens_again_as_before(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate:
        gate.gate.release(UNIFIED)
        slow = gate.pool.submit(gate.get, "/slow?s=1")
        gate.until_in_flight(1)
        held = gate.pool.submit(gate.gate.hold, drain_s=0.2, lease_s=30)
        assert gate.get() == UNIFIED
        assert not held.result()
        assert not gate.gate.is_held()
        assert slow.result() == UNIFIED


def test_a_request_whose_client_left_is_waited_for(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate:
        with pytest.raises(httpx.ReadTimeout):
            gate.get("/slow?s=1", timeout_s=0.2)
        begun = time.monotonic()
        assert gate.gate.state()["in_flight"] == 1
        assert gate.gate.hold(**HOLD)
        assert time.monotonic() - begun > 0.3


def test_a_lease_that_ends_opens_it_to_whom_the_database_names(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate:
        gate.give(NOBODY)
        assert gate.gate.hold(drain_s=1, lease_s=0.1)
        waiting = gate.pool.submit(gate.get)
        time.sleep(0.5)
        assert gate.gate.is_held()
        assert not waiting.done()
        gate.give(UNIFIED)
        assert waiting.result() == UNIFIED


def test_one_that_is_killed_and_started_again_asks_the_database(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate:
        gate.gate.release(UNIFIED)  # as nobody ever said in the database
        gate.process.restart()
        assert gate.get() == LEGACY
        gate.give(UNIFIED)
        gate.process.restart()
        assert gate.get() == UNIFIED


def test_bodies_and_errors_pass_unchanged(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    digest = hashlib.sha256(LARGE).hexdigest()

    def chunks() -> Iterator[bytes]:
        for at in range(0, len(LARGE), 100_000):
            yield LARGE[at : at + 100_000]

    with front(tmp_path, valve) as gate, httpx.Client(base_url=gate.url, timeout=20) as client:
        assert client.post("/", content=LARGE).text == digest
        assert client.post("/", content=chunks()).text == digest
        assert client.post("/", content=b"").text == hashlib.sha256(b"").hexdigest()
        assert client.get("/large").content == LARGE
        for status in (404, 409, 422, 500, 503):
            answer = client.get(f"/status?is={status}")
            assert answer.status_code == status
            assert answer.json() == {"error": "as it was said"}
            assert answer.headers["x-told"] == "unchanged"


def test_an_answer_that_breaks_off_is_never_a_whole_one(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate:
        with pytest.raises(httpx.RemoteProtocolError):
            gate.get("/half")
        answer = httpx.get(gate.url + "/silent")
        assert answer.status_code == 502
        assert answer.json() == {"error": "the service behind this port broke off"}
        assert gate.get() == LEGACY


def test_a_service_that_is_gone_and_what_is_no_http_are_told_in_a_sentence(
    tmp_path: Path, valve: str
) -> None:
    if lacks(valve):
        return
    with contextlib.ExitStack() as stack:
        legacy = stack.enter_context(answering(LEGACY))
        nobody = f"http://127.0.0.1:{free_port()}"
        gate = gate_before(tmp_path, legacy=legacy, unified=nobody, words=("--by", valve))
        stack.callback(gate.process.kill)
        gate.process.start()
        gate.gate.release(UNIFIED)
        answer = httpx.get(gate.url)
        assert answer.status_code in (502, 503)
        assert answer.json() == {"error": "the service behind this port does not answer"}
        assert answer.headers["retry-after"] == "1"
        gate.gate.release(LEGACY)
        with socket.create_connection(("127.0.0.1", gate.process.port), 5) as client:
            client.sendall(b"what is this\r\n\r\n")
            said = client.makefile("rb").read()
        assert said.startswith(b"HTTP/1.1 400 ")
        assert valve == "haproxy" or b"this is no HTTP" in said
        assert gate.get() == LEGACY


def test_it_tells_how_long_answers_take(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    with front(tmp_path, valve) as gate, httpx.Client(base_url=gate.url) as client:
        told = []
        for path, times in (("/", 20), ("/slow?s=0.05", 20), ("/", 60)):
            for _ in range(times):
                client.get(path)
            told.append(gate.gate.state()["latency_ms"])
    quick, slow, again = told
    assert 0 < quick < slow
    assert slow > 25
    assert again < slow / 2


def test_no_answer_waits_for_the_client_to_acknowledge_its_head(tmp_path: Path, valve: str) -> None:
    if lacks(valve):
        return
    took = []
    with front(tmp_path, valve) as gate, httpx.Client(base_url=gate.url) as client:
        for _ in range(60):
            begun = time.monotonic()
            client.get("/")
            took.append(time.monotonic() - begun)
    assert min(took[40:]) < 0.03  # by then Linux acknowledges late, after 40 ms


def test_who_waits_too_long_is_told_to_come_again(
    tmp_path: Path, valve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks(valve):
        return
    monkeypatch.setattr(proxy, "WAIT_S_MAX", 1.0)
    monkeypatch.setattr(haproxy, "WAIT_S_MAX", 1.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    sides = {LEGACY: "http://127.0.0.1:1", UNIFIED: "http://127.0.0.1:1"}

    async def ask() -> httpx.Response:
        made: Valve = Haproxy(sides, name="patience") if valve == "haproxy" else Proxy(sides)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(made.serve(listening))
            port = listening.getsockname()[1]
            async with httpx.AsyncClient(timeout=10) as client:
                answer = await client.get(f"http://127.0.0.1:{port}/")
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        return answer

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert answer.json() == {"error": "the service is being moved; try again in a second"}
    assert answer.headers["retry-after"] == "1"


def test_whoever_comes_last_of_many_is_obeyed(
    tmp_path: Path, valve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks(valve):
        return
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def turn(urls: dict[str, str]) -> list[str]:
        made: Valve = Haproxy(urls, name="turns") if valve == "haproxy" else Proxy(urls)
        gate = Gate(lambda: LEGACY, made)
        seen = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(made.serve(listening))
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            async with httpx.AsyncClient(timeout=20) as client:
                for side in (UNIFIED, LEGACY) * 10:
                    gate.settle()  # each of these is overtaken by the next
                    await asyncio.sleep(0)
                    holding = asyncio.create_task(gate.hold(**HOLD))
                    await asyncio.sleep(0)
                    await asyncio.gather(gate.release(side), holding)
                    seen.append((await client.get(url)).text)
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        return seen

    with answering(LEGACY) as legacy, answering(UNIFIED) as unified:
        assert asyncio.run(turn({LEGACY: legacy, UNIFIED: unified})) == [UNIFIED, LEGACY] * 10


def test_an_old_client_and_one_that_wants_the_head_alone_are_answered(
    tmp_path: Path, valve: str
) -> None:
    if lacks(valve):
        return

    def raw(port: int, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(request)
            return client.makefile("rb").read()

    with front(tmp_path, valve) as gate:
        port = gate.process.port
        answer = raw(port, b"GET / HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nlegacy")
        answer = raw(port, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")
