"""What stands in front of one service's port: a gate, its valve, and the port that steers it.

The control port takes one JSON object a line: `state`, `hold`, `release`. Whatever the valve is,
it ends with this process, so that nothing passes where nobody can be told to hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import click

from devflow.live.authority import LEGACY, SERVICES, SOURCE_OF, UNIFIED, Authority
from devflow.live.gate import Gate, Valve, ValveError
from devflow.live.haproxy import TEMPLATE, Haproxy
from devflow.live.proxy import Proxy
from devflow.migration.tree import Tree

__all__ = ["main"]

_HOST = "127.0.0.1"
_BACKLOG = 1024
_LET_GO_S = 1.0
_ASK_AGAIN_S = 0.01
_OWN, _HAPROXY = "own", "haproxy"


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
            await gate.release(str(said["side"]))
        elif said["op"] != "state":
            raise ValueError(f"op {said['op']!r}")
        return {"ok": ok, **await gate.state()}


async def _stand(
    ask: Callable[[], str | None], valve: Valve, *, listening: socket.socket, control: socket.socket
) -> None:
    """Serve both ports until a signal; ValveError where requests cannot pass any more."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    gate = Gate(ask, valve)
    await asyncio.start_server(Control(gate).serve, sock=control)
    gate.settle()
    serving = asyncio.create_task(valve.serve(listening))
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def _listening(port: int) -> socket.socket:
    """Listen on a port, which what stood there until it was killed may let go a moment later."""
    until = time.monotonic() + _LET_GO_S
    while True:
        try:
            # With the protocol named: else asyncio lets each answer wait for Nagle's algorithm.
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            with contextlib.ExitStack() as stack:
                stack.callback(listening.close)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((_HOST, port))
                listening.listen(_BACKLOG)
                stack.pop_all()
            return listening
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and time.monotonic() < until:
                time.sleep(_ASK_AGAIN_S)
                continue
            raise click.ClickException(
                f"nobody can listen on port {port} ({error}); give the gate another, or end what"
                " is there"
            ) from error


def _moved(_: click.Context, __: click.Parameter, service: str) -> str:
    """Return a service that is moved: in front of another, nothing would ever be held."""
    if service not in SERVICES:
        near = difflib.get_close_matches(service, SERVICES, n=1, cutoff=0.5)
        known = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(SERVICES)}"
        raise click.BadParameter(f"{service!r} is no service that is moved; {known}")
    return service


def _side(_: click.Context, __: click.Parameter, url: str) -> str:
    """Return a URL of which a valve uses host and port, and nothing else is lost."""
    try:
        split = urlsplit(url)
        named = bool(split.hostname and split.port)
    except ValueError:  # a port that is no number, or too large a one
        named = False
    if not named or split.scheme != "http" or split.path.strip("/") or split.query:
        raise click.BadParameter(f"{url!r} must be http://HOST:PORT, with nothing behind")
    return url


_PORT = click.IntRange(1, 65_535)
_URL = partial(click.option, required=True, metavar="URL", callback=_side)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("service", callback=_moved)
@click.argument("port", type=_PORT)
@click.option("--control", type=_PORT, required=True, help="Port that takes hold and release.")
@_URL("--legacy", help="Where the legacy service answers.")
@_URL("--unified", help="Where its successor answers.")
@click.option("--tree", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".")
@click.option(
    "--by",
    type=click.Choice((_OWN, _HAPROXY)),
    default=_OWN,
    show_default=True,
    help="What passes the requests on: this process itself, or a haproxy that it steers.",
)
@click.option(
    "--template",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --by haproxy: a changed copy of devflow/live/haproxy.cfg.",
)
def main(
    service: str,
    port: int,
    control: int,
    legacy: str,
    unified: str,
    tree: Path,
    by: str,
    template: Path | None,
) -> None:
    """Stand at PORT in front of SERVICE, until a signal; --tree is the DevFlow root."""
    if template is not None and by != _HAPROXY:
        raise click.UsageError("--template is haproxy's configuration; it goes with --by haproxy")
    at = Tree.at(tree)
    source = SOURCE_OF.get(service)
    authority = Authority(service, at.path("root"), None if source is None else at.path(source))
    sides = {LEGACY: legacy, UNIFIED: unified}
    try:
        valve: Valve = (
            Haproxy(sides, name=str(control), template=template or TEMPLATE)
            if by == _HAPROXY
            else Proxy(sides)
        )
        with _listening(control) as steered, _listening(port) as listening:
            asyncio.run(_stand(authority.side, valve, listening=listening, control=steered))
    except ValveError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
