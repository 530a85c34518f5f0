"""Which services there are, by name; each is imported only where it runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from devflow.services.app import Service

__all__ = ["MODULES", "load"]

MODULES: Mapping[str, str] = {
    "database-manager": "devflow.services.database_manager",
    "model-registry": "devflow.services.model_registry",
    "vector-memory": "devflow.services.vector_memory",
    "semantic-memory": "devflow.services.semantic_memory",
    "costs": "devflow.services.costs",
    "knowledge": "devflow.services.knowledge",
    "routing": "devflow.services.routing",
    "status": "devflow.services.status",
}


def load(name: str) -> Service:
    """Return the service of that name: its package's `SERVICE`."""
    service: Service = importlib.import_module(MODULES[name]).SERVICE
    return service
