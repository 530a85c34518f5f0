"""OpenAPI links: from a thing that was made to what can be done with it."""

from __future__ import annotations

from typing import Any

__all__ = ["links"]


def links(parameter: str, **operations: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` entry of a 201 whose body's `id` goes into `parameter` of others."""
    given = {parameter: "$response.body#/id"}
    found = {
        name: {"operationId": operation, "parameters": given}
        for name, operation in operations.items()
    }
    return {201: {"links": found}}
