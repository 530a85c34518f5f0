"""The gate proxy by itself, in front of services that behave as real ones do at their worst."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from itertools import count

import httpx

from devflow.live.authority import LEGACY
from devflow.live.gate import Gate
from devflow.live.proxy import Proxy

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"


async def statuses(requests: int) -> list[int]:
    """Send requests, one after another, to a service whose first connection breaks after a 500."""
    connections = count(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_first = next(connections) == 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(BROKEN if is_first else OK)
        if is_first:
            await reader.read(1)  # whoever asks here again is asking nobody
        writer.close()

    service = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = Proxy({LEGACY: f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}"})
    Gate(lambda: LEGACY, proxy).settle()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        serving = asyncio.create_task(proxy.serve(listening))
        async with service, httpx.AsyncClient(timeout=10) as client:
            found = [(await client.get(url)).status_code for _ in range(requests)]
        serving.cancel()
    return found


def test_a_connection_is_not_used_again_after_a_failure_of_the_service() -> None:
    # uvicorn closes it after an exception, and the answer before does not say so.
    assert asyncio.run(statuses(2)) == [500, 200]


async def in_flight_after_its_client_left() -> list[int]:
    """Send a request, leave, and count what is in flight before and after the service answers."""
    asked, answering = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answering.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(OK)
            await reader.read(1)
        writer.close()

    service = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = Proxy({LEGACY: f"http://127.0.0.1:{service.sockets[0].getsockname()[1]}"})
    Gate(lambda: LEGACY, proxy).settle()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(proxy.serve(listening))
        _, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await asked.wait()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)  # until the proxy has seen it leave
        gc.collect()
        found = [(await proxy.figures()).in_flight]
        answering.set()
        assert await proxy.empty(5)
        found.append((await proxy.figures()).in_flight)
        serving.cancel()
    service.close()
    return found


def test_a_request_stays_in_flight_when_its_client_left_and_memory_is_tidied() -> None:
    assert asyncio.run(in_flight_after_its_client_left()) == [1, 0]
