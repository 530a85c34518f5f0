"""The model registry's log: every line kept as it is, and what could be read told in tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from devflow_tree import LegacyTree, opened, values

from devflow.migration.registry import follow_log


def line(message: str, at: str = "2025-09-18T21:00:17.670Z", **more: object) -> bytes:
    return json.dumps({"timestamp": at, "level": "info", "message": message, **more}).encode()


def check(active: str | None, at: str = "2025-09-18T21:00:17.670Z", **healthy: bool) -> bytes:
    return line("Health check completed", at, active=active, **healthy)


def shadow_of(tree: LegacyTree) -> Path:
    tree.apply("shadow")
    return tree.directory / ".devflow-migration" / "unified.sqlite"


def rebuilt(unified: Path) -> bytes:
    """Return the log's bytes, from the unified database alone."""
    raw = values(unified, "SELECT raw FROM model_registry_log ORDER BY line_no")
    last = values(unified, "SELECT value FROM migration_facts WHERE name = 'registry.last_newline'")
    return b"\n".join(bytes(text) for (text,) in raw) + b"\n" * bool(last[0][0])  # type: ignore[arg-type]


CUT_OFF = line("Health check completed")[:40]
LOGS = {
    "plain": b"".join(line(f"m{n}") + b"\n" for n in range(3)),
    "no last newline": line("a") + b"\n" + line("b"),
    "one newline": b"\n",
    "empty lines": b"\n\n" + line("a") + b"\n\n",
    "CRLF": line("a") + b"\r\n" + line("b") + b"\r\n",
    "cut off": line("a") + b"\n" + CUT_OFF,
    "not JSON": b"Error: something\n    at line 1\n" + line("a") + b"\n",
    "not UTF-8": b"\xff\xfe\x00\n" + line("a") + b"\n",
    "other JSON": b'[1]\n"text"\n7\nnull\ntrue\n{"message": ["list"]}\n{}\nNaN\n',
    "deep JSON": b"[" * 100_000 + b"\n",
    "huge number": b'{"message": "Health check completed", "active": ' + b"9" * 5000 + b"}\n",
    "surrogates": b'{"message": "Health check completed", "ollama\\ud800": true,'
    b' "active": "\\udfff"}\n',
    "NUL": b'{"message": "Health check completed", "a\\u0000b": true, "active": "a\\u0000b"}\n',
    "doubled keys": b'{"message": "Health check completed", "x": true, "x": false}\n',
}


@pytest.mark.parametrize("name", LOGS)
def test_a_log_of_any_kind_comes_back_to_the_byte(tree: LegacyTree, name: str) -> None:
    tree.log(LOGS[name])
    assert rebuilt(shadow_of(tree)) == LOGS[name]


FOLLOWED = LOGS | {
    "checks": b"\n".join(
        [check("ollama", ollama=True), check("synthetic", ollama=False, synthetic=True)] * 2
    )
    + b"\n"
}
TOLD = (
    "SELECT name, base_url, status, is_active, consecutive_failures, last_checked"
    " FROM model_providers ORDER BY name",
    "SELECT provider, healthy, error, checked_at, line_no FROM model_health_history ORDER BY 5, 1",
    "SELECT from_provider, to_provider, occurred_at, reason, line_no FROM failover_events",
)


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_log_that_grows_is_followed_from_wherever_it_was(
    tree: LegacyTree, tmp_path: Path, name: str
) -> None:
    content = FOLLOWED[name]
    whole = tree.copy(tmp_path / "whole")
    whole.log(content)
    expected = [values(shadow_of(whole), query) for query in TOLD]
    for cut in sorted({0, len(content) // 2, len(content) - 1}):
        grown = tree.copy(tmp_path / f"grown-{cut}")
        grown.log(content[:cut])
        unified = shadow_of(grown)
        grown.log(content)
        for _ in range(2):
            with opened(unified) as connection:
                connection.execute("BEGIN IMMEDIATE")
                follow_log(connection, grown.directory / "logs" / "model-registry.log")
                connection.execute("COMMIT")
            assert rebuilt(unified) == content, cut
            assert [values(unified, query) for query in TOLD] == expected, cut


def test_an_empty_log_has_no_line(tree: LegacyTree) -> None:
    tree.log(b"")
    assert values(shadow_of(tree), "SELECT count(*) FROM model_registry_log") == [(0,)]


def test_a_missing_log_is_no_fault(tree: LegacyTree) -> None:
    unified = shadow_of(tree)
    assert values(unified, "SELECT count(*) FROM model_providers") == [(0,)]
    found = values(unified, "SELECT * FROM migration_facts WHERE name LIKE 'registry%'")
    assert found == []


def test_providers_checks_failovers_and_days_are_read_from_the_lines(tree: LegacyTree) -> None:
    day = "2025-09-{}T21:00:00.000Z"
    tree.log(
        b"\n".join(
            [
                line(
                    "Starting Model Registry Service",
                    day.format(18),
                    port=8083,
                    ollamaHost="http://localhost:11434",
                    syntheticHost="http://localhost:8090",
                ),
                line("Synthetic health check failed", day.format(18), error="refused"),
                check("ollama", day.format(18), ollama=True, synthetic=False),
                check("ollama", day.format(18), ollama=True, synthetic=True),
                check("synthetic", day.format(19), ollama=False, synthetic=True),
                check(None, day.format(19), ollama=False, synthetic=True),
                CUT_OFF,
                check("ollama", day.format(20), ollama=True, synthetic=True),
            ]
        )
        + b"\n"
    )
    unified = shadow_of(tree)
    assert values(
        unified,
        "SELECT name, base_url, status, is_active, substr(last_checked, 1, 10)"
        " FROM model_providers ORDER BY name",
    ) == [
        ("ollama", "http://localhost:11434", "healthy", 1, "2025-09-20"),
        ("synthetic", "http://localhost:8090", "healthy", 0, "2025-09-20"),
    ]
    assert values(
        unified,
        "SELECT name, position, consecutive_failures, consecutive_successes, in_log, configured_by"
        " FROM model_providers ORDER BY position",
    ) == [("ollama", 0, 0, 1, 1, None), ("synthetic", 1, 0, 4, 1, None)]
    assert values(
        unified,
        "SELECT line_no, provider, healthy, error FROM model_health_history"
        " WHERE error NOT NULL OR line_no = 8 ORDER BY 1, 2",
    ) == [(3, "synthetic", 0, "refused"), (8, "ollama", 1, None), (8, "synthetic", 1, None)]
    assert values(
        unified, "SELECT line_no, from_provider, to_provider, reason FROM failover_events"
    ) == [
        (5, "ollama", "synthetic", "ollama was unhealthy"),
        (8, "synthetic", "ollama", None),
    ]
    assert values(
        unified,
        "SELECT provider, day, checks, healthy_checks, availability"
        " FROM provider_performance_metrics WHERE provider = 'ollama'",
    ) == [
        ("ollama", "2025-09-18", 2, 2, 1.0),
        ("ollama", "2025-09-19", 2, 0, 0.0),
        ("ollama", "2025-09-20", 1, 1, 1.0),
    ]


def test_only_checks_that_a_day_counts_are_marked_as_counted(tree: LegacyTree) -> None:
    undated = b'{"message": "Health check completed", "ollama": false}\n'
    tree.log(check("ollama", ollama=True) + b"\n" + undated + undated)
    unified = shadow_of(tree)
    assert values(
        unified, "SELECT line_no, rolled_up, duration_ms FROM model_health_history ORDER BY 1"
    ) == [(1, 1, None), (2, 0, None), (3, 0, None)]
    assert values(unified, "SELECT sum(checks) FROM provider_performance_metrics") == [(1,)]
    assert values(unified, "SELECT consecutive_failures FROM model_providers") == [(2,)]


def test_a_provider_that_only_started_is_of_unknown_health(tree: LegacyTree) -> None:
    tree.log(line("Starting Model Registry Service", ollamaHost=7, Host="none") + b"\n")
    found = values(shadow_of(tree), "SELECT name, base_url, status, is_active FROM model_providers")
    assert found == [("ollama", None, "unknown", 0)]


def test_the_log_stays_where_it_is(tree: LegacyTree) -> None:
    tree.log(LOGS["cut off"])
    tree.apply()
    assert (tree.directory / "logs" / "model-registry.log").read_bytes() == LOGS["cut off"]


def test_lines_written_after_the_backup_are_not_lost_by_a_rollback(tree: LegacyTree) -> None:
    tree.log(LOGS["plain"])
    tree.apply("cutover")
    longer = LOGS["plain"] + line("later") + b"\n"
    tree.log(longer)
    tree.rollback()
    assert (tree.directory / "logs" / "model-registry.log").read_bytes() == longer
