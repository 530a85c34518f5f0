"""How services are declared in a manifest: what starts each, and what it takes the place of.

The candidate's manifest and that of the legacy stand-ins have the same key `services`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from harness.errors import BadInputError
from harness.suggest import unknown_key
from harness.yaml_file import plain_yaml

__all__ = ["Live", "Service", "read_live", "read_services", "stand_ins"]

_KEYS = ("command", "health", "openapi", "replaces", "environment")
_PORT = "{port}"
_LIVE_KEYS = ("gate", "others", "environment")
_OTHER_KEYS = ("add", "needs")
# Where Debian puts what serves; only root's PATH has these.
_BESIDE_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_GATE_PLACES = ("{service}", "{port}", "{control}", "{legacy}", "{unified}", "{tree}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service as it is declared: a command that serves HTTP on the port it is given.

    `command` has `python` replaced already, and `{port}` stands in it. `health` and `openapi` are
    paths. `replaces` names the legacy service whose requests it must answer alike, if any.
    `directory` is where it runs; `environment` is added to the process's own.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    health: str = "/health"
    openapi: str = "/openapi.json"
    replaces: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    pythonpath: tuple[Path, ...] = ()

    def on(self, port: int) -> list[str]:
        """Return the command with the port in it."""
        return [word.replace(_PORT, str(port)) for word in self.command]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How a candidate migrates while its services are used.

    `gate` is the command of the proxy that stands in front of one service; in it stand `{service}`,
    `{port}`, `{control}`, `{legacy}` and `{unified}` (base URLs) and `{tree}`. It `needs` programs.
    `environment` is given to the unified services while the legacy ones still run beside them.
    `others` are the same with another gate, by its name.
    """

    gate: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    pythonpath: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    others: Mapping[str, Live] = field(default_factory=dict)

    @property
    def lack(self) -> str | None:
        """What this machine lacks for the gate, in words; None where it has all."""
        places = os.pathsep.join([os.environ.get("PATH", os.defpath), *_BESIDE_PATH])
        for program in self.needs:
            if shutil.which(program, path=places) is None:
                return f"the program {program} is not installed"
        return None

    def in_front_of(self, service: str, **places: str) -> Service:
        """Return the proxy in front of `service`; its port is still to be chosen."""
        words = list(self.gate)
        for name, text in {"service": service, **places}.items():
            words = [word.replace(f"{{{name}}}", text) for word in words]
        return Service(
            name=f"gate-{service}",
            command=tuple(words),
            directory=self.directory,
            pythonpath=self.pythonpath,
        )


def read_live(
    given: Any,
    *,
    wrong: Callable[[str, str], BadInputError],
    directory: Path,
    pythonpath: tuple[Path, ...] = (),
) -> Live | None:
    """Return what a manifest's key `live` declares, None where it has none."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise wrong("live", "must be a mapping with the key `gate`")
    for key in given:
        if key not in _LIVE_KEYS:
            raise wrong("live", f"has an {unknown_key(key, _LIVE_KEYS)}")
    gate = given.get("gate")
    if not _are_words(gate):
        raise wrong("live.gate", "must be a list of words, the program first")
    for place in _GATE_PLACES:
        if place not in gate:
            raise wrong("live.gate", f"must have the word {place}")
    environment = given.get("environment") or {}
    if not isinstance(environment, dict):
        raise wrong("live.environment", "must be a mapping of names to texts")
    live = Live(
        gate=tuple(sys.executable if word == "python" else word for word in gate),
        directory=directory,
        environment={str(key): str(text) for key, text in environment.items()},
        pythonpath=pythonpath,
    )
    others = given.get("others") or {}
    if not isinstance(others, dict):
        raise wrong("live.others", "must be a mapping of names to gates")
    read = {str(name): _other(str(name), said, live, wrong=wrong) for name, said in others.items()}
    return replace(live, others=read)


def _other(name: str, said: Any, live: Live, *, wrong: Callable[[str, str], BadInputError]) -> Live:
    """Return `live` with another gate: the words of its own, and those that are added."""
    place = f"live.others.{name}"
    if not isinstance(said, dict):
        raise wrong(place, "must be a mapping with the key `add`")
    for key in said:
        if key not in _OTHER_KEYS:
            raise wrong(place, f"has an {unknown_key(key, _OTHER_KEYS)}")
    for key in _OTHER_KEYS:
        if not _are_words(said.get(key, [])):
            raise wrong(f"{place}.{key}", "must be a list of words")
    return replace(
        live, gate=(*live.gate, *said.get("add", ())), needs=tuple(said.get("needs", ()))
    )


def _are_words(given: Any) -> TypeGuard[list[str]]:
    return isinstance(given, list) and all(isinstance(word, str) for word in given)


def read_services(
    given: Any,
    *,
    wrong: Callable[[str, str], BadInputError],
    directory: Path,
    pythonpath: tuple[Path, ...] = (),
) -> tuple[Service, ...]:
    """Return what a manifest's key `services` declares, in its order.

    `wrong` makes the error from the name of a key and what is the matter with it.
    """
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise wrong("services", "must be a mapping of names to commands")
    return tuple(
        _service(str(name), said, wrong=wrong, directory=directory, pythonpath=pythonpath)
        for name, said in given.items()
    )


def _service(
    name: str,
    said: Any,
    *,
    wrong: Callable[[str, str], BadInputError],
    directory: Path,
    pythonpath: tuple[Path, ...],
) -> Service:
    place = f"services.{name}"
    if not isinstance(said, dict):
        raise wrong(place, "must be a mapping with the key `command`")
    for key in said:
        if key not in _KEYS:
            raise wrong(place, f"has an {unknown_key(key, _KEYS)}")
    command = said.get("command")
    if not _are_words(command):
        raise wrong(place, "needs a `command`: a list of words, the program first")
    if not any(_PORT in word for word in command):
        raise wrong(place, f"has a command without {_PORT}: it must listen where it is told")
    texts = {key: said[key] for key in ("health", "openapi", "replaces") if key in said}
    for key, text in texts.items():
        if not isinstance(text, str) or (key != "replaces" and not text.startswith("/")):
            raise wrong(f"{place}.{key}", f"is {text!r}; it must be a text, a path where it is one")
    environment = said.get("environment") or {}
    if not isinstance(environment, dict):
        raise wrong(f"{place}.environment", "must be a mapping of names to texts")
    return Service(
        name=name,
        command=tuple(sys.executable if word == "python" else word for word in command),
        directory=directory,
        environment={str(key): str(text) for key, text in environment.items()},
        pythonpath=pythonpath,
        **texts,
    )


def stand_ins(folder: Path) -> tuple[Service, ...]:
    """Return the legacy stand-ins that `services.yaml` in `folder` declares.

    They run as modules of the package that `folder` is, with the checkout in PYTHONPATH.
    """
    path = folder / "services.yaml"
    try:
        data = plain_yaml(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadInputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return read_services(
        data.get("services") if isinstance(data, dict) else data,
        wrong=lambda key, text: BadInputError(f"{path}: `{key}` {text}"),
        directory=folder,
        pythonpath=(folder.parent.parent,),
    )
