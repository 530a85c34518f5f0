"""The gate proxy by itself, in front of services that behave as real ones do at their worst."""

from __future__ import annotations

import asyncio
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
