"""The commands `python -m devflow serve` and `health`: settings first, then what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import httpx

from devflow.services.errors import ConfigurationError
from devflow.services.settings import PORTS, Settings, load_settings
from devflow.supervisor import claim, reachable
from devflow.supervisor import serve as supervise

__all__ = ["health", "serve"]

_MISCONFIGURED = 2
_ANSWER_S = 5.0


def serve(only: Sequence[str]) -> int:
    """Run the services named, all where none is, until a signal; return the exit code."""
    try:
        names = _chosen(only)
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


def health(only: Sequence[str]) -> int:
    """Ask the services named, all where none is, how they are; return 0 where all are well."""
    try:
        names = _chosen(only)
        settings = load_settings()
    except ConfigurationError as error:
        click.echo(f"error: {error}", err=True)
        return _MISCONFIGURED
    told = {name: _told(settings, name) for name in names}
    for name, text in told.items():
        click.echo(f"{name:<17} {text}")
    return 0 if all(text == "ok" for text in told.values()) else 1


def _chosen(only: Sequence[str]) -> list[str]:
    for name in only:
        if name not in PORTS:
            raise ConfigurationError(f"{name!r} is no service; there are {', '.join(PORTS)}")
    return [name for name in PORTS if not only or name in only]


def _told(settings: Settings, name: str) -> str:
    """Return `ok`, or what is the matter with a service."""
    try:
        answer = httpx.get(reachable(settings, name), timeout=_ANSWER_S, trust_env=False)
        body = answer.json()
        if body["service"] != name:
            return f"down: {body['service']} answers on its port"
        failing = [
            f"{check['name']}: {check['detail']}" for check in body["checks"] if not check["ok"]
        ]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return "down"
    return f"failing: {'; '.join(failing)}" if failing else "ok"
