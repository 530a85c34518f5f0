"""The clients of a load: a process that is told on its standard input what to do, a line each."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop

from harness.errors import HarnessError
from harness.generators.load import Asked, Outcome, Session, Shared, outcome
from harness.history import Log, Operation

_TELL_S = 0.05
_REFUSED_S = 0.02  # nobody whose request failed asks again at once
_IDLE_S = 2.0  # below every server's own: else it may close a connection while it is used
_PAUSE_S = 0.01
_ENDS: Final = ("ok", "fail", "info")


class Clients:
    """All clients of one load, in one event loop."""

    def __init__(self, given: Mapping[str, Any], log: Log) -> None:
        """Nothing is sent yet."""
        self.stopping = False
        self._log = log
        self._urls: dict[str, str] = dict(given["urls"])
        self._rate: float | None = given["rate"]
        self._next_s = 0.0
        self._numbers = itertools.count()
        self._ended: Counter[str] = Counter()
        self._sent = 0
        self._timeout = aiohttp.ClientTimeout(total=given["timeout_s"])
        shared = Shared()
        self._sessions = [
            Session(
                number,
                seed=log.start.seed,
                prefix=log.start.prefix,
                services=self._urls,
                shared=shared,
                mix=given["mix"],
            )
            for number in range(given["connections"])
        ]

    async def run(self) -> None:
        """Send until told to stop."""
        async with asyncio.TaskGroup() as group:
            for session in self._sessions:
                group.create_task(self._client(session))

    def obey(self, said: Mapping[str, Any]) -> None:
        """Do what a line says."""
        self.stopping = self.stopping or bool(said.get("stop"))
        if "rate" in said:
            self._rate = said["rate"]
        self._urls |= said.get("urls", {})

    def counts(self) -> dict[str, int]:
        """Return what `Counts` takes."""
        return {"sent": self._sent, **{type_: self._ended[type_] for type_ in _ENDS}}

    async def _client(self, session: Session) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=self._timeout) as http:
            # A PUT or DELETE that it sent again by itself would count twice in the history.
            http._retry_connection = False
            while await self._turn():
                asked = session.next()
                number = next(self._numbers)
                self._begin(session, asked, number)
                came = await self._send(http, asked)
                self._end(session, asked, number, came)
                session.settled(asked, came)
                if came.type != "ok":
                    await asyncio.sleep(_REFUSED_S)

    async def _turn(self) -> bool:
        """Wait for the rate, without making up for lost moments; False at the end."""
        loop = asyncio.get_running_loop()
        while self._rate == 0 and not self.stopping:
            await asyncio.sleep(_PAUSE_S)
        if self._rate and not self.stopping:
            now = loop.time()
            mine = max(self._next_s, now)
            self._next_s = mine + 1 / self._rate
            if mine > now:
                await asyncio.sleep(mine - now)
        return not self.stopping

    def _begin(self, session: Session, asked: Asked, number: int) -> None:
        self._sent += 1
        collection = asked.collection
        keyed = collection.stored != ""
        self._log.append(
            Operation(
                "invoke", number, session.number, collection.service, asked.kind,
                self._log.now_ns(), collection.name if keyed else None, asked.key, asked.value,
            )
        )  # fmt: skip

    def _end(self, session: Session, asked: Asked, number: int, came: Outcome) -> None:
        self._log.append(
            Operation(
                came.type, number, session.number, asked.collection.service, asked.kind,
                self._log.now_ns(), status=came.status, error=came.error,
                acknowledged=came.acknowledged, saw=came.saw,
            )
        )  # fmt: skip
        self._ended[came.type] += 1

    async def _send(self, http: aiohttp.ClientSession, asked: Asked) -> Outcome:
        url = self._urls[asked.collection.service] + asked.path
        headers = {"content-type": "application/json"} if asked.body else None
        try:
            async with http.request(asked.method, url, data=asked.body, headers=headers) as answer:
                content = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Outcome("fail", error=f"no connection: {error}")
        except TimeoutError:
            return Outcome("info", error=f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome("info", error=f"the connection broke: {error or type(error).__name__}")
        return outcome(asked, answer.status, content, prefix=self._log.start.prefix)


def _say(said: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def _tell(clients: Clients) -> None:
    while True:
        _say(clients.counts())
        await asyncio.sleep(_TELL_S)


async def _listen(clients: Clients, lines: asyncio.StreamReader) -> None:
    while line := await lines.readline():
        clients.obey(json.loads(line))
    clients.obey({"stop": True})  # whoever drives it has ended


async def _main() -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    given = json.loads(await lines.readline())
    log = Log.join(Path(given["log"]))
    clients = Clients(given, log)
    telling = [asyncio.create_task(_tell(clients)), asyncio.create_task(_listen(clients, lines))]
    try:
        await clients.run()
    finally:
        for task in telling:
            task.cancel()
        log.close()
    _say(clients.counts())


def main() -> int:
    """Send a load; 0 where it was stopped, 1 where it could not go on."""
    wrong: str | None = None
    try:
        uvloop.run(_main())
    except* HarnessError as errors:
        wrong = str(errors.exceptions[0])
    if wrong is not None:
        _say({"error": wrong})
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
