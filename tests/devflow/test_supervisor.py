"""The supervisor: real services, ended in every way that there is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from devflow.migration import phases
from devflow.migration.tree import Tree
from devflow.services.errors import ConfigurationError
from devflow.services.settings import Settings
from devflow.supervisor import Patience, claim, pauses
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.services import free_port

_NAMES = ("costs", "routing")
_WAIT_S = 30.0


@pytest.fixture(scope="module")
def migrated(module_path: Path) -> Path:
    build(Recipe(profile="empty", seed=1), module_path / "devflow")
    phases.apply(Tree.at(module_path / "devflow"), "cleanup", lambda _: None)
    return module_path / "devflow" / "devflow.sqlite"


@dataclass
class System:
    """A supervisor that runs, with what it said so far."""

    process: subprocess.Popen[str]
    ports: dict[str, int]
    log: Path

    def said(self, message: str, **more: object) -> list[dict[str, Any]]:
        entries = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                entries.append(json.loads(line))
        wanted = {"message": message, **more}
        return [e for e in entries if wanted.items() <= e.items()]

    def pid(self, name: str) -> int:
        return int(self.said("launched", of=name)[-1]["pid"])

    def answers(self, name: str) -> bool:
        try:
            url = f"http://127.0.0.1:{self.ports[name]}/health"
            return httpx.get(url, timeout=1).status_code == 200
        except httpx.HTTPError:
            return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except OSError:
        return False


def environment(database: Path, ports: dict[str, int]) -> dict[str, str]:
    told = ",".join(f"{name}={port}" for name, port in ports.items())
    return {**os.environ, "DEVFLOW_DB_PATH": str(database), "DEVFLOW_PORTS": told}


@contextmanager
def supervised(migrated: Path, folder: Path) -> Iterator[System]:
    """Two services under a supervisor on a database of their own, all of them well."""
    database = Path(shutil.copyfile(migrated, folder / "devflow.sqlite"))
    ports = {name: free_port() for name in _NAMES}
    only = [part for name in _NAMES for part in ("--only", name)]
    log = folder / "log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "devflow", "serve", *only],
            env=environment(database, ports),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    system = System(process, ports, log)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(len(_NAMES) + 1)]
        assert lines[-1] == f"all are well, on {database}; SIGTERM or Ctrl-C stops them\n"
        yield system
    finally:
        process.kill()
        process.communicate()


def health(*only: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    named = [part for name in only for part in ("--only", name)]
    command = [sys.executable, "-m", "devflow", "health", *named]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_health_is_good_where_all_that_were_named_are_well_and_tells_who_is_not(
    migrated: Path, tmp_path: Path
) -> None:
    with supervised(migrated, tmp_path) as system:
        variables = environment(tmp_path / "devflow.sqlite", system.ports)
        well = health(*_NAMES, variables=variables)
        assert (well.returncode, well.stdout.split()) == (0, ["costs", "ok", "routing", "ok"])
        other = {**system.ports, "knowledge": free_port(), "status": system.ports["costs"]}
        variables = environment(tmp_path / "devflow.sqlite", other)
        ill = health("costs", "knowledge", "status", variables=variables)
        assert ill.returncode == 1
        told = {line.split()[0]: " ".join(line.split()[1:]) for line in ill.stdout.splitlines()}
        assert told == {
            "costs": "ok",
            "knowledge": "down",
            "status": "down: costs answers on its port",
        }


def test_health_of_no_service_and_without_a_database_is_one_sentence(tmp_path: Path) -> None:
    there_is_none = health("nobody", variables={**os.environ})
    assert there_is_none.returncode == 2
    assert there_is_none.stderr.startswith("error: 'nobody' is no service; there are status, ")
    variables = environment(tmp_path / "none.sqlite", {})
    assert "is no file; run" in health(variables=variables).stderr


def test_one_that_is_killed_is_started_again(migrated: Path, tmp_path: Path) -> None:
    with supervised(migrated, tmp_path) as system:
        first = system.pid("costs")
        os.kill(first, signal.SIGKILL)
        until(lambda: system.pid("costs") != first and system.answers("costs"))
        (ended,) = system.said("ended; starting it again", of="costs")
        assert ended["exit_code"] == -signal.SIGKILL
        assert len(system.said("launched", of="routing")) == 1


def test_a_stop_finishes_the_requests_that_are_under_way(migrated: Path, tmp_path: Path) -> None:
    with supervised(migrated, tmp_path) as system:
        body = json.dumps({"name": "slow", "period": "day", "limit_usd": 5}).encode()
        head = (
            "POST /v2/budgets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", system.ports["costs"])) as client:
            client.sendall(head.encode() + body[:10])
            time.sleep(0.3)
            system.process.send_signal(signal.SIGTERM)
            until(lambda: bool(system.said("Shutting down")))
            client.sendall(body[10:])
            answer = client.recv(65_536).decode()
        assert answer.startswith("HTTP/1.1 201")
        assert system.process.wait(_WAIT_S) == 0
        assert not any(alive(system.pid(name)) for name in _NAMES)
        assert not system.said("cut off")


def test_a_second_signal_does_not_wait(migrated: Path, tmp_path: Path) -> None:
    with supervised(migrated, tmp_path) as system:
        os.kill(system.pid("costs"), signal.SIGSTOP)  # it will not end by itself
        system.process.send_signal(signal.SIGTERM)
        until(lambda: bool(system.said("stopped", service="routing")))
        system.process.send_signal(signal.SIGINT)
        assert system.process.wait(_WAIT_S) == 0
        assert system.said("cut off", of="costs")
        assert not alive(system.pid("costs"))


def test_the_services_end_with_a_supervisor_that_is_killed(migrated: Path, tmp_path: Path) -> None:
    with supervised(migrated, tmp_path) as system:
        pids = [system.pid(name) for name in _NAMES]
        system.process.kill()
        until(lambda: not any(alive(pid) for pid in pids))
        assert len(system.said("stopped")) == len(_NAMES)  # in good order, not cut off


def test_one_that_gives_no_answer_is_ended_and_started_again(
    migrated: Path, tmp_path: Path
) -> None:
    database = Path(shutil.copyfile(migrated, tmp_path / "devflow.sqlite"))
    ports = {"costs": free_port()}
    script = (
        "import asyncio\n"
        "from devflow.services.settings import load_settings\n"
        "from devflow.supervisor import Patience, serve\n"
        "patience = Patience(ask_every_s=0.2, answer_s=0.3, unanswered=2, stop_s=0.5)\n"
        "ready = lambda: print('ready', flush=True)\n"
        "asyncio.run(serve(load_settings(), ['costs'], ready=ready, patience=patience))\n"
    )
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment(database, ports),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        system = System(process, ports, log)
        first = system.pid("costs")
        os.kill(first, signal.SIGSTOP)
        until(lambda: system.pid("costs") != first and system.answers("costs"))
        assert system.said("gives no answer; ending it", of="costs", pid=first)
        process.terminate()
        assert process.wait(_WAIT_S) == 0
    finally:
        process.kill()
        process.communicate()


def ran(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devflow", "serve", *arguments],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
    )


def test_a_port_that_is_taken_is_named(migrated: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = ran(DEVFLOW_DB_PATH=str(migrated), DEVFLOW_PORTS=f"costs={port}")
    assert told.returncode == 2
    assert told.stderr.startswith(f"error: costs cannot listen on 127.0.0.1:{port} (")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "more", "text"),
    [
        (("--only", "cost"), {}, "'cost' is no service; there are status, "),
        ((), {"DEVFLOW_PORTS": "cost=1"}, "the setting DEVFLOW_PORTS is wrong: "),
        ((), {"DEVFLOW_PORTS": "costs=many"}, "the setting DEVFLOW_PORTS.costs is wrong: "),
        ((), {"DEVFLOW_DB_PATH": "nowhere.sqlite"}, "DEVFLOW_DB_PATH=nowhere.sqlite is no file"),
    ],
)
def test_bad_settings_are_one_sentence(
    migrated: Path, arguments: tuple[str, ...], more: dict[str, str], text: str
) -> None:
    told = ran(*arguments, **{"DEVFLOW_DB_PATH": str(migrated), **more})
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith(f"error: {text}")
    assert told.stderr.count("\n") == 1


def test_two_services_on_one_port_are_refused(migrated: Path) -> None:
    settings = Settings(DEVFLOW_DB_PATH=migrated, DEVFLOW_PORTS="costs=8088")
    with pytest.raises(ConfigurationError, match="costs and routing have the same port, 8088"):
        claim(settings, ["costs", "routing"])


def test_pauses_double_up_to_a_limit_and_begin_anew_after_a_good_run() -> None:
    patience = Patience(pause_s=0.5, longest_pause_s=3, well_s=60)
    pause, seen = 0.0, []
    for _ in range(5):
        pause = pauses(1.0, pause, patience)
        seen.append(pause)
    assert seen == [0.5, 1.0, 2.0, 3, 3]
    assert pauses(60.0, pause, patience) == 0.0
