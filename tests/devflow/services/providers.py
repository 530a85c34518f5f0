"""Model providers on loopback that are well, failing or slow as a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Provider:
    """One provider: what it answers, how late, and how often it was asked."""

    status: int = 200
    delay_s: float = 0.0
    asked: list[float] = field(default_factory=list)
    url: str = ""


@contextmanager
def provider(**given: float) -> Iterator[Provider]:
    """Serve a provider; it is gone afterwards."""
    one = Provider(**given)  # type: ignore[arg-type]

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            one.asked.append(time.time())
            time.sleep(one.delay_s)
            self.send_response(one.status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    one.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield one
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
