"""Strategies for rows of the planned tables: plain by default, with a few awkward values each.

A row starts from a plain value in each column and then has some columns changed. So few choices
make a row, and a failure is shrunk by taking the changes back.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import apsw
from hypothesis import strategies as st

from harness.database import Column, columns_of
from harness.fixture.tree import schema_template
from harness.generators import values
from harness.generators.plan import Row, Value

__all__ = ["PLANNED", "REFERENCES", "columns", "plain_values", "planned_row"]

PLANNED: Mapping[str, tuple[str, ...]] = {
    "legacy": (
        "memory_blocks",
        "memory_block_embeddings",
        "task_contexts",
        "synthetic_usage",
        "sessions",
        "migration_log",
    ),
    "vector": ("vector_memories",),
    "root": (
        "task_contexts",
        "memory_blocks",
        "memory_block_embeddings",
        "coordination_sessions",
        "knowledge_entities",
        "platform_performance",
        "cost_analytics",
        "entity_relationships",
        "knowledge_entity_embeddings",
        "schema_versions",
        "schema_version",
        "session_audit_log",
    ),
}
"""The tables that rows are made for, the weightier ones first."""

REFERENCES = frozenset(
    {
        "memory_block_id",
        "task_id",
        "parent_task_id",
        "block_id",
        "entity_id",
        "handoff_from_session",
        "handoff_to_session",
        "learned_from_task_id",
        "source_entity_id",
        "target_entity_id",
    }
)
"""Columns that hold another row's key."""

_CHOICES: Mapping[tuple[str, str], tuple[Value, ...]] = {
    ("root", "priority"): ("m-", "h-", "l-", "?-"),
    ("root", "task_contexts.status"): (
        "planning",
        "active",
        "blocked",
        "completed",
        "archived",
        None,
    ),
    ("root", "primary_platform"): (None, "claude_code", "openai_codex", "gemini_cli", "cursor"),
    ("root", "block_type"): (
        "context",
        "architectural",
        "implementation",
        "debugging",
        "maintenance",
        "decision",
        "emergency_context",
        "context_snapshot",
    ),
    ("root", "coordination_sessions.platform"): ("claude_code", "openrouter", "cursor"),
    ("root", "session_type"): ("development", "review", "handoff", None),
    ("root", "entity_type"): ("person", "technology", "pattern", "rule", "preference"),
    ("root", "validation_status"): ("pending", "confirmed", "rejected", None),
    ("root", "user_satisfaction"): (None, 1, 5, 3),
    ("root", "user_satisfaction_avg"): (None, 1.0, 4.999999999999999, 5),
    ("legacy", "task_contexts.status"): (
        "pending",
        "in_progress",
        "planning",
        "completed",
        "",
        "PENDING",
        None,
        b"pending",
    ),
    ("legacy", "priority"): ("medium", "low", "high", "urgent", "m-", "M-", "", None, 3),
    ("legacy", "type"): (
        "context",
        "system_event",
        "deployment",
        "test",
        "note",
        "integration_test",
        "system_achievement",
        "decision",
        "Context",
        "",
    ),
    ("vector", "type"): ("note", "context", "decision", "system_event", "", "note "),
    ("legacy", "model_id"): ("gemma-7b-embedding", "all-minilm", "test-model", ""),
    ("vector", "model_id"): ("gemma-7b-embedding", "all-minilm", "gemma-7b-embedding "),
    ("root", "model"): ("text-embedding-3-small", "gemma-7b-embedding", ""),
}
_UNIT_RANGE = frozenset(
    {
        "complexity_score",
        "importance_score",
        "success_rate",
        "confidence_score",
        "relationship_strength",
        "task_progress_delta",
    }
)
_JSON = frozenset(
    {
        "metadata",
        "context",
        "relationships",
        "required_capabilities",
        "platform_routing",
        "architectural_context",
        "implementation_context",
        "debugging_context",
        "maintenance_context",
        "depends_on",
        "extraction_source",
        "tags",
        "handoff_context",
    }
)
_TIMES = frozenset(
    {
        "timestamp",
        "first_seen",
        "last_confirmed",
        "last_accessed",
        "last_updated",
        "start_time",
        "end_time",
        "date",
        "measurement_period_start",
        "measurement_period_end",
    }
)
_PLAIN_TIME = "2025-09-13 21:42:13"
_UNIT_VALUES: tuple[Value, ...] = (0.5, 0, 1, 0.1, 0.30000000000000004, "0.25", 5e-324, None)


@dataclass(frozen=True, slots=True)
class _Field:
    """One column's plain value and the strategy that may take its place."""

    name: str
    plain: Value
    awkward: st.SearchStrategy[Value]


@functools.cache
def columns(source: str, table: str) -> tuple[Column, ...]:
    """Return the columns of a planned table that can be inserted."""
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", schema_template(source))
    found = columns_of(connection, table)
    connection.close()
    return tuple(column for column in found if not column.generated)


def _choices(source: str, table: str, column: str) -> tuple[Value, ...] | None:
    precise = _CHOICES.get((source, f"{table}.{column}"))
    return precise or _CHOICES.get((source, column))


def _field(source: str, table: str, column: Column) -> _Field:  # noqa: PLR0911 - one a kind
    name, kind = column.name, column.declared_type.upper()
    chosen = _choices(source, table, name)
    if chosen is not None:
        return _Field(name, chosen[0], st.sampled_from(chosen))
    if name == "id" and kind == "INTEGER":
        return _Field(name, None, st.sampled_from((None, 1, 2, 41, 2**53 + 1, -5)))
    if name in {"id", "version"} or name in REFERENCES:
        return _Field(name, "a", values.ids())
    if name in _UNIT_RANGE:
        return _Field(name, 0.5, st.sampled_from(_UNIT_VALUES))
    if name.endswith("_at") or name in _TIMES:
        plain = _PLAIN_TIME if column.not_null or column.default else None
        return _Field(name, plain, values.timestamps())
    if name in _JSON:
        return _Field(name, "{}", values.json_text())
    if kind == "BLOB":
        return _Field(name, b"" if column.not_null else None, values.anything())
    if kind in {"INTEGER", "REAL", "BOOLEAN"}:
        return _Field(name, 0 if column.not_null else None, values.numbers())
    return _Field(name, "text" if column.not_null else None, values.texts())


@functools.cache
def _fields(source: str, table: str) -> tuple[_Field, ...]:
    return tuple(_field(source, table, column) for column in columns(source, table))


def plain_values(source: str, table: str) -> Mapping[str, Value]:
    """Return the value that each column of a planned table has where nothing odd is drawn."""
    return {field.name: field.plain for field in _fields(source, table)}


_VECTORS = {
    ("legacy", "memory_block_embeddings"): ("embedding_vector", "dimensions"),
    ("vector", "vector_memories"): ("embedding_vector", "dimensions"),
    ("root", "memory_block_embeddings"): ("embedding", "dimensions"),
    ("root", "knowledge_entity_embeddings"): ("embedding", "dimensions"),
    ("root", "memory_blocks"): ("embedding", None),
    ("root", "knowledge_entities"): ("embedding", None),
    ("legacy", "memory_blocks"): ("embedding", None),
}


def _keys(fields: tuple[_Field, ...]) -> list[_Field]:
    return [f for f in fields if f.plain == "a"]


@st.composite
def planned_row(draw: st.DrawFn, source: str, table: str) -> Row:
    """A row of a planned table, every column given, so that no default tells the time."""
    fields = _fields(source, table)
    made: dict[str, Value] = dict(plain_values(source, table))
    for field in _keys(fields):
        made[field.name] = draw(field.awkward)
    for field in fields:
        chosen = _choices(source, table, field.name)
        if chosen is not None and field.name in {"type", "entity_type", "platform"}:
            made[field.name] = draw(field.awkward)
    changed = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name))
    for field in changed:
        made[field.name] = draw(field.awkward)
    vector = _VECTORS.get((source, table))
    if vector is not None and draw(st.integers(0, 4)) < (5 if vector[1] else 2):
        made[vector[0]], dimensions = draw(values.vectors())
        if vector[1] is not None:
            claims: tuple[Value, ...] = (dimensions, dimensions, dimensions, 768, "4")
            made[vector[1]] = draw(st.sampled_from(claims))
    return Row(table, made)
