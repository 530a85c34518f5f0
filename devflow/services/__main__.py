"""Runs one service: `python -m devflow.services NAME [PORT]`, configured by the environment."""

from __future__ import annotations

import os
import signal
import sys
import threading

import uvicorn

from devflow.services.app import create_app
from devflow.services.catalogue import MODULES, load
from devflow.services.errors import ConfigurationError
from devflow.services.logs import configure
from devflow.services.settings import load_settings

_GRACE_S = 10
_KEEP_ALIVE_S = 60


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are finished first."""
    if not arguments or arguments[0] not in MODULES:
        sys.stderr.write(f"name a service: {', '.join(MODULES)}\n")
        return 2
    name = arguments[0]
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure(name, settings.log_level)
    if os.environ.get("DEVFLOW_SUPERVISED"):
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
    uvicorn.run(
        create_app(load(name), settings),
        host=settings.host,
        port=int(arguments[1]) if len(arguments) > 1 else settings.port(name),
        log_config=None,
        access_log=False,
        loop="uvloop",
        http="httptools",
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    return 0


def _end_with_supervisor() -> None:
    """Stop as at SIGTERM when the supervisor is gone, and with it its end of this pipe."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
