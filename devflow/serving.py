"""The command `python -m devflow serve`: settings and ports first, then the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from devflow.services.errors import ConfigurationError
from devflow.services.settings import PORTS, load_settings
from devflow.supervisor import claim
from devflow.supervisor import serve as supervise

__all__ = ["serve"]

_MISCONFIGURED = 2


def serve(only: Sequence[str]) -> int:
    """Run the services named, all where none is, until a signal; return the exit code."""
    names = [name for name in PORTS if not only or name in only]
    try:
        unknown = [name for name in only if name not in PORTS]
        if unknown:
            raise ConfigurationError(f"{unknown[0]!r} is no service; there are {', '.join(PORTS)}")
        settings = load_settings()
        claim(settings, names)
    except ConfigurationError as error:
        click.echo(f"error: {error}", err=True)
        return _MISCONFIGURED

    def ready() -> None:
        for name in names:
            click.echo(f"{name:<17} http://{settings.host}:{settings.port(name)}/")
        click.echo(f"all are well, on {settings.db_path}; SIGTERM or Ctrl-C stops them")

    asyncio.run(supervise(settings, names, ready=ready))
    return 0
