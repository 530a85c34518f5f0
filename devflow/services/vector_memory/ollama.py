"""Ollama as an embedder, through its HTTP API: `POST /api/embed` and `GET /api/tags`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from devflow.services.vector_memory.vectors import Floats

__all__ = ["Ollama", "OllamaError", "Reply"]

_CHECK_S = 2.0
_NS_PER_MS = 1_000_000
_COUNT_MAX = 1 << 62


class OllamaError(Exception):
    """Ollama gave no embedding; the text says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One embedding and what it took."""

    vector: Floats
    tokens: int | None
    duration_ms: int


class Ollama:
    """A client of one Ollama, for one model; close it at the end."""

    def __init__(self, url: str, *, model: str, dimensions: int, deadline_s: float) -> None:
        """Prepare; nothing is sent yet. `url` may lack its scheme, as OLLAMA_HOST may."""
        self.url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
        self.model = model
        self.dimensions = dimensions
        self._deadline_s = deadline_s
        # No proxy of the environment is asked: texts go to the host that was named, only.
        self._client = httpx.AsyncClient(base_url=self.url, timeout=deadline_s, trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check(self) -> None:
        """Return if Ollama answers and has the model, else raise OllamaError, within 2 s."""
        told = await self._asked("GET", "/api/tags", None, min(_CHECK_S, self._deadline_s))
        models = told.get("models")
        entries = models if isinstance(models, list) else []
        names = {entry.get("name") for entry in entries if isinstance(entry, dict)}
        if not {self.model, f"{self.model}:latest"} & names:
            raise OllamaError(
                f"Ollama at {self.url} has no model {self.model}; run `ollama pull {self.model}`"
            )

    async def embed(self, text: str) -> Reply:
        """Return the embedding of a text, within the deadline."""
        body = {"model": self.model, "input": text}
        clock = asyncio.get_running_loop().time
        began = clock()
        told = await self._asked("POST", "/api/embed", body, self._deadline_s)
        vectors = told.get("embeddings")
        if not (isinstance(vectors, list) and len(vectors) == 1 and isinstance(vectors[0], list)):
            raise OllamaError(f"Ollama at {self.url} answered without an embedding")
        vector = self._checked(vectors[0])
        spent_ns = _count(told.get("total_duration"))
        measured_ms = round((clock() - began) * 1_000)
        return Reply(
            vector=vector,
            tokens=_count(told.get("prompt_eval_count")),
            duration_ms=measured_ms if spent_ns is None else spent_ns // _NS_PER_MS,
        )

    def _checked(self, values: list[Any]) -> Floats:
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            raise OllamaError(f"Ollama at {self.url} answered with values that are no numbers")
        if len(values) != self.dimensions:
            raise OllamaError(
                f"{self.model} at {self.url} gives {len(values)} dimensions, not"
                f" {self.dimensions}; set DEVFLOW_EMBEDDING_DIMENSIONS to what it gives"
            )
        with np.errstate(over="ignore"):
            vector = np.array(values, dtype=np.float64).astype(np.float32)
        if not np.isfinite(vector).all() or not vector.any():
            raise OllamaError(f"Ollama at {self.url} answered with a vector without direction")
        return vector

    async def _asked(self, method: str, path: str, body: Any, deadline_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(deadline_s):
                answer = await self._client.request(method, path, json=body)
        except TimeoutError as error:
            raise OllamaError(
                f"Ollama at {self.url} did not answer within {deadline_s:g} s"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = type(error).__name__
            raise OllamaError(f"Ollama at {self.url} cannot be reached: {error or kind}") from error
        if answer.status_code != httpx.codes.OK:
            raise OllamaError(f"Ollama at {self.url} answered {answer.status_code}: {_why(answer)}")
        told = _json(answer)
        if not isinstance(told, dict):
            raise OllamaError(f"Ollama at {self.url} answered with no JSON object")
        return told


def _count(value: Any) -> int | None:
    """Return a number of tokens or nanoseconds, None where it is none that a database can take."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if whole and 0 <= value < _COUNT_MAX else None


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _why(answer: httpx.Response) -> str:
    told = _json(answer)
    why = told.get("error") if isinstance(told, dict) else None
    return str(why or answer.reason_phrase or "no reason")[:200]
