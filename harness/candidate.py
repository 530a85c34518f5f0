"""Drives a candidate by its contract (docs/candidate.md): one process a command, or a session.

What a candidate does wrong in speaking the contract is a finding of a rule `candidate/…` in the
outcome, never a traceback. Only what its manifest gets wrong is a BadInputError.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.candidate_image import Image, read_image
from harness.candidate_process import LineProcess
from harness.candidate_services import Live, Service, read_live, read_services
from harness.candidate_speech import PHASES, Driver, Event, Lockstep, Outcome, Session, request
from harness.errors import BadInputError
from harness.model import COMMAND_S
from harness.suggest import did_you_mean, unknown_key
from harness.yaml_file import plain_yaml

__all__ = [
    "DEFAULT_MANIFEST",
    "PHASES",
    "Candidate",
    "Driver",
    "Event",
    "Lockstep",
    "Outcome",
    "Session",
]

DEFAULT_MANIFEST = Path(__file__).resolve().parent.parent / "devflow" / "candidate.yaml"
"""The manifest that is used where none is named."""

FIXED_EPOCH_S = 1_758_153_600
"""The time that a candidate is told by SOURCE_DATE_EPOCH: 2025-09-18, so that runs are equal."""

# A zone that nobody lives in: a candidate that takes local time for UTC shifts by it everywhere.
_TIME_ZONE = "GATE-05:45"

_KEYS = (
    "contract", "name", "kind", "command", "script", "mapping", "environment", "serve",
    "backups", "pythonpath", "state", "services", "image", "live",
)  # fmt: skip
_DERIVED = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")
_FILES_MAX = 10_000
_BACKUPS = ("before", "during", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A migration under test, as its manifest declares it; itself a driver, one process a command.

    Paths are absolute. `command` has `python` replaced already. `timeout_s` bounds each command.
    `services` are those of the unified system, each as a process of its own; `image` is what
    they run from in a container, and `live` is there where it can migrate while they are used.
    """

    name: str
    manifest: Path
    kind: str
    mapping: Path
    command: tuple[str, ...] = ()
    script: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    pythonpath: tuple[Path, ...] = ()
    serves: bool = False
    backups: Mapping[str, str] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    image: Image | None = None
    live: Live | None = None
    timeout_s: float = COMMAND_S

    @classmethod
    def load(cls, manifest: Path = DEFAULT_MANIFEST) -> Candidate:
        """Read a manifest; BadInputError with file and key where it cannot be used."""
        return _load(manifest)

    @property
    def digest(self) -> str:
        """SHA-256 over every file that lies beside the manifest or below, by name and content."""
        return _digest(self.manifest.parent)

    def plan(self, tree: Path) -> Outcome:
        """Ask for the steps that `apply` would run."""
        return self._run("plan", tree)

    def apply(self, tree: Path, *, until: str = "cleanup") -> Outcome:
        """Run the migration up to and with the phase `until`."""
        return self._run("apply", tree, until=until)

    def status(self, tree: Path) -> Outcome:
        """Ask for the last phase done."""
        return self._run("status", tree)

    def rollback(self, tree: Path) -> Outcome:
        """Restore what was before the first phase."""
        return self._run("rollback", tree)

    def go_live(
        self,
        op: str,
        tree: Path,
        *,
        gates: Mapping[str, int],
        until: str = "cleanup",
        keep_writes: bool = False,
        lockstep: bool = False,
    ) -> Lockstep:
        """Start a command behind gates, by the control port of each service's.

        With `lockstep` it waits at every start and end of a step.
        """
        line = request(tree, until=until, gates=gates, keep_writes=keep_writes, lockstep=lockstep)
        return Lockstep(self._start(op), op, line, timeout_s=self.timeout_s, walking=lockstep)

    def behind(self, gate: str | None) -> Live:
        """Return how it migrates behind the gate of this name, its own where it is None.

        BadInputError where it declares none.
        """
        if self.live is None:
            raise BadInputError(f"{self.manifest} has no key `live`; see docs/candidate.md")
        if gate is None:
            return self.live
        if gate not in self.live.others:
            raise BadInputError(
                f"{self.manifest} has no gate {gate!r} in `live.others`"
                f"{did_you_mean(gate, self.live.others)}"
            )
        return self.live.others[gate]

    @contextlib.contextmanager
    def session(self) -> Iterator[Driver]:
        """Yield the quickest driver: a process kept alive where the candidate serves."""
        if self.kind == "sql":
            from harness.candidate_sql import SqlDriver  # noqa: PLC0415 - most runs need no SQL

            assert self.script is not None  # noqa: S101 - `load` saw to it
            yield SqlDriver(self.script, timeout_s=self.timeout_s)
        elif self.serves:
            with contextlib.closing(
                Session(lambda: self._start("serve"), timeout_s=self.timeout_s)
            ) as session:
                yield session
        else:
            yield self

    def lockstep(self, op: str, tree: Path, *, until: str = "cleanup") -> Lockstep:
        """Start `op` (`apply` or `rollback`) so that it waits at every start and end of a step."""
        line = request(tree, until=until, lockstep=True)
        return Lockstep(self._start(op), op, line, timeout_s=self.timeout_s)

    def _run(self, op: str, tree: Path, *, until: str = "cleanup") -> Outcome:
        if self.kind == "sql":
            with self.session() as driver:
                return _ask(driver, op, tree, until=until)
        line = request(tree, until=until)
        process = self._start(op)
        with Lockstep(process, op, line, timeout_s=self.timeout_s, walking=False) as run:
            return run.finish()

    def _start(self, op: str) -> LineProcess:
        directory = self.pythonpath[0] if self.pythonpath else self.manifest.parent
        return LineProcess(
            [*self.command, op], environment=self._environment(), directory=directory
        )

    @property
    def told(self) -> dict[str, str]:
        """The variables that it is told beside its manifest's, wherever it runs."""
        return {"SOURCE_DATE_EPOCH": str(FIXED_EPOCH_S), "TZ": _TIME_ZONE, **self.environment}

    def _environment(self) -> dict[str, str]:
        made = {**os.environ, **self.told}
        if self.pythonpath:
            inherited = [made["PYTHONPATH"]] if made.get("PYTHONPATH") else []
            made["PYTHONPATH"] = os.pathsep.join([*map(str, self.pythonpath), *inherited])
        return made


def _digest(directory: Path) -> str:
    digest = hashlib.sha256()
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    if len(files) > _FILES_MAX:
        raise BadInputError(
            f"{directory} holds more than {_FILES_MAX} files; give the candidate's manifest a"
            " directory of its own, for all that lies beside it is taken for the candidate"
        )
    for path in files:
        name = path.relative_to(directory).as_posix()
        if not any(part in _DERIVED for part in name.split("/")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content}  {name}\n".encode())
    return digest.hexdigest()


def _ask(driver: Driver, op: str, tree: Path, *, until: str) -> Outcome:
    if op == "apply":
        return driver.apply(tree, until=until)
    outcome: Outcome = getattr(driver, op)(tree)
    return outcome


def _load(manifest: Path) -> Candidate:
    manifest = manifest.resolve()
    said = _Manifest(manifest)
    kind = said.text("kind", default="command")
    if kind not in ("command", "sql"):
        raise said.wrong("kind", f"is {kind!r}; it must be 'command' or 'sql'")
    if said.data.get("contract") != 1:
        raise said.wrong("contract", "must be 1")
    mapping = said.file("mapping")
    script = said.file("script") if kind == "sql" else None
    command = said.words("command")
    pythonpath = tuple((manifest.parent / path).resolve() for path in said.words("pythonpath"))
    if kind == "command" and not command:
        raise said.wrong("command", "must be a list of words, the program first")
    return Candidate(
        name=said.text("name", default=manifest.parent.name),
        manifest=manifest,
        kind=kind,
        mapping=mapping,
        command=tuple(sys.executable if word == "python" else word for word in command),
        script=script,
        environment=said.texts("environment"),
        pythonpath=pythonpath,
        serves=bool(said.data.get("serve", False)),
        backups=said.texts("backups", known=_BACKUPS),
        state=tuple(said.words("state")),
        services=read_services(
            said.data.get("services"),
            wrong=said.wrong,
            directory=manifest.parent,
            pythonpath=pythonpath,
        ),
        image=read_image(said.data.get("image"), wrong=said.wrong, manifest=manifest),
        live=read_live(
            said.data.get("live"),
            wrong=said.wrong,
            directory=manifest.parent,
            pythonpath=pythonpath,
        ),
    )


class _Manifest:
    """The manifest's values, each taken with its type."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            data = plain_yaml(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInputError(
                f"the candidate's manifest {path} cannot be read ({error.strerror});"
                " name another with --candidate"
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            said = " ".join(str(error).split())
            raise BadInputError(f"{path} is not YAML: {said}") from error
        if not isinstance(data, dict):
            raise BadInputError(f"{path} must hold a mapping of keys; see docs/candidate.md")
        for key in data:
            if key not in _KEYS:
                raise BadInputError(f"{path}: {unknown_key(key, _KEYS)}")
        self.data: dict[str, Any] = data

    def wrong(self, key: str, text: str) -> BadInputError:
        return BadInputError(f"{self.path}: `{key}` {text}")

    def text(self, key: str, *, default: str) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "must be a text")
        return value

    def words(self, key: str) -> list[str]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.wrong(key, "must be a list of texts")
        return value

    def texts(self, key: str, *, known: tuple[str, ...] = ()) -> dict[str, str]:
        value = self.data.get(key) or {}
        if not isinstance(value, dict):
            raise self.wrong(key, "must be a mapping of names to texts")
        for name in value:
            if known and name not in known:
                raise self.wrong(key, f"has an {unknown_key(name, known)}")
        return {str(name): str(text) for name, text in value.items()}

    def file(self, key: str) -> Path:
        if key not in self.data:
            raise self.wrong(key, "is missing; it names a file beside the manifest")
        path = (self.path.parent / self.text(key, default="")).resolve()
        if not path.is_file():
            raise self.wrong(key, f"names {path}, which is not there")
        return path
