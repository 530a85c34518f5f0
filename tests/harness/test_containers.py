"""Containers of the image: sound ones are valid, each broken one is found; where no engine is,
nothing is examined, and everybody who reads the report is told so."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from devflow.services.settings import PORTS
from harness.candidate import Candidate
from harness.checkers.containers import check
from harness.checkers.evidence import Evidence
from harness.containers import NoContainersError, made
from harness.errors import BadInputError
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.gate import Profile, run_gate
from harness.mapping import Mapping
from harness.model import CheckResult, Verdict
from harness.play import play
from harness.run import rehearse
from harness.scenario import Scenario, Trial
from harness.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = """
description: x
fixture: {profile: real-like, scale: 0.2}
checkers: [rows]
services: {only: [costs], containers: {}}
"""


@pytest.fixture(scope="module")
def image() -> str | None:
    """Return the image's name, None with a warning where no container can be run."""
    declared = Candidate.load().image
    assert declared is not None
    try:
        return made(declared)
    except NoContainersError as error:
        warnings.warn(f"no container is run: {error}", stacklevel=1)
        return None


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("migrated")
    build(Recipe(profile="real-like", seed=5, scale=0.2), folder / "fixture")
    candidate = Candidate.load()
    done = rehearse(folder / "fixture", candidate, folder / "out", checkers=["integrity"])
    assert done.verdict is Verdict.VALID
    return Evidence(
        before=Snapshot.of(folder / "out" / "before"),
        mapping=Mapping.load(candidate.mapping),
        after=folder / "out" / "after" / "devflow.sqlite",
        tree=folder / "out" / "tree",
        services=candidate.services,
        image=candidate.image,
        environment=candidate.told,
        trial=Trial(
            checks=("containers",), only=("costs",), examples=1, writes=60, requests_max=60
        ),
    )


def judged(evidence: Evidence, folder: Path, image: str, *broken: str) -> CheckResult:
    """Judge an image that is made of `image` by these lines of a Dockerfile."""
    (folder / "Dockerfile").write_text("\n".join([f"FROM {image}", *broken, ""]))
    make = ("env", "DOCKER_BUILDKIT=0", "docker", "build", "--quiet", str(folder))
    declared = evidence.image
    assert declared is not None
    return check(replace(evidence, image=replace(declared, make=make), work=folder / "work"))


def rules(result: CheckResult) -> set[str]:
    return {finding.rule for finding in result.findings}


# With an engine ----------------------------------------------------------------------------------


def test_the_image_as_it_is_made_is_valid(
    evidence: Evidence, image: str | None, tmp_path: Path
) -> None:
    if image is None:
        return
    result = check(replace(evidence, work=tmp_path))
    assert not result.findings
    assert result.verdict is Verdict.VALID
    assert result.examined["acknowledged writes"] >= 60
    assert result.examined["requests"] >= 60
    assert result.examined["kills"] == 2
    assert result.examined["stops"] == 1
    assert result.examined["containers"] == 6
    # migrated as whoever owns the tree, and by nobody else
    owners = {path.stat().st_uid for path in (tmp_path / "containers" / "tree").rglob("*")}
    assert len(owners) == 1


BESIDE = (
    "USER 0",
    "RUN mkdir /beside && printf '%s\\n' '#!/bin/sh'"
    ' \'case "$*" in *serve*) cp -n /data/devflow.sqlite /tmp/devflow.sqlite;'
    " export DEVFLOW_DB_PATH=/tmp/devflow.sqlite ;; esac'"
    " 'exec /srv/devflow/bin/python \"$@\"' >/beside/python && chmod +x /beside/python",
    "ENV PATH=/beside:/usr/bin:/bin",
    "USER 10001:10001",
)


def test_a_database_that_is_not_on_the_mounted_folder_loses_what_was_acknowledged(
    evidence: Evidence, image: str | None, tmp_path: Path
) -> None:
    if image is None:
        return
    result = judged(evidence, tmp_path, image, *BESIDE)
    assert result.verdict is Verdict.INVALID
    assert "containers/lost" in rules(result)
    assert "containers/not-read" in rules(result)


def test_an_image_of_another_state_of_the_migration_is_refused_by_its_own_verifier(
    evidence: Evidence, image: str | None, tmp_path: Path
) -> None:
    if image is None:
        return
    changed = "RUN echo '# changed' >>/srv/devflow/app/devflow/migration/phases.py"
    result = judged(evidence, tmp_path, image, "USER 0", changed, "USER 10001:10001")
    assert result.verdict is Verdict.INVALID
    assert [finding.rule for finding in result.findings] == ["containers/service"]
    assert "not approved" in result.findings[0].cause


def test_services_that_do_not_stop_when_asked_are_found(
    evidence: Evidence, image: str | None, tmp_path: Path
) -> None:
    if image is None:
        return
    deaf = "sed -i 's/(cut if stop.is_set() else stop).set()/pass/'"
    patched = f"RUN {deaf} /srv/devflow/app/devflow/supervisor.py"
    # The verifier reads the migration's folder: what is broken must lie in a copy that it does not.
    elsewhere = (
        "RUN cp -r /srv/devflow/app /srv/devflow/deaf",
        patched.replace("/app/", "/deaf/"),
        "RUN printf '%s\\n' '#!/bin/sh' 'case \"$*\" in *serve*) export"
        " PYTHONPATH=/srv/devflow/deaf ;; esac' 'exec /srv/devflow/bin/python \"$@\"'"
        " >/usr/bin/python && chmod +x /usr/bin/python",
        "ENV PATH=/usr/bin:/bin",
    )
    # Nothing is written to this one, and so it is stopped only once.
    alone = replace(evidence, trial=replace(evidence.trial, only=("status",)))
    result = judged(alone, tmp_path, image, "USER 0", *elsewhere, "USER 10001:10001")
    assert "containers/stop" in rules(result)


# Without an engine -------------------------------------------------------------------------------


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    yield


@pytest.mark.usefixtures("no_engine")
def test_a_scenario_without_an_engine_is_unknown_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "contained.yaml").write_text(SCENARIO)
    result = play(Scenario.load(tmp_path / "contained.yaml"), tmp_path / "out")
    assert result.verdict is Verdict.UNKNOWN
    assert result.lack is not None
    assert result.lack.startswith("no container engine answers at unix://")
    warned = [finding for finding in result.findings if finding.rule == "containers/not-examined"]
    assert len(warned) == 1


@pytest.mark.usefixtures("no_engine")
def test_a_gate_without_an_engine_judges_the_rest_and_tells_wherever_people_look(
    tmp_path: Path,
) -> None:
    scenarios = tmp_path / "scenarios"
    scenarios.mkdir()
    (scenarios / "contained.yaml").write_text(SCENARIO)
    (scenarios / "plain.yaml").write_text(SCENARIO.replace("services", "# "))
    size = Profile(
        campaign="quick",
        examples=2,
        false_alarms=1,
        slow=False,
        budget_s=300.0,
        only_mutants=("last-row-dropped",),
    )
    result = run_gate(tmp_path / "out", size=size, scenarios=scenarios)
    assert result.verdict is Verdict.VALID
    told = "the scenario contained (no container engine answers"
    assert f"NOT EXAMINED: {told}" in result.line
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [run["name"] for run in document["runs"]] == ["plain"]
    assert document["not_examined"][0].startswith(told)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Not examined:" in page
    for name in ("report.html", "report.md", "junit.xml", "report.sarif"):
        assert "no container engine answers" in (tmp_path / "out" / name).read_text().replace(
            "\\", ""
        )
    assert "<skipped" in (tmp_path / "out" / "junit.xml").read_text()


def test_an_image_that_cannot_be_made_is_not_examined_with_the_last_words_of_who_tried(
    evidence: Evidence, image: str | None, tmp_path: Path
) -> None:
    if image is None:
        return
    declared = evidence.image
    assert declared is not None
    failing = replace(declared, make=("sh", "-c", "echo first >&2; echo no base >&2; exit 1"))
    result = check(replace(evidence, image=failing, work=tmp_path))
    assert result.verdict is Verdict.UNKNOWN
    assert result.not_examined == "the image cannot be made: no base"


def test_a_candidate_without_an_image_is_not_examined(evidence: Evidence, tmp_path: Path) -> None:
    result = check(replace(evidence, image=None, work=tmp_path))
    assert result.not_examined == "the manifest declares no image"


# What is declared in several places --------------------------------------------------------------


def test_compose_publishes_the_ports_of_all_services_on_the_loopback_address_alone() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["devflow"]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in PORTS.values()]
    exposed = re.search(r"^EXPOSE (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert exposed is not None
    assert list(map(int, exposed[1].split())) == list(PORTS.values())


def test_the_manifest_names_the_ports_that_the_services_have() -> None:
    image = Candidate.load().image
    assert image is not None
    assert dict(image.ports) == dict(PORTS)


def test_compose_confines_its_container_as_the_check_does() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["devflow"]
    assert service["read_only"] is service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == [
        "${DEVFLOW_ROOT:?name the folder that has devflow.sqlite in it}:/data"
    ]


def pins(path: Path) -> dict[str, set[str]]:
    """Return the hashes of each pinned version."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        if pin := re.match(r"([a-z0-9._-]+)(?:\[[^]]*\])?(==\S+)", line):
            hashes = found[pin[1] + pin[2]] = set()
        elif given := re.search(r"--hash=(\S+)", line):
            hashes.add(given[1])
    return found


def test_the_image_is_made_of_the_versions_and_hashes_that_the_project_locks() -> None:
    locked = pins(ROOT / "requirements.lock")
    of_image = pins(ROOT / "containers" / "requirements.lock")
    assert len(of_image) > 20
    assert {pin: locked.get(pin) for pin in of_image} == of_image


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("3", "must be a mapping"),
        ("{maek: [x]}", "did you mean 'make'"),
        ("{tree: data}", "must be a path in the container"),
        ("{tree: /data, ports: {costs: x}}", "must be a mapping of services to ports"),
        ("{tree: /data, ports: {costs: 1}, only: [x]}", "has no {service}"),
        ("{tree: /data, ports: {costs: 1}, only: ['{service}']}", "must be a list of words"),
    ],
)
def test_a_wrong_image_is_one_sentence(tmp_path: Path, image: str, says: str) -> None:
    shutil.copy(Candidate.load().mapping, tmp_path / "mapping.yaml")
    manifest = "contract: 1\nkind: command\ncommand: [x]\nmapping: mapping.yaml\n"
    (tmp_path / "candidate.yaml").write_text(f"{manifest}image: {image}\n")
    with pytest.raises(BadInputError) as raised:
        Candidate.load(tmp_path / "candidate.yaml")
    assert says in str(raised.value)
