"""Model providers of the harness's own: two small servers that are well, or not, as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["NAMES", "Providers", "providers"]

NAMES = ("ollama", "synthetic")
_ANSWER = b'{"models": [], "data": []}'


class Providers:
    """The providers by name; `well` says how each answers from now on."""

    def __init__(self, urls: Mapping[str, str], well: dict[str, bool]) -> None:
        """Take them as they run."""
        self.urls = urls
        self.well = well

    @property
    def environment(self) -> dict[str, str]:
        """What tells a service where they are."""
        return {
            "OLLAMA_HOST": self.urls["ollama"],
            "OLLAMA_URL": self.urls["ollama"],
            "SYNTHETIC_BASE_URL": self.urls["synthetic"],
        }


@contextmanager
def providers() -> Iterator[Providers]:
    """Yield providers on loopback ports, all of them well; they are gone afterwards."""
    well = dict.fromkeys(NAMES, True)
    with ExitStack() as stack:
        urls = {name: stack.enter_context(_served(name, well)) for name in NAMES}
        yield Providers(urls, well)


@contextmanager
def _served(name: str, well: Mapping[str, bool]) -> Iterator[str]:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if well[name] else 503)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(_ANSWER)))
            self.end_headers()
            self.wfile.write(_ANSWER)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
