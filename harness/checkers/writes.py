"""What a service is made to write while it is killed: recipes in YAML, `fixtures/writes/`."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import BadInputError
from harness.suggest import unknown_key

__all__ = ["Recipe", "Write", "Written", "recipes"]

_KEYS = ("first", "post", "body", "read", "same", "parts")
_FIRST_KEYS = ("post", "body")
_FILE_KEYS = ("service", "holds", "writes", "stays", "then")
_PLACE = re.compile(r"\{(id|words)\}")
_WORDS = (
    "cache", "deploy", "index", "ledger", "migration", "provider", "queue", "replay", "schema",
    "session", "token", "trigger", "vector", "walrus", "über", "世界",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One kind of write: sent with `{id}` and `{words}` filled in, and found again.

    `first` are paths and bodies that are posted right before it, each time. `read` is a path whose
    answer must hold the fields `same` as they were sent. `parts` are SQL counts by `:id` and
    `:words`: 1 each where the write is there, 0 each where it is not.
    """

    path: str
    body: Mapping[str, Any]
    read: str | None
    same: tuple[str, ...]
    parts: tuple[str, ...]
    first: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The writes of one service.

    `holds` are SQL statements that are run before it starts, `stays` paths that answer alike
    before a kill and after, `then` SQL counts that are 1 each at the end.
    """

    service: str
    writes: tuple[Write, ...]
    holds: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    then: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """One write that was sent: whatever became of it, it is known by its id."""

    write: Write
    id: str
    words: str

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        filled: dict[str, Any] = _filled(dict(self.write.body), self)
        return filled

    @property
    def path(self) -> str:
        """Where it is sent."""
        return str(_filled(self.write.path, self))

    @property
    def first(self) -> list[tuple[str, dict[str, Any]]]:
        """What is posted right before, where and with which body."""
        return [(str(_filled(p, self)), _filled(dict(body), self)) for p, body in self.write.first]

    @property
    def read(self) -> str | None:
        """Where it is read again."""
        return None if self.write.read is None else str(_filled(self.write.read, self))

    @classmethod
    def drawn(cls, recipe: Recipe, rng: random.Random, number: str) -> Written:
        """Draw one of the recipe's writes."""
        words = " ".join(rng.choices(_WORDS, k=rng.randint(1, 12)))
        return cls(rng.choice(recipe.writes), f"durable-{number}", words)


def _filled(value: Any, written: Written) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, written) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, written) for item in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda found: str(getattr(written, found[1])), value)
    return value


def recipes(folder: Path) -> dict[str, Recipe]:
    """Read every recipe in `folder`, by the service that it is for."""
    found = [_recipe(path) for path in sorted(folder.glob("*.yaml"))]
    return {recipe.service: recipe for recipe in found}


def _recipe(path: Path) -> Recipe:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or not isinstance(data.get("writes"), list):
        raise BadInputError(f"{path} must be a mapping with a list of `writes`")
    for key in data:
        if key not in _FILE_KEYS:
            raise BadInputError(f"{path}: {unknown_key(key, _FILE_KEYS)}")
    return Recipe(
        service=str(data.get("service")),
        writes=tuple(
            _write(given, f"{path}: write {number}")
            for number, given in enumerate(data["writes"], start=1)
        ),
        holds=_texts(data, "holds"),
        stays=_texts(data, "stays"),
        then=_texts(data, "then"),
    )


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(map(str, data.get(key) or ()))


def _write(given: Any, where: str) -> Write:
    if not isinstance(given, dict):
        raise BadInputError(f"{where} must be a mapping of keys")
    for key in given:
        if key not in _KEYS:
            raise BadInputError(f"{where}: {unknown_key(key, _KEYS)}")
    if not str(given.get("post", "")).startswith("/") or not given.get("parts"):
        raise BadInputError(f"{where} needs `post`, a path, and `parts`, a list of SQL counts")
    first = given.get("first") or ()
    for one in first:
        if not isinstance(one, dict) or not str(one.get("post", "")).startswith("/"):
            raise BadInputError(f"{where}: each of `first` needs `post`, a path")
        for key in one:
            if key not in _FIRST_KEYS:
                raise BadInputError(f"{where}: {unknown_key(key, _FIRST_KEYS)}")
    return Write(
        first=tuple((str(one["post"]), dict(one.get("body") or {})) for one in first),
        path=str(given["post"]),
        body=dict(given.get("body") or {}),
        read=given.get("read"),
        same=tuple(given.get("same") or ()),
        parts=tuple(given["parts"]),
    )
