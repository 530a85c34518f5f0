"""The gate's own valve: a proxy that passes HTTP/1.1 on to the side that answers.

It keeps no state that a crash could lose: a connection is worth nothing.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from devflow.live.gate import WAIT_S_MAX, Figures

__all__ = ["Proxy"]

_HOST = "127.0.0.1"
_READ_BYTES = 1 << 16
_NEW_SHARE = 0.05
# Shorter than any server keeps an idle connection: one that it is about to close is not used.
_IDLE_S = 2.0
_FAILED = 500
_HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect"}


class _HeldTooLongError(Exception):
    """A request was held until its patience ended."""


class _Peer:
    """One end of a connection, spoken to in h11's events."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(our_role=role)
        self._reader = reader
        self._writer = writer
        self.idle_since = time.monotonic()

    async def next(self) -> object:
        """Return the next event, reading as far as that needs."""
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.http.receive_data(await self._reader.read(_READ_BYTES))

    async def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin here."""
        return (
            not self._reader.at_eof()
            and not self._writer.is_closing()
            and time.monotonic() - self.idle_since < _IDLE_S
        )

    def renew(self) -> bool:
        """Make ready for the next exchange; False where the connection is at its end."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
            return False
        self.http.start_next_cycle()
        self.idle_since = time.monotonic()
        return True

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True, slots=True)
class _Side:
    host: str
    port: int
    idle: list[_Peer]

    @classmethod
    def at(cls, url: str) -> _Side:
        split = urlsplit(url)
        return cls(split.hostname or _HOST, split.port or 80, [])

    async def connect(self) -> _Peer:
        while self.idle:
            peer = self.idle.pop()
            if peer.usable:
                return peer
            peer.close()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        return _Peer(h11.CLIENT, reader, writer)


class Proxy:
    """Passes requests on, each to the side that it is open towards when the request passes."""

    def __init__(self, sides: Mapping[str, str]) -> None:
        """`sides` are the base URLs of `legacy` and `unified`. It begins closed."""
        self._sides = {name: _Side.at(url) for name, url in sides.items()}
        self._side: str | None = None
        self._in_flight = self._waiting = self._passed = 0
        self._latency_ms = 0.0
        self._open = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        # Nobody else keeps one whose client has left: it could be collected amid its request, which
        # would be no longer in flight then, and its write still to come.
        self._serving: set[asyncio.Task[None] | None] = set()

    async def serve(self, listening: socket.socket) -> None:
        """Take connections until cancelled."""
        server = await asyncio.start_server(self._serve_client, sock=listening)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()

    async def open(self, side: str) -> None:
        """Let requests pass to `side`."""
        self._side = side
        self._open.set()

    async def close(self) -> None:
        """Let nothing new pass."""
        self._open.clear()
        self._side = None

    async def empty(self, within_s: float) -> bool:
        """Wait until what has passed is answered; False where that takes longer."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), within_s)
            return True
        return False

    async def figures(self) -> Figures:
        """Return what is counted now."""
        return Figures(self._in_flight, self._waiting, self._passed, self._latency_ms)

    @asynccontextmanager
    async def _passing(self) -> AsyncIterator[str]:
        """Wait until it is open, and count as in flight within; yields the side."""
        if self._side is None:
            self._waiting += 1
            try:
                async with asyncio.timeout(WAIT_S_MAX):
                    while self._side is None:  # it may be closed again before this goes on
                        await self._open.wait()
            except TimeoutError:
                raise _HeldTooLongError from None
            finally:
                self._waiting -= 1
        side = self._side
        self._in_flight += 1
        self._passed += 1
        self._empty.clear()
        try:
            yield side
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._empty.set()

    def _answered(self, took_s: float) -> None:
        self._latency_ms += _NEW_SHARE * (took_s * 1000 - self._latency_ms)

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one client's connection, request after request."""
        client = _Peer(h11.SERVER, reader, writer)
        self._serving.add(task := asyncio.current_task())
        with suppress(ConnectionError):  # whoever it was has gone: nobody is left to be answered
            try:
                await self._serve(client)
            except h11.ProtocolError as error:
                await _refuse(client, error.error_status_hint, f"this is no HTTP: {error}")
            finally:
                self._serving.discard(task)
        writer.close()

    async def _serve(self, client: _Peer) -> None:
        while isinstance(request := await client.next(), h11.Request):
            try:
                async with self._passing() as side:
                    begun = time.monotonic()
                    await self._exchange(client, request, self._sides[side])
                    self._answered(time.monotonic() - begun)
            except _HeldTooLongError:
                await _refuse(client, 503, "the service is being moved; try again in a second")
            if not client.renew():
                break

    async def _exchange(self, client: _Peer, request: h11.Request, side: _Side) -> None:
        """Pass one request on, and its answer back."""
        try:
            service = await side.connect()
        except OSError:
            await _refuse(client, 502, "the service behind this port does not answer")
            return
        status = 0
        try:
            await service.send(_passed_on(request, side))
            while not isinstance(event := await client.next(), h11.EndOfMessage):
                if isinstance(event, h11.ConnectionClosed):
                    service.close()
                    return
                await service.send(event)  # type: ignore[arg-type]
            await service.send(h11.EndOfMessage())
            while True:
                event = await service.next()
                if isinstance(event, h11.InformationalResponse):
                    continue
                if isinstance(event, h11.ConnectionClosed):
                    raise ConnectionError
                if isinstance(event, h11.Response):
                    status = event.status_code
                    event = h11.Response(
                        status_code=event.status_code,
                        headers=_end_to_end(event.headers),
                        reason=event.reason,
                    )
                await client.send(event)  # type: ignore[arg-type]
                if isinstance(event, h11.EndOfMessage):
                    break
        except (ConnectionError, h11.RemoteProtocolError):
            service.close()
            if status:  # the client must not take half an answer for a whole one
                raise
            await _refuse(client, 502, "the service behind this port broke off")
            return
        # A server whose program failed may close behind its answer, without having said so.
        if status < _FAILED and service.renew():
            side.idle.append(service)
        else:
            service.close()


def _passed_on(request: h11.Request, side: _Side) -> h11.Request:
    headers = _end_to_end(request.headers)
    if not any(name == b"host" for name, _ in headers):  # HTTP/1.0 needs none, what we speak does
        headers.append((b"host", f"{side.host}:{side.port}".encode()))
    return h11.Request(method=request.method, target=request.target, headers=headers)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP]


async def _refuse(client: _Peer, status: int, text: str) -> None:
    """Answer in the proxy's own name; the rest of the request is not read."""
    body = json.dumps({"error": text}).encode()
    if client.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    headers += [("retry-after", "1"), ("connection", "close")]
    await client.send(h11.Response(status_code=status, headers=headers))
    with suppress(h11.LocalProtocolError):  # in answer to a HEAD no body may follow
        await client.send(h11.Data(data=body))
        await client.send(h11.EndOfMessage())
