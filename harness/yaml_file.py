"""Reads a YAML file against a JSON schema, so that every mistake is named with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from harness.errors import BadInputError
from harness.suggest import did_you_mean, unknown_key

__all__ = ["YamlFile", "plain_yaml"]

_SHOWN_CHARACTERS = 60
_TOO_DEEP = "it is nested too deeply, or contains itself"


class _Loader(yaml.SafeLoader):
    """YAML's plain values, but a time stays the text that stands there."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice is an error: the last one would win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[str] = set()
        for key in keys:
            if key.value in seen:
                text = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def plain_yaml(text: str | bytes) -> Any:
    """Return the values of a YAML file without a schema.

    YAMLError where it is none, a key stands twice in one mapping, or it is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 (it is a SafeLoader)
    except RecursionError as error:
        raise yaml.YAMLError(_TOO_DEEP) from error


class YamlFile:
    """One file while it is read: its values in `data`, unchecked until `checked`."""

    def __init__(self, path: Path, *, what: str, way_out: str) -> None:
        """Read `path`; BadInputError where it is no YAML. `what` names the kind of file."""
        self.path = path.resolve()
        self.given = path
        self.what = what
        try:
            self.content = path.read_bytes()
            text = self.content.decode()
        except OSError as error:
            raise BadInputError(
                f"the {what} {path} cannot be read ({error.strerror}); {way_out}"
            ) from error
        except UnicodeDecodeError as error:
            raise BadInputError(f"the {what} {path} is not UTF-8") from error
        try:
            self.node = yaml.compose(text, Loader=_Loader)
            self.data: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 (it is a SafeLoader)
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            said = getattr(error, "problem", None) or " ".join(str(error).split())
            raise BadInputError(f"{path}:{line}: this is not YAML: {said}") from error
        except RecursionError as error:
            raise BadInputError(f"{path}:1: this is not YAML: {_TOO_DEEP}") from error

    def wrong(self, where: tuple[Any, ...], text: str, *, key: str | None = None) -> BadInputError:
        """Return an error at the place `where` (keys from the top); `key`: at that key."""
        return BadInputError(f"{self.given}:{self._line(where, key)}: {text}")

    def _line(self, where: tuple[Any, ...], key: str | None) -> int:
        node = self.node
        line = node.start_mark.line + 1 if node is not None else 1
        for part in where:
            if isinstance(node, yaml.MappingNode):
                for name, value in node.value:
                    if name.value == str(part):
                        node, line = value, name.start_mark.line + 1
                        break
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = node.start_mark.line + 1
        if key is not None and isinstance(node, yaml.MappingNode):
            lines = [name.start_mark.line + 1 for name, _ in node.value if name.value == key]
            line = lines[-1] if lines else line
        return line

    def checked(self, validator: jsonschema.Draft202012Validator, *, manual: str) -> Any:
        """Return `data` once it fits the schema; BadInputError with line and suggestion."""
        if not isinstance(self.data, dict):
            raise self.wrong((), f"a {self.what} is a mapping of keys; {manual} lists them")
        try:
            for where, key in _duplicates(self.node, ()):
                raise self.wrong(where, f"the key {key!r} stands twice", key=key)
        except RecursionError as error:
            raise self.wrong((), "it contains itself, by an alias") from error
        errors = sorted(
            validator.iter_errors(self.data), key=lambda error: list(map(str, error.path))
        )
        if errors:
            raise self._explained(errors[0])
        return self.data

    def _explained(self, error: jsonschema.ValidationError) -> BadInputError:
        where = tuple(error.absolute_path)
        place = f" in `{'.'.join(str(part) for part in where)}`" if where else ""
        schema = cast("Any", error.schema)
        values = cast("Any", error.validator_value)
        given = cast("Any", error.instance)
        if error.validator == "additionalProperties":
            known = list(schema["properties"])
            unknown = next(key for key in given if key not in known)
            return self.wrong(where, f"{unknown_key(unknown, known)}{place}", key=str(unknown))
        if error.validator == "required":
            missing = next(key for key in values if key not in given)
            return self.wrong(where, f"the key `{missing}` is missing{place}")
        shown = repr(given)[:_SHOWN_CHARACTERS]
        if error.validator == "enum":
            hint = did_you_mean(str(given), map(str, values))
            return self.wrong(where, f"{shown} is not possible{place}{hint}")
        said = schema.get("description", error.message[:_SHOWN_CHARACTERS])
        return self.wrong(where, f"{shown} is not possible{place}: {said}")


def _duplicates(
    node: yaml.Node | None, where: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            key = str(name.value)
            if key in seen:
                yield where, key
            seen.add(key)
            yield from _duplicates(value, (*where, key))
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield from _duplicates(value, (*where, position))
