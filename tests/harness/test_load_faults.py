"""Services that lose, double, forget or go back, under a real load: each is caught by its rule.

And one that does not, the unified services on a migrated tree, is called valid.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.candidate import Candidate
from harness.candidate_services import Service
from harness.checkers.downtime import Limits
from harness.checkers.downtime import check as downtime
from harness.checkers.history import check
from harness.checkers.holdings import holding
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.history import read_history
from harness.load import Load
from harness.model import DATABASES, CheckResult, Verdict
from harness.services import Running, running

HERE = Path(__file__).parent
FAULTY = Service(
    name="database-manager",
    command=(sys.executable, "-m", "faulty_service", "{port}"),
    directory=HERE,
    pythonpath=(HERE, HERE.parent.parent),
)


def judged(service: Running, folder: Path, database: Path, mix: dict[str, int]) -> CheckResult:
    log = folder / "log.jsonl"
    with Load({service.service.name: service.url}, log=log, connections=8, mix=mix) as load:
        assert load.wait(answered=2_000, timeout_s=60)
    history = read_history(log)
    place = holding(database, "legacy", prefix=load.prefix)
    return check(history, {"database-manager": place})


@contextmanager
def faulty(folder: Path, fault: str) -> Iterator[tuple[Running, Path]]:
    build(Recipe(profile="empty", seed=7), folder / "tree")
    database = folder / "tree" / DATABASES["legacy"]
    environment = {"FAULT": fault, "DATABASE_PATH": str(database)}
    with running([FAULTY], environment=environment, logs=folder / "logs") as found:
        yield found["database-manager"], database


@pytest.mark.parametrize(
    ("fault", "rules"),
    [
        ("forgets", {"write-lost", "stale-read"}),
        ("forgets-updates", {"value-from-nowhere", "read-from-nowhere"}),
        ("twice", {"write-doubled"}),
        ("stale", {"stale-read"}),
        ("undeletes", {"delete-undone", "stale-read"}),
    ],
)
def test_a_service_with_a_fault_is_caught_by_its_rule(
    tmp_path: Path, fault: str, rules: set[str]
) -> None:
    with faulty(tmp_path, fault) as (service, database):
        result = judged(service, tmp_path, database, {"delete": 6})
    found = {finding.rule.removeprefix("history/") for finding in result.findings}
    assert found
    assert found <= rules


def test_the_unified_services_are_valid_under_the_same_load(tmp_path: Path) -> None:
    tree, log = tmp_path / "tree", tmp_path / "log.jsonl"
    build(Recipe(profile="as-planned", seed=7, scale=0.2), tree)
    candidate = Candidate.load()
    assert candidate.apply(tree).state == "cleanup"
    database = tree / DATABASES["root"]
    environment = {
        "DEVFLOW_DB_PATH": str(database),
        "DEVFLOW_HEALTH_INTERVAL_S": "86400",
        "DEVFLOW_LEARN_INTERVAL_S": "86400",
    }
    replacing = [service for service in candidate.services if service.replaces]
    with running(replacing, environment=environment, logs=tmp_path / "logs") as found:
        urls = {service.replaces or "": found[service.name].url for service in replacing}
        with Load(urls, log=log, seed=5, connections=8) as load:
            assert load.wait(answered=600, timeout_s=60)
    history = load.history()
    place = holding(database, "unified", prefix=load.prefix)
    result = check(history, dict.fromkeys(urls, place))
    assert (result.findings, result.verdict) == ((), Verdict.VALID)
    felt = downtime(history, Limits())
    assert (felt.findings, felt.verdict) == ((), Verdict.VALID)
