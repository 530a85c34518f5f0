"""What a mutant is: edits of the candidate's text, read from YAML and planted into a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from harness.errors import BadInputError
from harness.scenario import LiveLoad, Trial, live_of, trial_of
from harness.suggest import unknown_key
from harness.yaml_file import plain_yaml

__all__ = ["DEFINITIONS", "Edit", "Mutant", "load_mutants", "plant"]

DEFINITIONS = Path(__file__).resolve().parent.parent / "tests" / "mutants"
"""Where the mutants' definitions lie, several in a YAML file."""

_T = TypeVar("_T")
_EDIT_KEYS = ("file", "find", "replace")
_KEYS = (
    "name", "breaks", *_EDIT_KEYS, "also", "fixture", "rollback_from", "kill", "services",
    "live",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of one file of the candidate; `find` stands exactly once in `file`."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One way to break the candidate: edits of files relative to the folder of its manifest.

    `fixture` names a recipe file in the definitions' folder. `rollback_from` are phases to roll
    back from and `kill` are crash points (`phase/step`), where it is only seen there. `trial` is
    how the services are tried, where it is one of them that is broken, and `live` is the load
    under which it migrates there and back, where it is only seen then.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    defined_in: Path
    fixture: str = "default"
    rollback_from: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    trial: Trial | None = None
    live: LiveLoad | None = None

    @property
    def story(self) -> tuple[object, ...]:
        """What is played with it, whatever is broken: mutants of one story share a control."""
        return self.fixture, self.rollback_from, self.kill, self.trial, self.live


def load_mutants(directory: Path = DEFINITIONS) -> tuple[Mutant, ...]:
    """Read every definition in `directory`; BadInputError names file and mutant."""
    files = sorted(path for path in directory.glob("*.yaml") if not path.stem.startswith("fixture"))
    mutants = [mutant for path in files for mutant in _load(path)]
    if not mutants:
        raise BadInputError(f"{directory} holds no mutants: name a folder with definitions")
    seen: dict[str, Path] = {}
    for mutant in mutants:
        if mutant.name in seen:
            raise BadInputError(
                f"{mutant.defined_in}: the mutant `{mutant.name}` is defined in"
                f" {seen[mutant.name]} too; give it another name"
            )
        seen[mutant.name] = mutant.defined_in
    return tuple(mutants)


def _load(path: Path) -> Iterable[Mutant]:
    try:
        document = plain_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, list):
        raise BadInputError(f"{path} must be a list of mutants")
    for number, given in enumerate(document, start=1):
        yield _mutant(given, path, number)


def _mutant(given: Any, path: Path, number: int) -> Mutant:
    if not isinstance(given, dict):
        raise BadInputError(f"{path}: mutant {number} must be a mapping of keys")
    where = f"{path}: mutant `{given.get('name', number)}`"
    for key in given:
        if key not in _KEYS:
            raise BadInputError(f"{where}: {unknown_key(key, _KEYS)}")
    also = given.get("also", [])
    edits = [{key: given.get(key) for key in _EDIT_KEYS}, *also]
    lists = {
        key: tuple(str(item) for item in given.get(key, ())) for key in ("rollback_from", "kill")
    }
    return Mutant(
        name=_text(given, "name", where),
        breaks=_text(given, "breaks", where),
        edits=tuple(_edit(edit, where) for edit in edits),
        defined_in=path,
        fixture=str(given.get("fixture", "default")),
        trial=_read(trial_of, given["services"], where) if "services" in given else None,
        live=_read(live_of, given["live"], where) if "live" in given else None,
        **lists,
    )


def _read(read: Callable[[Any], _T], given: Any, where: str) -> _T:
    try:
        return read(given)
    except ValueError as error:
        raise BadInputError(f"{where}: {error}") from error


def _edit(given: Any, where: str) -> Edit:
    if not isinstance(given, dict) or set(given) - set(_EDIT_KEYS):
        raise BadInputError(f"{where}: each edit has the keys {', '.join(_EDIT_KEYS)} only")
    texts = {key: _text(given, key, where) for key in _EDIT_KEYS}
    if texts["find"] == texts["replace"]:
        raise BadInputError(f"{where} is no mutant: `find` and `replace` are the same")
    return Edit(**texts)


def _text(given: dict[str, Any], key: str, where: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or (not value and key != "replace"):
        raise BadInputError(f"{where} needs the text `{key}`")
    return value


def plant(mutant: Mutant, package: Path, out: Path) -> Path:
    """Copy the candidate's folder `package` into `out`, patched, and return its manifest.

    BadInputError where the definition is stale (its text is not there exactly once) or what it
    makes is no program.
    """
    copy = out / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("*.partial"))
    for edit in mutant.edits:
        _patch(copy / edit.file, edit, f"{mutant.defined_in}: mutant `{mutant.name}`")
    manifest = copy / "candidate.yaml"
    document = plain_yaml(manifest.read_text(encoding="utf-8"))
    document["pythonpath"] = [".."]
    manifest.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return manifest


def _patch(path: Path, edit: Edit, where: str) -> None:
    if not path.is_file():
        raise BadInputError(f"{where} is stale: the candidate has no file {edit.file}")
    text = path.read_text(encoding="utf-8")
    count = text.count(edit.find)
    if count != 1:
        shown = " ".join(edit.find.split())[:60]
        raise BadInputError(
            f"{where} is stale: `{shown}` stands {count} times in {edit.file}, not once;"
            " follow the candidate's text"
        )
    patched = text.replace(edit.find, edit.replace)
    if path.suffix == ".py":
        try:
            compile(patched, edit.file, "exec")
        except SyntaxError as error:
            raise BadInputError(f"{where} is no program: {error}") from error
    path.write_text(patched, encoding="utf-8")
