"""Strategies for the model registry's log: its usual lines, and lines that are broken."""

from __future__ import annotations

import json

from hypothesis import strategies as st

__all__ = ["logs"]

_PROVIDERS = ("ollama", "synthetic", "none")
_BROKEN = (
    b"",
    b"{",
    b"not JSON",
    b'{"timestamp":"2025-09-18T21:00:17.670Z","message":"Health check compl',
    b"[]",
    b"null",
    b"7",
    b'{"message":7}',
    b'\xff\xfe{"message":"Health check completed"}',
    b'{"message":"Health check completed","ollama":"yes","synthetic":1,"active":null}',
    b'{"message":"Health check completed"}',
    b'{"message":"Health check completed","ollama":true,"synthetic":true,"active":"ollama"}\r',
    b'{"message":"Health check completed","active":"a\\u0000b","ollama":true}',
    b"\x00",
    '{"message":"é\u2028"}'.encode(),
    b'{"message":"Health check completed","ollama":NaN,"active":"ollama"}',
    b"[" * 3_000,
)


def _line(message: str, **more: object) -> bytes:
    made = {
        "timestamp": "2025-09-18T21:00:17.670Z",
        "level": "info",
        "service": "model-registry",
        "environment": "development",
        "message": message,
        **more,
    }
    return json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode()


@st.composite
def _usual(draw: st.DrawFn) -> bytes:
    kind = draw(st.integers(0, 5))
    if kind < 4:
        return _line(
            "Health check completed",
            ollama=draw(st.booleans()),
            synthetic=draw(st.booleans()),
            active=draw(st.sampled_from(_PROVIDERS)),
        )
    if kind == 4:
        return _line(
            "Synthetic health check failed", level="error", error=draw(st.sampled_from(("", "x")))
        )
    return _line("Starting Model Registry Service", port=8083, ollamaHost="http://localhost:11434",
                 syntheticHost="http://localhost:8090")  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> bytes | None:
    """A log of a few lines; sometimes empty, without its last newline, or missing (None)."""
    lines = draw(st.lists(_usual() | _usual() | st.sampled_from(_BROKEN), max_size=6))
    shape = draw(st.integers(0, 9))
    if shape == 9:
        return None
    return b"\n".join(lines) + (b"\n" if lines and shape < 8 else b"")
