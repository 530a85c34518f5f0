"""Which embedder makes a vector: Ollama where it runs, else the lexical one, as configured.

`ollama` means Ollama or a refusal, `lexical` the lexical one always, `auto` Ollama while it is
reachable. Whether it is, is found out at start and again from time to time in the background; a
request waits for Ollama no longer than its deadline, and in `auto` then gets the lexical vector.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from devflow.services.costs.recording import Usage
from devflow.services.errors import UnavailableError
from devflow.services.logs import logger
from devflow.services.settings import Settings
from devflow.services.values import iso_now
from devflow.services.vector_memory import lexical
from devflow.services.vector_memory.ollama import Ollama, OllamaError
from devflow.services.vector_memory.vectors import Floats

__all__ = ["Configured", "Embedded", "Embedder", "Which", "embedding"]

Configured = Literal["auto", "lexical", "ollama"]
Which = Literal["configured", "lexical"]
_AT_ONCE_MAX = 2_000
_log = logger()


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector, the model that made it, and the usage to record where a provider made it."""

    vector: Floats
    model: str
    usage: Usage | None = None


class Embedder:
    """The embedders of one service, and what is known of Ollama."""

    def __init__(self, which: Configured, ollama: Ollama, *, interval_s: float) -> None:
        """Use `ollama` as `which` says; look after it every `interval_s` seconds."""
        self.which = which
        self.ollama = ollama
        self.reachable: bool | None = None
        self.problem: str | None = None
        self.checked_at: str | None = None
        self._interval_s = interval_s

    @property
    def current(self) -> tuple[str, str, int]:
        """Provider, model and dimensions of the embedder that a request would get now."""
        if self.which == "ollama" or (self.which == "auto" and self.reachable):
            return "ollama", self.ollama.model, self.ollama.dimensions
        return "lexical", lexical.MODEL, lexical.DIMENSIONS

    async def embed(self, text: str, which: Which = "configured") -> Embedded:
        """Return the vector of a text, by the embedder that is configured, or lexically."""
        if which == "lexical" or self.which == "lexical":
            return await _lexical(text)
        if self.which == "ollama":
            try:
                return await self._asked(text)
            except OllamaError as error:
                raise UnavailableError(
                    f"{error}; or ask for the embedder `lexical`, or set DEVFLOW_EMBEDDER=auto"
                ) from error
        if self.reachable:
            try:
                return await self._asked(text)
            except OllamaError as error:
                _log.warning("embedding lexically instead", reason=str(error))
        return await _lexical(text)

    async def _asked(self, text: str) -> Embedded:
        try:
            reply = await self.ollama.embed(text)
        except OllamaError as error:
            self._learned(str(error))
            raise
        self._learned(None)
        usage = Usage(
            provider="ollama",
            agent_type="embedding",
            model=self.ollama.model,
            duration_ms=reply.duration_ms,
            tokens_in=reply.tokens,
            tokens_out=0,
            cost_usd=0.0,  # it runs on one's own machine
        )
        return Embedded(reply.vector, self.ollama.model, usage)

    async def check(self) -> None:
        """Find out whether Ollama is reachable."""
        try:
            await self.ollama.check()
        except OllamaError as error:
            self._learned(str(error))
        else:
            self._learned(None)

    def _learned(self, problem: str | None) -> None:
        reachable = problem is None
        if reachable is not self.reachable:
            _log.info("ollama", reachable=reachable, reason=problem)
        self.reachable, self.problem, self.checked_at = reachable, problem, iso_now()

    async def follow(self) -> None:
        """Check again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.check()


async def _lexical(text: str) -> Embedded:
    if len(text) <= _AT_ONCE_MAX:
        vector = lexical.embedded(text)
    else:
        vector = await asyncio.to_thread(lexical.embedded, text)
    return Embedded(vector, lexical.MODEL)


@asynccontextmanager
async def embedding(settings: Settings) -> AsyncIterator[Embedder]:
    """Yield the embedder that the settings ask for, and look after Ollama meanwhile."""
    ollama = Ollama(
        settings.ollama_url,
        model=settings.embedding_model,
        dimensions=settings.embedding_dimensions,
        deadline_s=settings.embedding_deadline_s,
    )
    embedder = Embedder(settings.embedder, ollama, interval_s=settings.health_interval_s)
    try:
        if settings.embedder == "lexical":
            yield embedder
            return
        await embedder.check()
        following = asyncio.create_task(embedder.follow())
        try:
            yield embedder
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
    finally:
        await ollama.aclose()
