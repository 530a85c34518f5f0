"""Requests over keep-alive connections: how many a second, and how long each takes."""

from __future__ import annotations

import http.client
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

__all__ = ["Rate", "Request", "Requests", "run_load"]

_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request; a body is JSON. `expected` is the status that it must get."""

    method: str
    path: str
    body: bytes | None = None
    expected: int = 200


Requests = Callable[[int], Request]
"""Gives the request of a number; no number comes twice in a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a load came to: requests, the seconds that they took, and each one's median."""

    requests: int
    seconds: float
    median_ms: float

    @property
    def per_second(self) -> float:
        """Requests a second of all clients together."""
        return self.requests / self.seconds


def run_load(
    port: int, requests: Requests, numbers: Iterator[int], *, clients: int, seconds: float
) -> Rate:
    """Send requests from `clients` threads for about `seconds`, at least one from each.

    Raises RuntimeError at the first answer that is not the expected one: an error page is fast.
    """
    lock, until = threading.Lock(), time.perf_counter() + seconds

    def send() -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        took: list[float] = []
        while not took or time.perf_counter() < until:
            with lock:
                request = requests(next(numbers))
            began = time.perf_counter()
            headers = {"content-type": "application/json"} if request.body else {}
            connection.request(request.method, request.path, request.body, headers)
            answer = connection.getresponse()
            content = answer.read()
            took.append(time.perf_counter() - began)
            if answer.status != request.expected:
                text = f"{request.method} {request.path}: {answer.status} {content[:200]!r}"
                raise RuntimeError(text)
        connection.close()
        return took

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        every = [waiting.result() for waiting in [pool.submit(send) for _ in range(clients)]]
    elapsed = time.perf_counter() - began
    together = [one for took in every for one in took]
    return Rate(
        requests=len(together),
        seconds=elapsed,
        median_ms=statistics.median(together) * 1_000,
    )
