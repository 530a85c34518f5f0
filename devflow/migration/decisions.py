"""What became of every object of the legacy schemas, for the report to list."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DECIDED", "Decision"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one object: kept, carried, repaired, merged or dropped, and why."""

    decision: str
    rule: str
    unified_name: str | None
    reason: str = ""


def _repaired(name: str, reason: str) -> Decision:
    return Decision("repaired", "dead-object-repaired", name, reason)


def _twin(name: str) -> Decision:
    return Decision("merged", "same-index-under-two-names", name, f"the same as {name}")


def _replaced(name: str) -> Decision:
    return Decision("merged", "index-of-a-unified-table", name, f"{name} serves the same lookups")


def _stamping(name: str) -> Decision:
    reason = "overwrote a stamp that the writer had set himself"
    return Decision("repaired", "stamps-unless-set", name, reason)


def _steady(name: str) -> Decision:
    reason = (
        "was keyed by an implicit rowid, which VACUUM may renumber, and no trigger kept it in step"
    )
    return Decision("repaired", "keyed-by-a-lasting-rowid", name, reason)


_NO_VALUE = "named entity_value, a column that never was: no entity could be inserted"
_TEXT_ROWID = "used a TEXT id as a full-text rowid: no memory block could be inserted"

_ROOT: dict[tuple[str, str], Decision] = {
    ("index", "idx_task_contexts_status"): _twin("idx_task_status"),
    ("index", "idx_task_contexts_priority"): _twin("idx_task_priority"),
    ("index", "idx_task_contexts_created_at"): _twin("idx_task_created"),
    ("index", "idx_memory_session"): _replaced("idx_memory_session_created"),
    ("index", "idx_memory_blocks_created_at"): _twin("idx_memory_created"),
    ("index", "idx_cost_analytics_platform"): _twin("idx_cost_platform"),
    ("index", "idx_knowledge_entities_type"): _twin("idx_entity_type"),
    ("trigger", "update_task_contexts_timestamp"): Decision(
        "merged",
        "same-trigger-under-two-names",
        "task_contexts_update_timestamp",
        "two triggers stamped updated_at, one of them with local time taken for UTC",
    ),
    ("trigger", "task_contexts_update_timestamp"): _stamping("task_contexts_update_timestamp"),
    ("trigger", "update_memory_access"): _repaired(
        "update_memory_access", "counted every update that left content alone as an access"
    ),
    ("trigger", "memory_blocks_update_timestamp"): _repaired(
        "memory_blocks_update_timestamp", "memory_blocks had no updated_at; it has one now"
    ),
    ("trigger", "memory_embeddings_update_timestamp"): _repaired(
        "memory_embeddings_update_timestamp", "named id, a column that the table had not"
    ),
    ("trigger", "knowledge_entities_update_timestamp"): _repaired(
        "knowledge_entities_update_timestamp", "the table had no updated_at; it has one now"
    ),
    ("trigger", "trg_coordination_sessions_status_change"): _repaired(
        "trg_coordination_sessions_status_change", "the table had no status; it has one now"
    ),
    ("trigger", "trg_coordination_sessions_completion"): _repaired(
        "trg_coordination_sessions_completion", "set ended_at, which is called end_time"
    ),
    ("trigger", "trg_coordination_sessions_insert_timestamp"): _stamping(
        "trg_coordination_sessions_insert_timestamp"
    ),
    ("trigger", "trg_coordination_sessions_update_timestamp"): _stamping(
        "trg_coordination_sessions_update_timestamp"
    ),
    ("trigger", "task_contexts_completion_tracking"): Decision(
        "repaired",
        "null-counts-as-not-completed",
        "task_contexts_completion_tracking",
        "passed over a task that had no status before",
    ),
    **{
        ("trigger", f"memory_blocks_{when}"): _repaired(f"memory_blocks_{when}", _TEXT_ROWID)
        for when in ("ai", "ad", "au")
    },
    **{
        ("trigger", f"knowledge_entities_{when}"): _repaired(
            f"knowledge_entities_{when}", _NO_VALUE
        )
        for when in ("ai", "ad", "au")
    },
    ("virtual table", "memory_fts"): _steady("memory_fts"),
    ("virtual table", "tasks_fts"): _steady("tasks_fts"),
    ("virtual table", "knowledge_entities_fts"): _repaired("knowledge_entities_fts", _NO_VALUE),
    ("virtual table", "task_contexts_fts"): Decision(
        "merged", "dead-index-with-a-working-twin", "tasks_fts", "named columns that never were"
    ),
    ("virtual table", "memory_blocks_fts"): Decision(
        "merged", "dead-index-with-a-working-twin", "memory_fts", "named columns that never were"
    ),
    ("view", "active_tasks"): _repaired("active_tasks", "named task_type and platform"),
    ("view", "recent_memory_blocks"): _repaired(
        "recent_memory_blocks", "named content_type and source"
    ),
    ("view", "platform_performance_summary"): _repaired(
        "platform_performance_summary", "named metric_type, value and recorded_at"
    ),
    ("view", "knowledge_entity_types_summary"): _repaired(
        "knowledge_entity_types_summary", "named confidence, which is called confidence_score"
    ),
}

_VECTOR = {
    ("index", "idx_vector_type"): _replaced("idx_memory_label"),
    ("index", "idx_vector_model"): _replaced("idx_memory_embeddings_model"),
    ("index", "idx_vector_created"): _replaced("idx_memory_embeddings_created_at"),
}

_LEGACY = {
    **_VECTOR,
    ("index", "idx_memory_blocks_type"): _replaced("idx_memory_label"),
    ("index", "idx_embeddings_model"): _replaced("idx_memory_embeddings_model"),
    ("index", "idx_memory_embeddings_block_id"): _replaced("idx_memory_embeddings_block"),
    ("index", "idx_memory_embeddings_model_id"): _replaced("idx_memory_embeddings_model"),
    ("index", "idx_memory_embeddings_created_at"): _replaced("idx_memory_embeddings_created_at"),
    ("index", "idx_synth_usage_created"): _replaced("idx_synth_usage_created"),
    ("index", "idx_task_contexts_status"): _replaced("idx_task_status"),
    ("index", "idx_sessions_updated"): _replaced("idx_sessions_updated"),
    ("trigger", "trigger_memory_embeddings_updated_at"): _repaired(
        "memory_embeddings_update_timestamp", "set updated_at, a column that the table had not"
    ),
}

DECIDED: dict[str, dict[tuple[str, str], Decision]] = {
    "root": _ROOT,
    "legacy": _LEGACY,
    "vector": _VECTOR,
}
"""By source and (type, name): the objects that the plan knows, and what becomes of each."""
