"""The api checker: silent about a service that keeps its promises, loud about each broken one."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from notes import notes_database, notes_service

from harness.candidate import DEFAULT_MANIFEST, Candidate
from harness.candidate_services import Service
from harness.checkers.api import check
from harness.checkers.evidence import Evidence
from harness.checkers.invariants import violations
from harness.fixture.build import build
from harness.fixture.recipe import Recipe
from harness.mapping import Mapping
from harness.model import CheckResult, Verdict
from harness.run import rehearse
from harness.scenario import Trial
from harness.snapshot import Snapshot


def judged(folder: Path, service: Service, *, requests: int = 1) -> CheckResult:
    tree = folder / "tree"
    notes_database(tree / "devflow.sqlite")
    evidence = Evidence(
        before=Snapshot.of(tree),
        mapping=Mapping.load(DEFAULT_MANIFEST.parent / "mapping.yaml"),
        tree=tree,
        services=(service,),
        trial=Trial(checks=("api",), examples=8, requests=requests),
        work=folder / "work",
    )
    return check(evidence)


def rules(result: CheckResult) -> set[str]:
    return {finding.rule for finding in result.findings}


def test_a_service_that_keeps_its_promises_is_valid(tmp_path: Path) -> None:
    result = judged(tmp_path, notes_service())
    assert not result.findings
    assert result.verdict is Verdict.VALID
    assert result.examined["notes requests"] > 80
    assert result.examined["refusals that changed nothing"] > 10
    assert result.details["services"][0]["operations"] == 4


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("breaks-on-odd-text", "api/not-a-server-error"),
        ("undocumented-status", "api/status-code-conformance"),
        ("body-changed", "api/response-schema-conformance"),
        ("keeps-what-it-refuses", "api/refused-and-changed"),
        ("has-an-orphan", "api/dangling"),
        ("ends-at-once", "api/service"),
    ],
)
def test_each_broken_promise_is_found(tmp_path: Path, fault: str, rule: str) -> None:
    result = judged(tmp_path, notes_service(fault=fault))
    assert result.verdict is Verdict.INVALID
    assert rule in rules(result)


def test_a_failure_can_be_sent_again_with_curl(tmp_path: Path) -> None:
    result = judged(tmp_path, notes_service(fault="breaks-on-odd-text"))
    (finding,) = (f for f in result.findings if f.rule == "api/not-a-server-error")
    assert finding.key is not None
    assert finding.key.startswith("curl -X POST")
    assert finding.key.endswith("$URL/v2/notes")
    assert finding.actual == "status 500"


def test_more_requests_are_sent_where_more_are_wanted(tmp_path: Path) -> None:
    result = judged(tmp_path, notes_service(), requests=400)
    assert result.verdict is Verdict.VALID
    assert result.examined["notes requests"] >= 400


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated")
    build(Recipe(profile="real-like", seed=7), folder / "fixture")
    result = rehearse(folder / "fixture", Candidate.load(), folder / "out", checkers=["integrity"])
    assert result.verdict is Verdict.VALID
    return folder / "out" / "after" / "devflow.sqlite"


VECTOR = "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content) SELECT"
REQUEST = (
    "INSERT INTO model_providers (name) VALUES ('a'); INSERT INTO provider_requests (id, provider,"
    " agent_type, success, duration_ms, cost_usd, reported_at) VALUES"
    " ('r', 'a', 't', 1, 5, 0.5, '2026-01-01T00:00:00Z'); INSERT INTO provider_performance_metrics"
    " (provider, day) VALUES ('a', '2026-01-01');"
)
LEARNED = (
    "INSERT INTO knowledge_entities (seq, id, entity_type, name, extraction_source)"
    " VALUES (901, 'a', 'technology', 'A', ''), (902, 'b', 'technology', 'B', '');"
    " INSERT INTO knowledge_learned (block_seq, digest, rules, learned_at)"
    " VALUES (9001, '', '', ''), (9002, '', '', '');"
    " INSERT INTO knowledge_mentions (block_seq, entity_seq, times, snippet)"
    " VALUES (9001, 901, 1, ''), (9001, 902, 1, ''), (9002, 901, 1, ''), (9002, 902, 1, '');"
)
DECIDED = (
    "INSERT INTO routing_decisions (id, capability_domain, task_type, platform, seed, weights,"
    " candidates, decided_at, success, reported_at)"
    " VALUES ('d', 'd', 't', 'p', 1, '{}', '[]', '', 1, '2026-01-01T00:00:00.000Z')"
)
SPOILT: dict[str, str] = {
    "api/block-without-vector": f"{VECTOR} 'b', id, 'vector-import', 'context', 'l', 'c'"
    " FROM task_contexts LIMIT 1",
    "api/vector-without-block": "INSERT INTO memory_block_embeddings"
    " (block_id, model, dimensions, embedding) VALUES ('none', 'm', 1, X'00000000')",
    "api/vector-of-another-length": "INSERT INTO memory_block_embeddings"
    " (block_id, model, dimensions, embedding) SELECT id, 'm', 3, X'00' FROM memory_blocks LIMIT 1",
    "api/dangling": "UPDATE memory_blocks SET task_id = 'none' WHERE seq = (SELECT max(seq)"
    " FROM memory_blocks)",
    "api/fulltext": "INSERT INTO memory_fts (rowid, content) VALUES (123456, 'nothing')",
    "api/costs": "INSERT INTO cost_analytics (date, platform, model, total_requests, total_tokens,"
    " total_cost_usd) VALUES ('2026-01-01', 'p', 'm', 2, 5, 0.5)",
    "api/two-providers-active": "DROP INDEX idx_provider_active; INSERT INTO model_providers"
    " (name, is_active) VALUES ('a', 1), ('b', 1)",
    "api/failover-not-told": "UPDATE model_providers SET is_active = 0; INSERT INTO model_providers"
    " (name, is_active) VALUES ('a', 1)",
    "api/request-without-usage": f"{REQUEST} UPDATE provider_performance_metrics"
    " SET requests = 1, successful_requests = 1 WHERE day = '2026-01-01'",
    "api/request-sums": f"{REQUEST} INSERT INTO synthetic_usage"
    " (id, provider, agent_type, duration_ms, cost_usd, created_at)"
    " VALUES ('r', 'a', 't', 5, 0.5, '2026-01-01T00:00:00Z')",
    "api/check-sums": "INSERT INTO model_providers (name) VALUES ('a');"
    " INSERT INTO provider_performance_metrics (provider, day, checks)"
    " VALUES ('a', '2026-01-01', 1)",
    "api/circle-of-parents": "UPDATE task_contexts SET parent_task_id = id WHERE seq ="
    " (SELECT min(seq) FROM task_contexts)",
    "api/circle-of-dependencies": "INSERT INTO task_contexts (id, title, depends_on) VALUES"
    """ ('a', 'A', '["b"]'), ('b', 'B', '["a"]')""",
    "api/alert-too-early": "INSERT INTO cost_budgets"
    " VALUES (1, 'b', 'B', 'day', NULL, 100, '', ''); INSERT INTO cost_alerts"
    " (budget_id, period_start, threshold_percent, spent_nanousd, limit_nanousd, raised_at)"
    " VALUES ('b', '2026-01-01', 50, 49, 100, '')",
    "api/pairs": "INSERT INTO knowledge_pairs (first_seq, second_seq, blocks) VALUES (901, 902, 1)",
    "api/relationships": f"{LEARNED} DELETE FROM knowledge_stale",
    "api/belief": f"{LEARNED} INSERT INTO knowledge_priors VALUES (901, 0.5, 'pending', 1);"
    " INSERT INTO knowledge_feedback (id, entity_seq, kind, given_at)"
    " VALUES ('f', 901, 'confirm', '')",
    "api/mail-address-learned": f"{LEARNED} UPDATE knowledge_mentions"
    " SET snippet = 'ask a.b@example.org' WHERE entity_seq = 901",
    "api/outcomes-believed": "INSERT INTO routing_beliefs (platform, capability_domain, task_type,"
    " successes, failures, weight, outcomes, updated_at) VALUES ('p', 'd', 't', 2, 1, 1, 1, '')",
    "api/outcomes-performed": DECIDED,
    "api/chosen-of-candidates": DECIDED,
}


def altered(database: Path, to: Path, sql: str) -> Path:
    to.write_bytes(database.read_bytes())
    connection = apsw.Connection(str(to))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(sql)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return to


def test_a_database_is_never_broken_by_comparison_with_itself(migrated: Path) -> None:
    found, held = violations(migrated, migrated, service="none")
    assert not found
    assert held >= 10


@pytest.mark.parametrize("rule", SPOILT)
def test_each_invariant_finds_what_breaks_it(migrated: Path, tmp_path: Path, rule: str) -> None:
    spoilt = altered(migrated, tmp_path / "spoilt.sqlite", SPOILT[rule])
    found, _ = violations(migrated, spoilt, service="notes")
    assert rule in {finding.rule for finding in found}
    assert not violations(spoilt, spoilt, service="notes")[0]


USAGE = (
    "INSERT INTO synthetic_usage (id, provider, agent_type, model, duration_ms, tokens_in,"
    " tokens_out, cost_usd, created_at)"
    " VALUES ('u', 'p', 'a', 'm', 1, 3, 4, 0.25, '2026-01-01T00:00:00.000Z')"
)
SUMS = (
    "; INSERT INTO cost_analytics (date, platform, model, total_requests, total_tokens,"
    " total_cost_usd) VALUES ('2026-01-01', 'p', 'm', {}, 7, 0.25)"
)


@pytest.mark.parametrize(("requests", "sound"), [(1, True), (2, False)])
def test_costs_are_compared_with_the_usage_that_caused_them(
    migrated: Path, tmp_path: Path, requests: int, sound: bool
) -> None:
    spoilt = altered(migrated, tmp_path / "spent.sqlite", USAGE + SUMS.format(requests))
    found, _ = violations(migrated, spoilt, service="costs")
    assert {finding.rule for finding in found} == (set() if sound else {"api/costs"})
