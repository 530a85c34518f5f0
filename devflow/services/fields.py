"""Types that requests and responses share, with their limits."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from devflow.services.values import JSON_DEPTH_MAX, shallow

__all__ = [
    "CONTENT_MAX",
    "WHOLE_MAX",
    "Body",
    "ErrorBody",
    "FieldError",
    "Identifier",
    "IdentifierInPath",
    "Integral",
    "Json",
    "Limit",
    "Name",
    "Offset",
    "Shown",
    "StrictBody",
    "Text",
    "Words",
]

CONTENT_MAX = 2 * 1024 * 1024
"""Characters of one text at most."""
WHOLE_MAX = 2**63 - 1


def _storable(value: Any) -> Any:
    """Refuse JSON that SQLite or a client could not read again: NaN, lone surrogates, depths."""
    if not shallow(value):
        raise ValueError(f"may be nested {JSON_DEPTH_MAX} deep at most")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ValueError("must be JSON without NaN, infinity and lone surrogates") from error
    return value


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Identifier = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00/]+$")]
IdentifierInPath = Annotated[str, Path(min_length=1, max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=CONTENT_MAX)]
Integral = BeforeValidator(_integral)
"""Marks an integer of a `StrictBody`, after its limits: JSON counts 3.0 among the integers."""
Json = Annotated[Any, AfterValidator(_storable)]
Limit = Annotated[int, Query(ge=1, le=500, description="rows at most")]
Offset = Annotated[int, Query(ge=0, le=WHOLE_MAX, description="rows to pass over")]
Words = Annotated[str, Query(min_length=1, max_length=1_000, description="words to find")]


class Body(BaseModel):
    """A request's body: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class StrictBody(Body):
    """A body whose numbers are no texts, and whose texts are no numbers."""

    model_config = ConfigDict(strict=True)


class Shown(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(ser_json_inf_nan="null")


class FieldError(Shown):
    """One field of a request that is wrong."""

    field: str = Field(examples=["body.title"])
    problem: str = Field(examples=["String should have at least 1 character"])


class ErrorBody(Shown):
    """Why a request was refused; nothing was changed."""

    error: str = Field(examples=["there is no task 'task-7'"])
    fields: list[FieldError] | None = None
