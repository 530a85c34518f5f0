"""Services as processes: declared, started, waited for, stopped, killed and begun anew."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import yaml
from notes import notes_database, notes_service

from harness.candidate import Candidate
from harness.candidate_services import stand_ins
from harness.errors import BadInputError
from harness.fixture.build import build
from harness.fixture.folder import fixtures_folder
from harness.fixture.recipe import Recipe
from harness.services import Running, ServiceError, free_port, running

PLAIN = {"notes": {"command": ["python", "-m", "notes", "{port}"], "health": "/well"}}


def manifest(folder: Path, services: object) -> Path:
    (folder / "mapping.yaml").write_text("{}")
    path = folder / "candidate.yaml"
    document = {"contract": 1, "command": ["x"], "mapping": "mapping.yaml", "services": services}
    path.write_text(yaml.safe_dump(document))
    return path


def asked(url: str, body: object = None) -> tuple[int, object]:
    answer = httpx.get(url) if body is None else httpx.post(url, json=body)
    return answer.status_code, answer.json()


def serving(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_manifest_declares_services_with_their_ports(tmp_path: Path) -> None:
    (service,) = Candidate.load(manifest(tmp_path, PLAIN)).services
    assert service.name == "notes"
    assert service.on(81)[1:] == ["-m", "notes", "81"]
    assert (service.health, service.replaces) == ("/well", None)


@pytest.mark.parametrize(
    ("services", "says"),
    [
        ([1], "`services` must be a mapping"),
        ({"notes": 3}, "`services.notes` must be a mapping"),
        ({"notes": {"commands": ["x"]}}, "unknown key 'commands'; did you mean 'command'?"),
        ({"notes": {"command": "x {port}"}}, "needs a `command`"),
        ({"notes": {"command": ["x"]}}, "a command without {port}"),
        ({"notes": {"command": ["{port}"], "health": "health"}}, "`services.notes.health` is"),
        (
            {"notes": {"command": ["{port}"], "environment": [1]}},
            "`services.notes.environment` must",
        ),
    ],
)
def test_a_wrong_declaration_is_one_sentence(tmp_path: Path, services: object, says: str) -> None:
    with pytest.raises(BadInputError) as raised:
        Candidate.load(manifest(tmp_path, services))
    assert says in str(raised.value)
    assert "candidate.yaml" in str(raised.value)


def test_devflow_declares_eight_services_and_what_three_of_them_replace() -> None:
    services = Candidate.load().services
    replaced = {service.replaces for service in services} - {None}
    assert len(services) == 8
    assert replaced == {service.name for service in stand_ins(fixtures_folder() / "services")}


def test_no_port_is_chosen_twice_before_anybody_listens_there() -> None:
    chosen = [free_port() for _ in range(2_000)]
    assert len(set(chosen)) == len(chosen)


def test_a_service_is_up_when_it_is_yielded_and_gone_afterwards(tmp_path: Path) -> None:
    database = notes_database(tmp_path / "devflow.sqlite")
    environment = {"DEVFLOW_DB_PATH": str(database)}
    with running([notes_service()], environment=environment, logs=tmp_path / "logs") as found:
        notes = found["notes"]
        assert asked(f"{notes.url}/v2/notes/n1") == (200, {"id": "n1", "text": "note 1"})
    assert not notes.alive
    assert not serving(notes.port)
    assert (tmp_path / "logs" / "notes.log").is_file()


def test_a_killed_service_begins_anew_on_the_same_port_and_database(tmp_path: Path) -> None:
    database = notes_database(tmp_path / "devflow.sqlite")
    environment = {"DEVFLOW_DB_PATH": str(database)}
    with running([notes_service()], environment=environment, logs=tmp_path) as found:
        notes = found["notes"]
        asked(f"{notes.url}/v2/notes", {"id": "kept", "text": "x"})
        assert notes.kill() == -9
        assert not serving(notes.port)
        notes.restart()
        assert asked(f"{notes.url}/v2/notes/kept")[0] == 200


@pytest.mark.parametrize(
    ("fault", "timeout_s", "says"),
    [
        (
            "ends-at-once",
            60,
            "the service notes ended at once; it said: the notes are not in the mood",
        ),
        (
            "never-healthy",
            10,
            "the service notes was not healthy in time: /health answered status 503",
        ),
    ],
)
def test_a_service_that_does_not_come_up_says_why(
    tmp_path: Path, fault: str, timeout_s: float, says: str
) -> None:
    database = notes_database(tmp_path / "devflow.sqlite")
    notes = Running(
        notes_service(fault=fault),
        environment={"DEVFLOW_DB_PATH": str(database)},
        log=tmp_path / "notes.log",
    )
    with pytest.raises(ServiceError) as raised:
        notes.start(timeout_s=timeout_s)
    assert says in str(raised.value)
    assert not notes.alive


def test_a_command_that_is_no_program_is_a_service_error(tmp_path: Path) -> None:
    service = replace(notes_service(), command=("no-such-program", "{port}"))
    with (
        pytest.raises(ServiceError, match="cannot be started: 'no-such-program'"),
        running([service], environment={}, logs=tmp_path),
    ):
        raise AssertionError("it was started")


def test_the_stand_ins_serve_the_legacy_databases(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build(Recipe(profile="as-planned", seed=7, scale=0.2), tree)
    services = [
        replace(service, directory=tree) for service in stand_ins(fixtures_folder() / "services")
    ]
    with running(services, environment={}, logs=tmp_path / "logs") as found:
        manager, vectors, registry = (
            found[name].url for name in ("database-manager", "vector-memory", "model-registry")
        )
        _, listed = asked(f"{manager}/tasks?limit=1")
        assert isinstance(listed, dict) and listed["total"] >= len(listed["tasks"]) == 1
        body = {"id": "v1", "content": "walrus", "type": "note", "embedding": [1, 0, 0]}
        assert asked(f"{vectors}/store", body)[0] == 201
        _, near = asked(f"{vectors}/search", {"embedding": [2, 0, 0], "limit": 1})
        assert isinstance(near, dict)
        assert near["results"] == [
            {"id": "v1", "content": "walrus", "type": "note", "metadata": None, "similarity": 1.0}
        ]
        assert asked(f"{registry}/active") == (200, {"active": None})
