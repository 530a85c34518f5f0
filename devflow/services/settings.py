"""Where the services are configured, and the one place that validates it.

Values come from the environment, then from `.env` in the working directory. `DEVFLOW_DB_PATH`
is the only path of a database; one that was left over from before is an error, not a default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from devflow.migration.configuration import configuration_files, rewritten
from devflow.services.errors import ConfigurationError

__all__ = ["PORTS", "Settings", "leftovers", "load_settings"]

PORTS: Mapping[str, int] = {
    "status": 8080,
    "database-manager": 8082,
    "model-registry": 8083,
    "vector-memory": 8084,
    "semantic-memory": 8085,
    "costs": 8086,
    "knowledge": 8087,
    "routing": 8088,
}
"""The services by name, with the port that each listens on where nothing else is said."""

_LEGACY_VARIABLES = ("DATABASE_PATH", "VECTOR_DB_PATH", "VECTOR_DATABASE_PATH")


def _ports(told: Any) -> Any:
    """Read `costs=9086,routing=9088`: the ports that are other ones than `PORTS` says."""
    if not isinstance(told, str):
        return told
    ports: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in told.split(","))):
        name, _, port = part.partition("=")
        if name not in PORTS:
            raise ValueError(f"{name!r} is no service; there are {', '.join(PORTS)}")
        ports[name] = port
    return ports


class Settings(BaseSettings):
    """What the environment says, with the defaults of one machine."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    db_path: Path = Field(Path("devflow.sqlite"), validation_alias="DEVFLOW_DB_PATH")
    host: str = Field("127.0.0.1", validation_alias="DEVFLOW_HOST")
    ports: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=65_535)]], NoDecode, BeforeValidator(_ports)
    ] = Field({}, validation_alias="DEVFLOW_PORTS")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="LOG_LEVEL"
    )
    embedder: Literal["auto", "lexical", "ollama"] = Field(
        "auto", validation_alias="DEVFLOW_EMBEDDER"
    )
    embedding_model: str = Field("embeddinggemma", validation_alias="DEVFLOW_EMBEDDING_MODEL")
    embedding_dimensions: int = Field(
        768, ge=1, le=8_192, validation_alias="DEVFLOW_EMBEDDING_DIMENSIONS"
    )
    embedding_deadline_s: float = Field(
        10.0, gt=0, le=600, validation_alias="DEVFLOW_EMBEDDING_DEADLINE_S"
    )
    ollama_url: str = Field(
        "http://127.0.0.1:11434", validation_alias=AliasChoices("OLLAMA_HOST", "OLLAMA_URL")
    )
    synthetic_url: str = Field("", validation_alias="SYNTHETIC_BASE_URL")
    health_interval_s: float = Field(
        30.0, gt=0, le=86_400, validation_alias="DEVFLOW_HEALTH_INTERVAL_S"
    )
    learn_interval_s: float = Field(
        60.0, gt=0, le=86_400, validation_alias="DEVFLOW_LEARN_INTERVAL_S"
    )
    # While services are moved one by one, the old paths are still those of the ones not yet moved.
    beside_legacy: bool = Field(False, validation_alias="DEVFLOW_BESIDE_LEGACY")
    retention_days: int = Field(30, ge=1, le=36_500, validation_alias="DEVFLOW_RETENTION_DAYS")
    seed: int | None = Field(None, validation_alias="DEVFLOW_SEED")

    def port(self, name: str) -> int:
        """Return the port of the service of that name."""
        return self.ports.get(name, PORTS[name])


def load_settings() -> Settings:
    """Return the settings; ConfigurationError in one sentence where they cannot be right."""
    for variable in _LEGACY_VARIABLES:
        if os.environ.get(variable):
            raise ConfigurationError(
                f"the environment still sets {variable}={os.environ[variable]};"
                " unset it, and set DEVFLOW_DB_PATH to the one database"
            )
    try:
        settings = Settings()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"the setting {where} is wrong: {first['msg']}") from error
    if "data" in settings.db_path.parts[:-1] and not settings.db_path.is_absolute():
        raise ConfigurationError(
            f"DEVFLOW_DB_PATH={settings.db_path} names the old data directory;"
            " set it to ./devflow.sqlite"
        )
    if not settings.db_path.is_file():
        raise ConfigurationError(
            f"DEVFLOW_DB_PATH={settings.db_path} is no file;"
            " run `python -m devflow migrate apply` in the DevFlow root, or set the path"
        )
    for place in () if settings.beside_legacy else leftovers(settings.db_path.parent):
        raise ConfigurationError(place)
    return settings


def leftovers(directory: Path) -> Iterator[str]:
    """Yield a sentence for each configuration line that still names an old database path."""
    for path in configuration_files(directory):
        content = path.read_bytes()
        new = rewritten(content)
        if new == content:
            continue
        pairs = zip(content.splitlines(), [*new.splitlines(), b""], strict=False)
        number, line = next((n, old) for n, (old, now) in enumerate(pairs, start=1) if old != now)
        shown = line.decode("utf-8", "replace").strip()
        yield (
            f"{path}:{number} still names an old database path: {shown};"
            " set DEVFLOW_DB_PATH=./devflow.sqlite there"
        )
