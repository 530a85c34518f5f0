"""What a scenario is, and how its YAML file is read: every mistake named with file and line."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from harness.errors import BadInputError
from harness.suggest import did_you_mean, unknown_key

__all__ = [
    "Expectation",
    "FixtureSource",
    "Kill",
    "Scenario",
    "Trial",
    "find_scenario",
    "scenario_files",
    "scenarios_folder",
    "trial_of",
]

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FixtureSource:
    """Where a scenario's databases come from: a profile to build, a tree to copy, or itself.

    Exactly one of `profile`, `copied` and `inline` is not None. `inline` maps a database's name
    to SQL statements, or to None for a file of no bytes; a database not named is missing. `log`
    and `config` (`as-planned` or `none`) stand beside `inline` only.
    """

    profile: str | None = None
    seed: int = 1
    scale: float = 1.0
    hazards: tuple[str, ...] = ()
    copied: Path | None = None
    inline: Mapping[str, tuple[str, ...] | None] | None = None
    log: bytes | None = None
    config: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL of the candidate `during` a command, once for each crash point.

    `at` names phases and `phase/step`; empty means every step. `when` says where in a step.
    `from_phase` is the last phase applied before a killed rollback.
    """

    during: str
    at: tuple[str, ...] = ()
    when: tuple[str, ...] = ("before", "after")
    from_phase: str = "cleanup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must come out; `refused`: the candidate declines and changes nothing."""

    verdict: str = "valid"
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How the candidate's services are tried on the migrated databases.

    `checks` are those of `contract`, `api` and `durability` that are made, on the services `only`,
    or on all where it names none. `api` draws `examples` for each operation and phase, until
    there were `requests` to the service; `thorough` takes their place in the full profile, and
    `requests_max` bounds them; `operations` are the only ones that are asked, by their ids, where
    it names some. `writes` by `clients` at a time are what `durability` has acknowledged.
    """

    checks: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    examples: int = 3
    requests: int = 1
    thorough: int = 1_500
    requests_max: int = 5_000
    operations: tuple[str, ...] = ()
    writes: int = 1_000
    clients: int = 4
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One story to play and judge. `checkers` None means all that apply to the candidate."""

    name: str
    description: str
    fixture: FixtureSource
    path: Path
    candidate: Path | None = None
    until: str = "cleanup"
    rollback_from: tuple[str, ...] = ()
    kills: tuple[Kill, ...] = ()
    checkers: tuple[str, ...] | None = None
    trial: Trial = Trial()
    expect: Expectation = Expectation()
    seed: int = 1
    slow: bool = False

    @classmethod
    def load(cls, path: Path) -> Scenario:
        """Read a scenario's file; BadInputError with file, line and a suggestion."""
        return _Reader(path).scenario()

    def with_seed(self, seed: int) -> Scenario:
        """Return the same story with everything random drawn from `seed`."""
        fixture, trial = replace(self.fixture, seed=seed), replace(self.trial, seed=seed)
        return replace(self, seed=seed, fixture=fixture, trial=trial)

    @property
    def replay(self) -> str:
        """The line that plays this scenario again."""
        if scenarios_folder() in self.path.parents and self.path.stem == self.name:
            return f"make scenario NAME={self.name}"
        return f"make scenario FILE={self.path}"


def scenarios_folder() -> Path:
    """Return the folder of the scenarios that come with the harness."""
    return Path(__file__).resolve().parent.parent / "scenarios"


def scenario_files(folder: Path | None = None) -> tuple[Path, ...]:
    """Return the scenario files in `folder` and below it, by name."""
    return tuple(sorted((folder or scenarios_folder()).rglob("*.yaml")))


def find_scenario(name_or_path: str) -> Scenario:
    """Read a scenario by its name or its file; BadInputError where there is none."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return Scenario.load(path)
    known = {file.stem: file for file in scenario_files()}
    if name_or_path not in known:
        raise BadInputError(
            f"there is no scenario {name_or_path!r}{did_you_mean(name_or_path, known)}"
        )
    return Scenario.load(known[name_or_path])


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    file = scenarios_folder() / "scenario.schema.json"
    return jsonschema.Draft202012Validator(json.loads(file.read_text(encoding="utf-8")))


class _Reader:
    """One scenario file while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.given = path
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BadInputError(
                f"the scenario {path} cannot be read ({error.strerror}); give a file or a name"
            ) from error
        except UnicodeDecodeError as error:
            raise BadInputError(f"the scenario {path} is not UTF-8") from error
        try:
            self.node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: Any = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            said = getattr(error, "problem", None) or " ".join(str(error).split())
            raise BadInputError(f"{path}:{line}: this is not YAML: {said}") from error

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

    def scenario(self) -> Scenario:
        self._check()
        data = self.data
        seed = data.get("seed", 1)
        expect = data.get("expect", {})
        checkers = data.get("checkers")
        candidate = data.get("candidate")
        return Scenario(
            name=data.get("name", self.path.stem),
            description=" ".join(data["description"].split()),
            fixture=self._fixture(data["fixture"], seed),
            path=self.path,
            candidate=None if candidate is None else self._beside(candidate),
            until=data.get("until", "cleanup"),
            rollback_from=tuple(data.get("rollback_from", ())),
            kills=(_kill(data["nemesis"]["kill"]),) if "nemesis" in data else (),
            checkers=None if checkers is None else tuple(checkers),
            trial=trial_of(data["services"], seed) if "services" in data else Trial(),
            expect=Expectation(
                verdict=expect.get("verdict", "valid"), rules=tuple(expect.get("rules", ()))
            ),
            seed=seed,
            slow=data.get("slow", False),
        )

    def _beside(self, path: str) -> Path:
        return (self.path.parent / path).resolve()

    def _fixture(self, data: dict[str, Any], seed: int) -> FixtureSource:
        named = [kind for kind in ("profile", "copied", "inline") if kind in data]
        if len(named) != 1:
            said = f"it has {' and '.join(named)}" if named else "it has none"
            raise self.wrong(
                ("fixture",), f"`fixture` needs exactly one of profile, copied and inline; {said}"
            )
        belongs = {"profile": ("scale", "hazards"), "inline": ("log", "config")}
        for kind, keys in belongs.items():
            for key in keys:
                if key in data and kind not in data:
                    raise self.wrong(
                        ("fixture",), f"`{key}` goes with `{kind}`, not `{named[0]}`", key=key
                    )
        inline = data.get("inline")
        copied = data.get("copied")
        return FixtureSource(
            profile=data.get("profile"),
            seed=data.get("seed", seed),
            scale=float(data.get("scale", 1.0)),
            hazards=tuple(data.get("hazards", ())),
            copied=None if copied is None else self._beside(copied),
            inline=None
            if inline is None
            else {name: None if sql is None else tuple(sql) for name, sql in inline.items()},
            log=self._log(data.get("log")),
            config=data.get("config", "none"),
        )

    def _log(self, log: str | dict[str, str] | None) -> bytes | None:
        if log is None or isinstance(log, str):
            return None if log is None else log.encode()
        try:
            return base64.b64decode(log["base64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise self.wrong(("fixture", "log"), f"`base64` is not base64: {error}") from error

    def _check(self) -> None:
        if not isinstance(self.data, dict):
            raise self.wrong((), "a scenario is a mapping of keys; docs/scenarios.md lists them")
        try:
            for where, key in _duplicates(self.node, ()):
                raise self.wrong(where, f"the key {key!r} stands twice", key=key)
        except RecursionError as error:
            raise self.wrong((), "it contains itself, by an alias") from error
        errors = sorted(
            _validator().iter_errors(self.data), key=lambda error: list(map(str, error.path))
        )
        if errors:
            raise self._explained(errors[0])

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


def _kill(data: dict[str, Any]) -> Kill:
    at = data.get("at", "all")
    return Kill(
        during=data["during"],
        at=() if at == "all" else tuple(at),
        when=tuple(data.get("when", ("before", "after"))),
        from_phase=data.get("from", "cleanup"),
    )


def trial_of(data: dict[str, Any], seed: int = 1) -> Trial:
    """Return what the key `services` of a scenario or a mutant says.

    ValueError where it does not fit the scenarios' schema.
    """
    schema: Any = _validator().schema
    services = schema["properties"]["services"]
    errors = list(_validator().evolve(schema=services).iter_errors(data))
    if errors:
        place = ".".join(["services", *map(str, errors[0].absolute_path)])
        raise ValueError(f"{place}: {errors[0].message[:_SHOWN_CHARACTERS]}")
    given = {**(data.get("api") or {}), **(data.get("durability") or {})}
    given["operations"] = tuple(given.get("operations", ()))
    checks = [
        name for name in ("contract", "api", "durability") if data.get(name) not in (None, False)
    ]
    return Trial(checks=tuple(checks), only=tuple(data.get("only", ())), seed=seed, **given)


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
