"""Recorded requests: read from YAML, and filled with what is found in the legacy databases."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw.ext
import yaml

from harness.database import open_read_only, typed_select
from harness.errors import BadInputError
from harness.suggest import unknown_key

__all__ = ["Contract", "Recorded", "Sent", "contracts", "filled", "found_in"]

KINDS = ("id", "near", "number", "text", "time")
"""How a value that differs by nature is compared."""

_METHODS = ("get", "post", "put", "patch", "delete")
_KEYS = ("each", "vectors", "body", "raw", "volatile", "keep", "providers", *_METHODS)
_FILE_KEYS = ("service", "database", "volatile", "requests")
_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request as it is written: `path` and `body` have `{names}` to fill.

    `each` is SQL on the legacy database: one request a row, its columns by name. With `vectors`
    the first two columns are a vector's bytes and dimensions, and the name is `vector`.
    `volatile` maps names of fields to one of KINDS; `keep` gives a name to a field of the answer,
    for later requests; `providers` says who of them is well from now on.
    """

    method: str
    path: str
    body: Any = None
    raw: str | None = None
    each: str | None = None
    vectors: bool = False
    volatile: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The requests to one legacy service; `database` is where `each` looks."""

    service: str
    path: Path
    requests: tuple[Recorded, ...]
    database: str | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A request with everything in its place."""

    method: str
    path: str
    body: Any
    raw: str | None


def contracts(folder: Path) -> dict[str, Contract]:
    """Read every contract in `folder`, by the legacy service that it is about."""
    found = [_contract(path) for path in sorted(folder.glob("*.yaml"))]
    return {contract.service: contract for contract in found}


def _contract(path: Path) -> Contract:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or not isinstance(data.get("requests"), list):
        raise BadInputError(f"{path} must be a mapping with a list of `requests`")
    for key in data:
        if key not in _FILE_KEYS:
            raise BadInputError(f"{path}: {unknown_key(key, _FILE_KEYS)}")
    everywhere = dict(data.get("volatile") or {})
    return Contract(
        service=str(data.get("service")),
        path=path,
        database=data.get("database"),
        requests=tuple(
            _recorded(given, everywhere, f"{path}: request {number}")
            for number, given in enumerate(data["requests"], start=1)
        ),
    )


def _recorded(given: Any, everywhere: dict[str, str], where: str) -> Recorded:
    if not isinstance(given, dict):
        raise BadInputError(f"{where} must be a mapping of keys")
    for key in given:
        if key not in _KEYS:
            raise BadInputError(f"{where}: {unknown_key(key, _KEYS)}")
    methods = [name for name in _METHODS if name in given]
    if len(methods) != 1 or not str(given[methods[0]]).startswith("/"):
        raise BadInputError(f"{where} needs one of {', '.join(_METHODS)} with a path")
    volatile = everywhere | dict(given.get("volatile") or {})
    for kind in volatile.values():
        if kind not in KINDS:
            raise BadInputError(f"{where}: `volatile` knows {', '.join(KINDS)}, not {kind!r}")
    return Recorded(
        method=methods[0].upper(),
        path=str(given[methods[0]]),
        body=given.get("body"),
        raw=given.get("raw"),
        each=given.get("each") or given.get("vectors"),
        vectors="vectors" in given,
        volatile=volatile,
        keep=dict(given.get("keep") or {}),
        providers=dict(given.get("providers") or {}),
    )


def filled(recorded: Recorded, values: Mapping[str, Any]) -> Sent:
    """Return the request with `values` in the place of their names."""

    def in_path(found: re.Match[str]) -> str:
        return quote(str(values.get(found[1], found[0])), safe="")

    return Sent(
        method=recorded.method,
        path=_PLACE.sub(in_path, recorded.path),
        body=_filled(recorded.body, values),
        raw=recorded.raw,
    )


def _filled(body: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(body, dict):
        return {key: _filled(value, values) for key, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, values) for value in body]
    if isinstance(body, str) and (whole := _PLACE.fullmatch(body)) and whole[1] in values:
        return values[whole[1]]
    return body


def found_in(database: Path, recorded: Recorded) -> Iterator[dict[str, Any]]:
    """Yield what fills the request: a dictionary a row of `each`, of valid texts and vectors."""
    assert recorded.each is not None  # noqa: S101 - the caller asked
    connection = open_read_only(database, at_rest=True)
    try:
        told = apsw.ext.query_info(connection, recorded.each).description
        names = [str(column[0]) for column in told]
        expressions = [f'"{name}"' for name in names]
        for flags, *values in connection.execute(typed_select(expressions, f"({recorded.each})")):
            row = _typed(names, values, flags)
            made = _vector(row, names) if recorded.vectors else row
            if made is not None and all(_sendable(value) for value in made.values()):
                yield made
    finally:
        connection.close()


def _typed(names: list[str], values: list[Any], flags: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for position, (name, value) in enumerate(zip(names, values, strict=True)):
        made[name] = value
        if flags >> position & 1:
            try:
                made[name] = value.decode("utf-8")
            except UnicodeDecodeError:
                made[name] = None
    return made


def _vector(row: dict[str, Any], names: list[str]) -> dict[str, Any] | None:
    """Return the row with its vector as a list of numbers; None where it is no vector to ask by."""
    blob, dimensions = row.pop(names[0]), row.pop(names[1])
    if not isinstance(blob, bytes) or dimensions != len(blob) / 4:
        return None
    numbers = struct.unpack(f"<{len(blob) // 4}f", blob)
    finite = all(abs(number) < float("inf") for number in numbers)
    return {**row, "vector": list(numbers)} if finite and any(numbers) else None


def _sendable(value: Any) -> bool:
    """Whether a value can stand in a request's path: a text without what no URL can hold."""
    return isinstance(value, list) or (isinstance(value, str) and value.strip("./\0") != "")
