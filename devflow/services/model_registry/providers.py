"""The providers that the registry knows: from the settings, from the API, from the old log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devflow.services.errors import ConflictError, MissingError
from devflow.services.model_registry.checking import settle
from devflow.services.settings import Settings
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now

__all__ = ["LEGACY", "add", "change", "delete", "found", "register"]

LEGACY: Mapping[str, str] = {"ollama": "/api/tags", "synthetic": "/models"}
"""The two providers that the settings configure, with their health paths, the preferred first."""


def register(connection: Connection, settings: Settings) -> None:
    """Take in what the settings say; what the API configured stays as it is."""
    urls = {"ollama": settings.ollama_url, "synthetic": settings.synthetic_url}
    for position, (name, path) in enumerate(LEGACY.items()):
        if not urls[name].startswith(("http://", "https://")):
            connection.execute(
                "UPDATE model_providers SET configured_by = NULL"
                " WHERE name = ? AND configured_by = 'settings'",
                (name,),
            )
            continue
        connection.execute(
            "INSERT INTO model_providers (name, base_url, health_path, position, configured_by)"
            " VALUES (?, ?, ?, ?, 'settings') ON CONFLICT (name) DO UPDATE SET"
            " base_url = excluded.base_url, health_path = excluded.health_path,"
            " position = excluded.position, configured_by = 'settings'"
            " WHERE configured_by IS NOT 'api'",
            (name, urls[name], path, position),
        )
    settle(connection, iso_now())


def found(connection: Connection, name: str) -> Row:
    """Return a provider, or MissingError."""
    row = one(connection, "SELECT * FROM model_providers WHERE name = ?", (name,))
    if row is None:
        raise MissingError(f"there is no provider {name!r}")
    return row


def add(connection: Connection, told: Mapping[str, Any]) -> Row:
    """Add a provider; ConflictError where the name is taken."""
    known = one(
        connection, "SELECT configured_by FROM model_providers WHERE name = ?", (told["name"],)
    )
    if known is not None and known["configured_by"] is not None:
        raise ConflictError(f"there is a provider {told['name']!r} already")
    connection.execute(
        "INSERT INTO model_providers (name, base_url, health_path, position, configured_by)"
        " VALUES (:name, :base_url, :health_path, :position, 'api') ON CONFLICT (name) DO UPDATE"
        " SET base_url = excluded.base_url, health_path = excluded.health_path,"
        " position = excluded.position, configured_by = 'api'",
        told,
    )
    return found(connection, told["name"])


def change(connection: Connection, name: str, told: Mapping[str, Any]) -> Row:
    """Set what is told of a provider; one of the settings then counts as the API's."""
    found(connection, name)
    if told:
        sets = ", ".join(f"{column} = :{column}" for column in told)
        connection.execute(
            f"UPDATE model_providers SET {sets}, configured_by = CASE WHEN base_url IS NULL"
            " THEN configured_by ELSE 'api' END WHERE name = :name",
            {**told, "name": name},
        )
        settle(connection, iso_now())
    return found(connection, name)


def delete(connection: Connection, name: str) -> None:
    """Delete a provider with its history; ConflictError for one that the old log tells of."""
    known = found(connection, name)
    if known["in_log"]:
        raise ConflictError(
            f"provider {name!r} is part of the migrated log; set `enabled` to false instead"
        )
    # Put out of use first: where it was the active one, a failover tells who is in its place.
    connection.execute("UPDATE model_providers SET enabled = 0 WHERE name = ?", (name,))
    settle(connection, iso_now())
    connection.execute("DELETE FROM model_providers WHERE name = ?", (name,))
