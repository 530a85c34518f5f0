"""The contract checker: silent where both sides answer alike, and loud where they do not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from harness.candidate import DEFAULT_MANIFEST
from harness.candidate_services import Service
from harness.checkers.contract import check
from harness.checkers.evidence import Evidence
from harness.checkers.recorded import contracts, filled, found_in
from harness.errors import BadInputError
from harness.fixture.build import build
from harness.fixture.folder import fixtures_folder
from harness.fixture.recipe import Recipe
from harness.mapping import Mapping
from harness.model import CheckResult, Verdict
from harness.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = {
    "database-manager": "database_manager",
    "vector-memory": "vector_memory",
    "model-registry": "model_registry",
}


def successor(name: str, *, fault: str = "") -> Service:
    script = Path(__file__).parent / "legacy_again.py"
    return Service(
        name=name,
        command=(sys.executable, str(script), STAND_INS[name], "{port}"),
        directory=ROOT,
        environment={"FAULT": fault},
        replaces=name,
        pythonpath=(ROOT,),
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("contract") / "tree"
    hazards = ("equal-ids-different-things", "invalid-utf8", "values-outside-checks", "emoji")
    return build(Recipe(profile="as-planned", seed=7, scale=0.2, hazards=hazards), made) or made


def judged(tree: Path, work: Path, *services: Service) -> CheckResult:
    evidence = Evidence(
        before=Snapshot.of(tree),
        mapping=Mapping.load(DEFAULT_MANIFEST.parent / "mapping.yaml"),
        tree=tree,
        services=services,
        work=work,
    )
    return check(evidence)


def test_services_that_answer_alike_are_valid(tree: Path, tmp_path: Path) -> None:
    result = judged(tree, tmp_path, *(successor(name) for name in STAND_INS))
    assert not result.findings
    assert result.verdict is Verdict.VALID
    assert result.examined["database-manager requests"] > 150
    assert result.examined["vector-memory requests"] > 60
    assert result.examined["model-registry requests"] == 14


@pytest.mark.parametrize(
    ("name", "fault", "rule", "says"),
    [
        ("database-manager", "status-word", "contract/body", "body['status']"),
        ("database-manager", "order", "contract/body", "body['tasks'][0]"),
        ("database-manager", "number-as-text", "contract/body", "body['total']"),
        ("database-manager", "null-left-out", "contract/body", "body['description']"),
        ("database-manager", "old-time-lost", "contract/body", "body['timestamp']"),
        ("database-manager", "sentence", "contract/body", "body['error']"),
        ("database-manager", "status", "contract/status", ""),
        ("database-manager", "fails", "contract/status", ""),
        ("database-manager", "ends", "contract/status", ""),
        ("vector-memory", "rounding", "contract/body", "['similarity']"),
    ],
)
def test_each_way_of_answering_otherwise_is_found(
    tree: Path, tmp_path: Path, name: str, fault: str, rule: str, says: str
) -> None:
    result = judged(tree, tmp_path, successor(name, fault=fault))
    found = [finding for finding in result.findings if finding.rule == rule]
    assert result.verdict is Verdict.INVALID
    assert any(says in (finding.column or "") for finding in found)
    assert all(finding.expected != finding.actual for finding in found)


def test_a_service_that_does_not_start_is_a_finding(tree: Path, tmp_path: Path) -> None:
    dead = Service(
        name="database-manager",
        command=(sys.executable, "-c", "raise SystemExit('no port {port} for me')"),
        directory=ROOT,
        replaces="database-manager",
    )
    result = judged(tree, tmp_path, dead)
    assert [finding.rule for finding in result.findings] == ["contract/service"]
    assert "no port" in result.findings[0].cause


def test_nothing_to_replace_is_unknown_and_not_valid(tree: Path, tmp_path: Path) -> None:
    assert judged(tree, tmp_path).verdict is Verdict.UNKNOWN


def test_every_contract_reads_each_row_of_its_tables(tree: Path) -> None:
    known = contracts(fixtures_folder() / "contracts")
    assert set(known) == set(STAND_INS)
    manager = known["database-manager"]
    rows = list(found_in(tree / "data" / "devflow.sqlite", manager.requests[0]))
    assert len(rows) > 5
    assert filled(manager.requests[0], {"id": "a/b ?"}).path == "/tasks/a%2Fb%20%3F"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"path": "/x"}, "unknown key 'path'"),
        ({"body": {}}, "needs one of get, post"),
        ({"get": "/x", "volatile": {"a": "moment"}}, "`volatile` knows id, near"),
    ],
)
def test_a_wrong_recording_is_one_sentence(tmp_path: Path, request_: object, says: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"service": "x", "requests": [request_]}))
    with pytest.raises(BadInputError) as raised:
        contracts(tmp_path)
    assert says in str(raised.value)
    assert "x.yaml: request 1" in str(raised.value)
