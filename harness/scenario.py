"""What a scenario is, and how its YAML file is read: every mistake named with file and line."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema

from harness.errors import BadInputError
from harness.suggest import did_you_mean
from harness.yaml_file import YamlFile

__all__ = [
    "Expectation",
    "Fault",
    "FixtureSource",
    "Kill",
    "LiveLoad",
    "Scenario",
    "Trial",
    "find_scenario",
    "live_of",
    "scenario_files",
    "scenarios_folder",
    "trial_of",
]

_SHOWN_CHARACTERS = 60
_LASTS_S = {"kill": 0.0, "stop": 1.5, "lock": 1.0, "fill": 1.0, "set-clock": 1.0}
"""Each harm, and how long it lasts where a fault does not say so."""
_TRIED = ("contract", "api", "durability", "containers")


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

    `checks` are those of `contract`, `api`, `durability` and `containers` that are made, on the
    services `only`, or on all where it names none. `api` draws `examples` for each operation and
    phase, until there were `requests` to the service; `thorough` takes their place in the full
    profile, and `requests_max` bounds them; `operations` are the only ones that are asked, by their
    ids, where it names some. `writes` by `clients` at a time are what `durability` has
    acknowledged, while it kills the service `kills` times; in the full profile they are
    `writes_thorough`. `containers` does both.
    """

    checks: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    examples: int = 3
    requests: int = 1
    thorough: int = 3_000
    requests_max: int = 5_000
    operations: tuple[str, ...] = ()
    writes: int = 1_000
    writes_thorough: int = 1_000
    clients: int = 4
    kills: int = 3
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Harm done to what runs live: `harm` is `kill`, `stop`, `lock`, `fill` or `set-clock`.

    It is done to `target`: the migration's command, the gates, the legacy services or the unified
    ones; a database, where it is locked; the tree, where its disk is filled; also the machine, all
    of the former, where the clock is set. It is done `at` steps, each named by itself or by its
    phase: `before` it or in its midst (`mid`), a migration is killed `after` it too; `times` in
    each of them. It lasts for `seconds`. A clock is set ahead `by_seconds`, back where negative.
    """

    harm: str
    target: str
    at: tuple[str, ...] = ()
    when: tuple[str, ...] = ("mid",)
    times: int = 1
    seconds: float = 0.0
    by_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLoad:
    """The load under which a scenario migrates live, there and back `rounds` times.

    `connections` clients send `rate` requests a second in all, as fast as they are answered where
    it is None; before and after each phase they go on for `seconds`. Meanwhile there are `faults`.
    `straight`: others write past the gates, straight to the databases.
    `gate` names one of the candidate's other gates.
    """

    rate: float | None = 200.0
    connections: int = 16
    seconds: float = 1.0
    rounds: int = 1
    stays: bool = False
    faults: tuple[Fault, ...] = ()
    straight: bool = False
    gate: str | None = None


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
    live: LiveLoad | None = None
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


class _Reader(YamlFile):
    """One scenario file while it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, what="scenario", way_out="give a file or a name")

    def scenario(self) -> Scenario:
        data = self.checked(_validator(), manual="docs/scenarios.md")
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
            live=self._live(data["live"]) if "live" in data else None,
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

    def _live(self, data: dict[str, Any]) -> LiveLoad:
        try:
            return _live_of(data)
        except _MisfitError as misfit:
            raise self.wrong(misfit.where, str(misfit), key=misfit.key) from misfit

    def _log(self, log: str | dict[str, str] | None) -> bytes | None:
        if log is None or isinstance(log, str):
            return None if log is None else log.encode()
        try:
            return base64.b64decode(log["base64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise self.wrong(("fixture", "log"), f"`base64` is not base64: {error}") from error


def _kill(data: dict[str, Any]) -> Kill:
    at = data.get("at", "all")
    return Kill(
        during=data["during"],
        at=() if at == "all" else tuple(at),
        when=tuple(data.get("when", ("before", "after"))),
        from_phase=data.get("from", "cleanup"),
    )


def _fits(key: str, data: Any) -> None:
    """Raise ValueError where what a scenario or a mutant says under `key` does not fit."""
    schema: Any = _validator().schema
    errors = list(_validator().evolve(schema=schema["properties"][key]).iter_errors(data))
    if errors:
        place = ".".join([key, *map(str, errors[0].absolute_path)])
        raise ValueError(f"{place}: {errors[0].message[:_SHOWN_CHARACTERS]}")


class _MisfitError(ValueError):
    """What stands `where` does not fit; `key` is the one that is wrong there, None all of it."""

    def __init__(self, where: tuple[str | int, ...], text: str, key: str | None = None) -> None:
        super().__init__(text)
        self.where, self.key = where, key


def live_of(data: dict[str, Any]) -> LiveLoad:
    """Return what the key `live` of a mutant says; ValueError where it does not fit."""
    _fits("live", data)
    try:
        return _live_of(data)
    except _MisfitError as misfit:
        raise ValueError(f"{'.'.join(map(str, misfit.where))}: {misfit}") from misfit


def _live_of(data: dict[str, Any]) -> LiveLoad:
    faults = [_fault(number, given) for number, given in enumerate(data.get("faults", ()))]
    return LiveLoad(**{**data, "faults": tuple(faults)})


def _fault(number: int, data: dict[str, Any]) -> Fault:
    where = ("live", "faults", number)
    harms = [harm for harm in _LASTS_S if harm in data]
    if len(harms) != 1:
        raise _MisfitError(where, f"a fault is exactly one of {', '.join(_LASTS_S)}")
    harm = harms[0]
    target = str(data[harm])
    if "after" in data.get("when", ()) and (harm, target) != ("kill", "migration"):
        raise _MisfitError(where, "only a migration can be killed `after` a step", "when")
    if ("by_seconds" in data) != (harm == "set-clock") or data.get("by_seconds") == 0:
        said = "`set-clock`, and no other harm, needs `by_seconds`: ahead, or below 0 back"
        raise _MisfitError(where, said, "by_seconds" if "by_seconds" in data else None)
    return Fault(
        harm=harm,
        target=target,
        at=tuple(data.get("at", ())),
        when=tuple(data.get("when", ("mid",))),
        times=data.get("times", 1),
        seconds=float(data.get("seconds", _LASTS_S[harm])),
        by_seconds=float(data.get("by_seconds", 0.0)),
    )


def trial_of(data: dict[str, Any], seed: int = 1) -> Trial:
    """Return what the key `services` of a scenario or a mutant says.

    ValueError where it does not fit the scenarios' schema.
    """
    _fits("services", data)
    given: dict[str, Any] = {}
    for name in ("api", "durability", "containers"):
        given |= data.get(name) or {}
    given["operations"] = tuple(given.get("operations", ()))
    checks = [name for name in _TRIED if data.get(name) not in (None, False)]
    return Trial(checks=tuple(checks), only=tuple(data.get("only", ())), seed=seed, **given)
