"""The gate proxy in front of one service's port: HTTP/1.1 passed on to the side that answers.

It keeps no state that a crash could lose: who answers stands in the databases, and a connection
is worth nothing. Its control port takes one JSON object a line: `state`, `hold`, `release`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
import h11

from devflow.live.authority import LEGACY, SOURCE_OF, UNIFIED, Authority
from devflow.live.gate import Gate, HeldTooLongError
from devflow.migration.tree import Tree

__all__ = ["Proxy"]

_HOST = "127.0.0.1"
_READ_BYTES = 1 << 16
# Shorter than any server keeps an idle connection: one that it is about to close is not used.
_IDLE_S = 2.0
_FAILED = 500
_HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect"}


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
    """Passes requests on; `gate` says to which side, and when."""

    def __init__(self, gate: Gate, sides: Mapping[str, str]) -> None:
        """`sides` are the base URLs of `legacy` and `unified`."""
        self.gate = gate
        self._sides = {name: _Side.at(url) for name, url in sides.items()}

    async def serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one client's connection, request after request."""
        client = _Peer(h11.SERVER, reader, writer)
        with suppress(ConnectionError):  # whoever it was has gone: nobody is left to be answered
            try:
                await self._serve(client)
            except h11.ProtocolError as error:
                await _refuse(client, error.error_status_hint, f"this is no HTTP: {error}")
        writer.close()

    async def _serve(self, client: _Peer) -> None:
        while isinstance(request := await client.next(), h11.Request):
            try:
                async with self.gate.passing() as side:
                    begun = time.monotonic()
                    await self._exchange(client, request, self._sides[side])
                    self.gate.answered(time.monotonic() - begun)
            except HeldTooLongError:
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


class Control:
    """Answers on the control port: one JSON object a line, one a line back."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's lines."""
        with suppress(ConnectionError):  # who asked has gone, and asks again where it needs to know
            while line := await reader.readline():
                try:
                    answer = await self._answer(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    answer = {"ok": False, "error": f"not understood: {error}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, said: Mapping[str, object]) -> dict[str, object]:
        gate, ok = self._gate, True
        if said["op"] == "hold":
            drain_s, lease_s = float(str(said["drain_s"])), float(str(said["lease_s"]))
            ok = await gate.hold(drain_s=drain_s, lease_s=lease_s)
        elif said["op"] == "release":
            if said["side"] not in (LEGACY, UNIFIED):
                raise ValueError(f"side {said['side']!r}")
            gate.release(str(said["side"]))
        elif said["op"] != "state":
            raise ValueError(f"op {said['op']!r}")
        return {
            "ok": ok,
            "side": gate.side,
            "in_flight": gate.in_flight,
            "waiting": gate.waiting,
            "passed": gate.passed,
            "holds": gate.holds,
            "latency_ms": gate.latency_ms,
        }


async def _run(port: int, control: int, gate: Gate, proxy: Proxy) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await asyncio.start_server(Control(gate).serve, _HOST, control)
    gate.settle()
    server = await asyncio.start_server(proxy.serve_client, _HOST, port, backlog=1024)
    await stopped.wait()
    server.close()


@click.command()
@click.argument("service")
@click.argument("port", type=int)
@click.option("--control", type=int, required=True, help="Port that takes hold and release.")
@click.option("--legacy", required=True, metavar="URL", help="Where the legacy service answers.")
@click.option("--unified", required=True, metavar="URL", help="Where its successor answers.")
@click.option("--tree", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".")
def main(service: str, port: int, control: int, legacy: str, unified: str, tree: Path) -> None:
    """Stand at PORT in front of SERVICE, until a signal; --tree is the DevFlow root."""
    at = Tree.at(tree)
    source = SOURCE_OF.get(service)
    authority = Authority(service, at.path("root"), None if source is None else at.path(source))
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, control, authority, {LEGACY: legacy, UNIFIED: unified}))


async def _serve(port: int, control: int, authority: Authority, sides: Mapping[str, str]) -> None:
    gate = Gate(authority.side)
    await _run(port, control, gate, Proxy(gate, sides))


if __name__ == "__main__":
    main()
