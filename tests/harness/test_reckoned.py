"""What services reckon of usage is judged before it is forgotten; one wrong figure is found."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from harness.checkers import reckoned
from harness.fixture.tree import schema_template
from harness.model import CheckResult, Verdict

OLD = "INSERT INTO cost_analytics (id, date, platform, model, total_requests) VALUES"
MIGRATED = f"{OLD} (NULL, '2025-09-01', 'claude_code', 'opus', 7)"
USAGE = (
    "INSERT INTO synthetic_usage (id, provider, agent_type, model, duration_ms, tokens_in,"
    " tokens_out, cost_usd, created_at) VALUES"
    " ('a', 'openai', 'x', 'm', 1, 30, 10, 0.5, '2025-09-02T10:00:00Z'),"
    " ('b', 'openai', 'x', 'm', 1, 20, NULL, 0.25, '2025-09-02 23:00:00'),"
    " ('c', 'ollama', 'x', NULL, 1, NULL, -9223372036854775808, 'free', '2025-09-03')"
)
SUMS = (
    "INSERT INTO cost_analytics (date, platform, model, total_requests, total_tokens,"
    " total_cost_usd, input_tokens, output_tokens, average_tokens_per_request, cost_per_token)"
    " VALUES ('2025-09-02', 'openai', 'm', 2, 60, 0.75, 50, 10, 30.0, 0.0125),"
    " ('2025-09-03', 'ollama', '', 1, 0, 0.125, 0, 0, 0.0, NULL)"
)


def database(path: Path, name: str, *statements: str) -> Path:
    """Make a database with the schema of `name`, without its triggers at work."""
    path.write_bytes(schema_template(name))
    run(path, *statements)
    return path


def run(path: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return database(tmp_path / "before", "root", MIGRATED)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return database(tmp_path / "root", "root", MIGRATED, SUMS)


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return database(tmp_path / "legacy", "legacy", USAGE)


def judged(root: Path, before: Path, legacy: Path, *, complete: bool = True) -> CheckResult:
    found = reckoned.check("rollback", root, before, [legacy, root], complete=complete)
    assert found is not None
    return found


def test_sums_that_are_what_their_usage_comes_to_are_right(
    root: Path, before: Path, legacy: Path
) -> None:
    found = judged(root, before, legacy)
    assert (found.verdict, found.examined) == (Verdict.VALID, {"reckoned sums": 2})
    assert reckoned.forget_reckoned(root, before) == 2
    assert reckoned.check("rollback", root, before, [legacy]) is None


@pytest.mark.parametrize(
    "change",
    [
        "total_requests = 3",
        "total_tokens = 61",
        "input_tokens = 51, total_tokens = 61",
        "output_tokens = NULL",
        "total_cost_usd = 0.75000001",
        "average_tokens_per_request = 30.5",
        "cost_per_token = NULL",
        "tasks_completed = 1",
        "cost_per_task = 0.1",
        "model = 'n'",
        "date = '2025-09-04'",
    ],
)
def test_one_wrong_figure_is_found_with_what_it_should_be(
    root: Path, before: Path, legacy: Path, change: str
) -> None:
    run(root, f"UPDATE cost_analytics SET {change} WHERE platform = 'openai'")
    found = judged(root, before, legacy, complete=False)
    assert [finding.rule for finding in found.findings] == ["rollback/reckoned-wrong"]
    if not change.startswith(("model", "date")):
        assert found.findings[0].expected == "2 requests, 60 tokens (50 in, 10 out), 0.75 USD"


def test_a_price_that_was_looked_up_may_add_and_never_take_away(
    root: Path, before: Path, legacy: Path
) -> None:
    for cost, verdict in (("0", Verdict.VALID), ("9.5", Verdict.VALID), ("-0.1", Verdict.INVALID)):
        run(root, f"UPDATE cost_analytics SET total_cost_usd = {cost} WHERE platform = 'ollama'")
        assert judged(root, before, legacy).verdict is verdict


def test_usage_without_sums_is_found_where_they_must_be_complete(
    root: Path, before: Path, legacy: Path
) -> None:
    run(root, "DELETE FROM cost_analytics WHERE platform = 'ollama'")
    assert judged(root, before, legacy, complete=False).verdict is Verdict.VALID
    (finding,) = judged(root, before, legacy).findings
    assert (finding.key, finding.expected) == ("2025-09-03 ollama ", "1 requests")


def test_what_was_there_before_is_none_of_it(root: Path, before: Path, legacy: Path) -> None:
    """A row that came without an id has one once it was migrated, and is the same row still."""
    run(root, "UPDATE cost_analytics SET id = 'given' WHERE model = 'opus'")
    assert judged(root, before, legacy).examined == {"reckoned sums": 2}
    assert reckoned.forget_reckoned(root, before) == 2
    with closing(apsw.Connection(str(root))) as connection:
        assert connection.execute("SELECT id FROM cost_analytics").fetchall() == [("given",)]


@pytest.mark.parametrize("was", ["missing", "empty", "of another shape"])
def test_a_root_that_had_no_sums_had_none(root: Path, before: Path, legacy: Path, was: str) -> None:
    before.unlink()
    if was != "missing":
        before.touch()
    if was == "of another shape":
        run(before, "CREATE TABLE notes (id)")
    run(root, "DELETE FROM cost_analytics WHERE model = 'opus'")
    assert judged(root, before, legacy).examined == {"reckoned sums": 2}


def test_usage_in_both_databases_counts_together(root: Path, before: Path, legacy: Path) -> None:
    with closing(apsw.Connection(str(legacy))) as connection:
        (sql,) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'synthetic_usage'"
        ).fetchall()[0]
    moved = USAGE.replace("'a'", "'d'").split(", ('b'")[0]
    run(root, str(sql), moved)
    assert judged(root, before, legacy).verdict is Verdict.INVALID
    run(
        root,
        "UPDATE cost_analytics SET total_requests = 3, total_tokens = 100, input_tokens = 80,"
        " output_tokens = 20, total_cost_usd = 1.25, average_tokens_per_request = 100.0 / 3,"
        " cost_per_token = 0.0125 WHERE platform = 'openai'",
    )
    assert judged(root, before, legacy).verdict is Verdict.VALID
