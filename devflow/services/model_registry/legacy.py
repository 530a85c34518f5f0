"""The old registry's API: two providers, each as its last check found it, without hysteresis."""

from __future__ import annotations

from fastapi import APIRouter

from devflow.services.app import SettingsOf, StoreOf
from devflow.services.model_registry.background import RegistryOf
from devflow.services.model_registry.models import LegacyActive, LegacyCheck, LegacyProviders
from devflow.services.model_registry.providers import LEGACY
from devflow.services.settings import Settings
from devflow.services.store import Connection, Row, rows

__all__ = ["router"]

router = APIRouter(tags=["legacy"])


def _last(connection: Connection) -> dict[str, bool | None]:
    """Return what the last check of each of the two found; None where there was none."""
    known = {
        row["name"]: row
        for row in rows(
            connection,
            "SELECT name, consecutive_failures, consecutive_successes FROM model_providers",
        )
    }
    return {name: _found(known.get(name)) for name in LEGACY}


def _found(provider: Row | None) -> bool | None:
    if provider is None:
        return None
    if provider["consecutive_failures"]:
        return False
    return True if provider["consecutive_successes"] else None


def _active(healthy: dict[str, bool | None]) -> str | None:
    return next((name for name, well in healthy.items() if well), None)


def _urls(settings: Settings) -> dict[str, str]:
    return {"ollama": settings.ollama_url, "synthetic": settings.synthetic_url}


@router.get("/providers", operation_id="legacyProviders", response_model=LegacyProviders)
async def providers(store: StoreOf, settings: SettingsOf) -> Row:
    """List the two providers as their last checks found them."""
    healthy = await store.read(_last)
    urls = _urls(settings)
    return {
        "providers": [
            {"name": n, "url": urls[n], "healthy": healthy[n], "active": n == _active(healthy)}
            for n in LEGACY
        ]
    }


@router.get("/active", operation_id="legacyActive", response_model=LegacyActive)
async def active(store: StoreOf) -> Row:
    """Tell which provider's last check was well, the preferred one first."""
    return {"active": _active(await store.read(_last))}


@router.post("/check", operation_id="legacyCheck", response_model=LegacyCheck)
async def check(store: StoreOf, registry: RegistryOf) -> Row:
    """Check all providers now."""
    await registry.check_all()
    healthy = await store.read(_last)
    return {**{name: bool(well) for name, well in healthy.items()}, "active": _active(healthy)}
