"""The inverse of the migration, for whoever checks it: writes `mapping.yaml` from the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from devflow.migration.tables import (
    LEGACY_PRIORITIES,
    LEGACY_STATUSES,
    PLANNED,
    PRIORITIES,
    STATUSES,
    planned,
)
from devflow.migration.targets import TableMap

__all__ = ["inverse_expression", "mapping_document"]


# The log's checks of each day, whether or not the registry has summed them; its own are not told.
_DAYS = (
    "SELECT provider, day, sum(checks), sum(healthy) FROM ("
    "SELECT provider, day, checks, healthy_checks AS healthy FROM provider_performance_metrics"
    " UNION ALL SELECT provider, substr(checked_at, 1, 10), iif(rolled_up, -1, 1),"
    " iif(rolled_up, -healthy, healthy) FROM model_health_history"
    " WHERE checked_at IS NOT NULL AND rolled_up = (line_no IS NULL)"
    ") GROUP BY provider, day HAVING sum(checks)"
)


def inverse_expression(table: TableMap, column: str) -> str:
    """Return SQL for a legacy column: its residue where there is one, else the unified value."""
    bit = 1 << list(table.inverse).index(column)
    return f"CASE WHEN o.residue & {bit} THEN o.x_{column} ELSE {table.inverse[column]} END"


def _shown(table: TableMap) -> dict[str, str]:
    """Return where services read a value that the inverse takes from elsewhere."""
    bits = {column: 1 << n for n, column in enumerate(table.inverse)}
    return {
        column: f"CASE WHEN o.residue & {bits[column]} THEN o.x_{column} ELSE {shown} END"
        for column, shown in table.shown.items()
    }


def _table(table: TableMap) -> dict[str, object]:
    return {
        "from": table.joined,
        "key": "o.source_rowid",
        "columns": {column: inverse_expression(table, column) for column in table.inverse},
        **({"shown": _shown(table)} if table.shown else {}),
        "other_columns": 'o."x_{column}"',
        "residue": "o.residue",
        "targets": {target.table: f"o.{target.origin_key}" for target in table.targets},
        "rule": "o.rule",
    }


def _searched(source: str, table: str, column: str) -> dict[str, str]:
    index = "tasks_fts" if table == "task_contexts" else "memory_fts"
    unified = {"title": "title", "description": "description"}.get(column, "content")
    return {
        "source": f"{source}.{table}",
        "column": column,
        "tokenize": "porter ascii",
        "query": f"SELECT o.source_rowid FROM {index} AS f JOIN origin_{source}_{table} AS o"
        f" ON o.seq = f.rowid WHERE f.{unified} MATCH :match",
    }


def _nearest(source: str, table: str, *, vector: str, model: str) -> dict[str, str]:
    key = "embedding_seq" if table == "vector_memories" else "seq"
    return {
        "source": f"{source}.{table}",
        "vector": vector,
        "model": model,
        "query": f"SELECT o.source_rowid FROM memory_block_embeddings AS e"
        f" JOIN origin_{source}_{table} AS o ON o.{key} = e.seq"
        " WHERE e.model = :model AND e.dimensions = :dimensions"
        " AND typeof(e.embedding) = 'blob' AND length(e.embedding) = 4 * e.dimensions"
        " AND e.dimensions > 0"
        " ORDER BY vec_distance_cosine(e.embedding, :vector), o.source_rowid LIMIT :k",
    }


def _listed(table: TableMap) -> dict[str, str]:
    return {"source": table.name, "query": f"SELECT o.source_rowid FROM {table.joined}"}


def _meaning(table: TableMap, column: str, *words: str, shown: str) -> dict[str, object]:
    """Return how the rows with these words are listed: by the state that the words mean."""
    return {
        "source": table.name,
        "column": column,
        "values": list(words),
        "query": f"SELECT o.source_rowid FROM {table.joined} WHERE {shown}",
    }


def _meanings(
    source: str, column: str, states: Iterable[str], words: Mapping[str, str]
) -> Iterator[dict[str, object]]:
    """Yield how tasks are listed by each state: by its own name, and by the old words for it."""
    table = planned(source, "task_contexts")
    assert table is not None  # noqa: S101 - it stands in the plan
    for state in states:
        names = (state, *(word for word, meant in words.items() if meant == state))
        yield _meaning(table, column, *names, shown=f"u.{column} = '{state}'")


def _ended(is_null: bool, status: str) -> dict[str, object]:
    """Return how sessions are listed that have no end yet, or have one."""
    table = planned("root", "coordination_sessions")
    assert table is not None  # noqa: S101 - it stands in the plan
    return {
        "source": table.name,
        "column": "end_time",
        "is_null": is_null,
        "query": f"SELECT o.source_rowid FROM {table.joined} WHERE u.status = '{status}'",
    }


def _active(source: str, *statuses: str) -> dict[str, object]:
    """Return how the tasks of these statuses are listed: as those that are to be worked on."""
    return {
        "source": f"{source}.task_contexts",
        "column": "status",
        "values": list(statuses),
        "query": "SELECT o.source_rowid FROM active_tasks AS a JOIN task_contexts AS u"
        f" ON u.id = a.id JOIN origin_{source}_task_contexts AS o ON o.seq = u.seq",
    }


def mapping_document() -> dict[str, object]:
    """Return the mapping that the candidate contract asks for."""
    vectors = {"vector": "embedding_vector", "model": "model_id"}
    return {
        "contract": 1,
        "unified": "devflow.sqlite",
        "schema": "schema/unified.sql",
        "version": "SELECT version FROM schema_versions ORDER BY seq DESC LIMIT 1",
        "tables": {table.name: _table(table) for table in PLANNED},
        "registry": {
            "lines": "SELECT line_no, raw FROM model_registry_log ORDER BY line_no",
            "last_newline": "SELECT value FROM migration_facts"
            " WHERE name = 'registry.last_newline'",
            "providers": "SELECT name FROM model_providers WHERE in_log",
            "states": "SELECT name, status, is_active, last_checked FROM model_providers AS p"
            " WHERE in_log AND (status <> 'unknown' OR is_active) AND NOT EXISTS (SELECT 1"
            " FROM model_health_history AS h WHERE h.provider = p.name AND h.line_no IS NULL)",
            "health": "SELECT line_no, provider, healthy, checked_at FROM model_health_history"
            " WHERE line_no IS NOT NULL",
            "failovers": "SELECT line_no, from_provider, to_provider, occurred_at,"
            " reason IS NOT NULL FROM failover_events WHERE line_no IS NOT NULL",
            "days": _DAYS,
        },
        "carried": "SELECT source, source_table, unified_table FROM carried_tables",
        "decisions": "SELECT source, type, name, decision, rule, unified_name"
        " FROM schema_decisions",
        "added": "SELECT unified_table, unified_key, rule FROM added_rows",
        "sequences": "SELECT source, source_table, unified_table FROM carried_sequences",
        "in_use": {
            "fulltext": [
                _searched("legacy", "memory_blocks", "content"),
                _searched("vector", "vector_memories", "content"),
                _searched("legacy", "vector_memories", "content"),
                _searched("root", "memory_blocks", "content"),
                _searched("legacy", "task_contexts", "title"),
                _searched("legacy", "task_contexts", "description"),
                _searched("root", "task_contexts", "title"),
                _searched("root", "task_contexts", "description"),
            ],
            "nearest": [
                _nearest("legacy", "memory_block_embeddings", **vectors),
                _nearest("vector", "vector_memories", **vectors),
                _nearest("legacy", "vector_memories", **vectors),
                _nearest("root", "memory_block_embeddings", vector="embedding", model="model"),
            ],
            "listed": [
                *(_listed(table) for table in PLANNED),
                _active("root", "planning", "active"),
                _active("legacy", "pending", "planning", "in_progress", "running", "active"),
                *_meanings("legacy", "status", STATUSES, LEGACY_STATUSES),
                *_meanings("legacy", "priority", PRIORITIES, LEGACY_PRIORITIES),
                _ended(is_null=True, status="active"),
                _ended(is_null=False, status="completed"),
            ],
        },
    }


def main() -> None:
    """Print the mapping as YAML, for `devflow/mapping.yaml`."""
    import sys  # noqa: PLC0415

    import yaml  # noqa: PLC0415

    sys.stdout.write(
        "# The inverse of the migration, as docs/candidate.md describes it. Written by\n"
        "# `python -m devflow.migration.inverse`: change the plan, devflow/migration/tables.py.\n"
        + yaml.safe_dump(mapping_document(), sort_keys=False, width=118, allow_unicode=True)
    )


if __name__ == "__main__":
    main()
