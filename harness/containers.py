"""Runs the services from the candidate's image, in containers, as `services` does as processes.

The containers are of testcontainers; the engine is one of this machine, for folders of it are
mounted, and ports are published on its loopback address. A container that was stopped or killed
is removed, and another one takes its place, so that only what was mounted stays.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.exceptions import ContainerStartException

from harness.candidate_image import Image
from harness.candidate_services import Service
from harness.errors import EnvironmentFaultError
from harness.services import Live, ServiceError

__all__ = ["Contained", "Container", "NoContainersError", "contained", "made", "taken_over"]

_HOST: Final = "127.0.0.1"
_ENGINE_S: Final = 10
_MAKE_S: Final = 600.0
_STOP_S: Final = 30
_START_S: Final = 120.0
# What compose.yaml says of the container, too.
_CONFINED: Final[Mapping[str, Any]] = {
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}
_TROUBLE: Final = (DockerException, requests.RequestException)

# It would be one more image, to remove what is removed here in any case.
testcontainers_config.ryuk_disabled = True


class NoContainersError(Exception):
    """No container can be run here; the text says why."""


def made(image: Image) -> str:
    """Make the image, and return its name; NoContainersError without an engine or an image."""
    try:
        with contextlib.closing(docker.from_env(timeout=_ENGINE_S)) as engine:
            engine.ping()
    except _TROUBLE as error:
        where = os.environ.get("DOCKER_HOST", "its usual socket")
        raise NoContainersError(f"no container engine answers at {where}") from error
    try:
        done = subprocess.run(
            image.make,
            cwd=image.manifest.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_MAKE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoContainersError(f"the image cannot be made: {_brief(error)}") from error
    name = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not name:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise NoContainersError(f"the image cannot be made: {said[0]}")
    return name[0]


def taken_over(tree: Path, name: str) -> str:
    """Give the files in `tree` to the image's user, and return the user to run a container as.

    Where that is not allowed, a container of the image has to run as who runs this.
    """
    with contextlib.closing(docker.from_env(timeout=_ENGINE_S)) as engine:
        said = str(engine.images.get(name).attrs["Config"].get("User") or "0:0")
    user, _, group = said.partition(":")
    if os.geteuid() != 0 or not user.isdigit():
        return f"{os.geteuid()}:{os.getegid()}"
    for path in (tree, *tree.rglob("*")):
        os.chown(path, int(user), int(group or user), follow_symlinks=False)
    return said


class Container:
    """One container of an image: `command` on `mounts` (what to where), with `ports` published.

    `ports` are those in the container, to those of this machine. What it prints is appended to
    `log` when it ends. `started` counts how often one was started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        user: str,
        mounts: Mapping[Path, str],
        environment: Mapping[str, str],
        log: Path,
        ports: Mapping[int, int] | None = None,
    ) -> None:
        """Keep what it is made of; nothing is started yet."""
        self.log = log
        self.started = 0
        self._made = (name, list(command), user, dict(mounts), dict(environment))
        self._ports = ports or {}
        self._container: DockerContainer | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        try:
            wrapped.reload()
        except _TROUBLE:
            return False
        return bool(wrapped.status == "running")

    def launch(self) -> None:
        """Start a new one without waiting for it; ServiceError where the engine refuses."""
        self._remove()
        name, command, user, mounts, environment = self._made
        made = DockerContainer(name, command=command, env=environment)  # type: ignore[arg-type]  # a list will do
        for source, target in mounts.items():
            made.with_volume_mapping(source, target, "rw")
        ports: dict[str, Any] = made.ports  # which may have an address, too
        ports.update({f"{inside}/tcp": (_HOST, port) for inside, port in self._ports.items()})
        made.with_tmpfs_mount("/tmp").with_kwargs(user=user, **_CONFINED)  # noqa: S108 - in there
        try:
            self._container = made
            made.start()
        except _TROUBLE as error:
            self._remove()
            raise ServiceError(f"the engine starts no container: {_brief(error)}") from error
        self.started += 1

    def end(self, *, ask: bool) -> int | None:
        """Stop it, or kill it with SIGKILL; return its exit code, None where it did not run."""
        if self._container is None:
            return None
        wrapped = self._container.get_wrapped_container()
        try:
            if ask:
                wrapped.stop(timeout=_STOP_S)
            else:
                with contextlib.suppress(APIError):  # it may have ended by itself
                    wrapped.kill(signal="SIGKILL")
            code = int(wrapped.wait(timeout=_STOP_S)["StatusCode"])
        except NotFound:
            code = None
        except _TROUBLE as error:
            raise EnvironmentFaultError(
                f"the engine does not end a container ({_brief(error)}); end it by hand"
            ) from error
        self._remove()
        return code

    def run(self, *, timeout_s: float) -> int:
        """Start it, wait for its end and return its exit code; what it said is in `log`."""
        self.launch()
        assert self._container is not None  # noqa: S101 - it was launched
        try:
            answer = self._container.get_wrapped_container().wait(timeout=timeout_s)
            return int(answer["StatusCode"])
        except _TROUBLE as error:
            text = f"a container did not end within {timeout_s:g} s: {_brief(error)}"
            raise ServiceError(text) from error
        finally:
            self._remove()

    def keep_log(self) -> None:
        """Append what it printed to its file."""
        if self._container is None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.suppress(*_TROUBLE),
            self.log.open("ab") as log,
        ):  # gone, and its log with it
            log.write(self._container.get_wrapped_container().logs())

    def _remove(self) -> None:
        if self._container is None:
            return
        try:
            with contextlib.suppress(ContainerStartException):  # one that never started has no log
                self.keep_log()
        finally:
            with contextlib.suppress(*_TROUBLE):  # it is gone already, or the engine is
                self._container.stop()
            self._container = None


class Contained(Live):
    """One of the services of a container. They start and end together."""

    def __init__(self, service: Service, *, log: Path) -> None:
        """Choose a port; `container` has to be set before anything is started."""
        super().__init__(service, log=log)
        self.container: Container

    @property
    def alive(self) -> bool:
        """Whether its container runs."""
        return self.container.alive

    def launch(self) -> None:
        """Start the container, where it does not run."""
        if not self.alive:
            self.container.launch()

    def stop(self) -> int | None:
        """Stop the container, and remove it."""
        return self.container.end(ask=True)

    def kill(self) -> int | None:
        """Kill the container, and remove it."""
        return self.container.end(ask=False)

    def _tail(self) -> str:
        self.container.keep_log()
        return super()._tail()


@contextlib.contextmanager
def contained(
    image: Image,
    name: str,
    services: Iterable[Service],
    *,
    tree: Path,
    environment: Mapping[str, str],
    log: Path,
) -> Iterator[dict[str, Contained]]:
    """Serve `tree` from one container, and yield its services by name, healthy.

    One service is served alone; of several, all that the image has are. ServiceError where one
    does not come up. The container is removed at the end.
    """
    found = {service.name: Contained(service, log=log) for service in services}
    alone = next(iter(found)) if len(found) == 1 else None
    told = {k: v for one in found.values() for k, v in one.service.environment.items()}
    container = Container(
        name,
        image.serving(alone),
        user=taken_over(tree, name),
        mounts={tree: image.tree},
        environment={**told, **environment},
        log=log,
        ports={image.ports[served]: one.port for served, one in found.items()},
    )
    for one in found.values():
        one.container = container
    try:
        container.launch()
        deadline = time.monotonic() + _START_S
        for one in found.values():
            one.wait(until=deadline)
        yield found
    finally:
        container.end(ask=False)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
