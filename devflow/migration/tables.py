"""Which legacy table becomes what: the planned correspondence, forward and back.

`{column}` in a forward expression stands for the legacy row's value, NULL where an older copy
has no such column. Inverse expressions read the unified row `u` (and `e`, the embedding that a
vector memory was split into). What the inverse cannot give back exactly is found by running it,
and kept as residue; so a wrong line here costs residue, never data.
"""

from __future__ import annotations

from devflow.migration.targets import (
    TableMap,
    Target,
    all_same,
    between,
    filled,
    listed,
    same_names,
)

__all__ = ["PLANNED", "planned"]

PLATFORMS = ("claude_code", "openai_codex", "gemini_cli", "cursor", "openrouter")
PRIORITIES = ("h-", "m-", "l-", "?-")
STATUSES = ("planning", "active", "blocked", "completed", "archived")
LEGACY_STATUSES = {
    "pending": "planning",
    "in_progress": "active",
    "running": "active",
    "done": "completed",
    "cancelled": "archived",
}
LEGACY_PRIORITIES = {"urgent": "h-", "high": "h-", "medium": "m-", "low": "l-"}
SESSION_TYPES = ("development", "review", "debugging", "handoff", "planning")
ENTITY_TYPES = ("person", "technology", "pattern", "antipattern", "rule", "preference")
VALIDATIONS = ("pending", "confirmed", "rejected")
BLOCK_TYPES = (
    "architectural",
    "implementation",
    "debugging",
    "maintenance",
    "context",
    "decision",
    "emergency_context",
    "context_snapshot",
)


_TASKS = (
    "id title description priority status complexity_score estimated_duration_minutes"
    " required_capabilities primary_platform platform_routing architectural_context"
    " implementation_context debugging_context maintenance_context cc_session_id cc_task_file"
    " branch_name parent_task_id depends_on created_at updated_at completed_at"
)
_USAGE = "id provider agent_type model duration_ms tokens_in tokens_out cost_usd created_at"
_USAGE_SPECIAL = {
    **filled("provider agent_type created_at"),
    "duration_ms": "COALESCE({duration_ms}, 0)",
}
_SESSIONS = "id name context metadata created_at updated_at"
_SESSIONS_SPECIAL = filled("name created_at updated_at")
_VECTOR_SPECIAL = {
    "embedding": "COALESCE({embedding}, x'')",
    "model": "COALESCE({model}, '')",
    "dimensions": "COALESCE({dimensions}, 0)",
}


def _root() -> tuple[TableMap, ...]:
    """Return the rich tables, which become the unified ones under their own names."""
    return (
        same_names(
            "task_contexts",
            _TASKS,
            special={
                "title": "COALESCE({title}, '')",
                "priority": listed("{priority}", PRIORITIES, "'?-'"),
                "status": listed("{status}", STATUSES, "NULL"),
                "complexity_score": between("{complexity_score}", 0.0, 1.0),
                "primary_platform": listed("{primary_platform}", PLATFORMS[:-1], "NULL"),
            },
        ),
        same_names(
            "memory_blocks",
            "id task_id session_id block_type label content metadata importance_score"
            " relationships embedding embedding_model created_at last_accessed access_count",
            special={
                "task_id": "COALESCE({task_id}, '')",
                "session_id": "COALESCE({session_id}, '')",
                "block_type": listed("{block_type}", BLOCK_TYPES, "'context'"),
                "label": "COALESCE({label}, '')",
                "content": "COALESCE({content}, '')",
                "importance_score": between("{importance_score}", 0.0, 1.0),
            },
        ),
        same_names(
            "memory_block_embeddings",
            "block_id embedding model dimensions created_at updated_at",
            special=_VECTOR_SPECIAL,
            target={"identity": None},
        ),
        same_names(
            "coordination_sessions",
            "id task_id platform session_type start_time end_time duration_seconds tokens_used"
            " api_calls estimated_cost_usd model_used context_size_start context_size_end"
            " compaction_events handoff_from_session handoff_to_session handoff_context"
            " handoff_success user_satisfaction task_progress_delta errors_encountered metadata"
            " updated_at",
            generated=("duration_seconds",),
            special={
                "task_id": "COALESCE({task_id}, '')",
                "platform": listed("{platform}", PLATFORMS, "'openrouter'"),
                "session_type": listed("{session_type}", SESSION_TYPES, "NULL"),
                "user_satisfaction": between("{user_satisfaction}", 1, 5),
                "task_progress_delta": between("{task_progress_delta}", -1.0, 1.0),
            },
            extra={"status": "CASE WHEN {end_time} IS NULL THEN 'active' ELSE 'completed' END"},
        ),
        same_names(
            "platform_performance",
            "id platform capability_domain task_type success_rate average_duration_seconds"
            " average_token_usage average_cost_usd user_satisfaction_avg total_tasks"
            " measurement_period_start measurement_period_end confidence_score last_updated",
            special={
                **filled("platform capability_domain task_type"),
                "success_rate": between("{success_rate}", 0.0, 1.0),
                "user_satisfaction_avg": between("{user_satisfaction_avg}", 1.0, 5.0),
                "confidence_score": between("{confidence_score}", 0.0, 1.0),
            },
        ),
        same_names(
            "cost_analytics",
            "id date platform model total_requests total_tokens total_cost_usd input_tokens"
            " output_tokens average_tokens_per_request cost_per_token tasks_completed"
            " cost_per_task created_at",
            special=filled("date platform model"),
        ),
        same_names(
            "knowledge_entities",
            "id entity_type name description confidence_score extraction_source"
            " learned_from_task_id first_seen last_confirmed usage_count validation_status"
            " embedding tags",
            special={
                **filled("extraction_source"),
                # One name may be there once a type: a type that is none joins the name.
                "name": f"CASE WHEN {{entity_type}} IN {ENTITY_TYPES} THEN COALESCE({{name}}, '')"
                " ELSE COALESCE({name}, '') || ' [' || COALESCE({entity_type}, '') || ']' END",
                "entity_type": listed("{entity_type}", ENTITY_TYPES, "'pattern'"),
                "confidence_score": between("{confidence_score}", 0.0, 1.0),
                "validation_status": listed("{validation_status}", VALIDATIONS, "NULL"),
            },
        ),
        same_names(
            "knowledge_entity_embeddings",
            "entity_id embedding model dimensions created_at updated_at",
            special=_VECTOR_SPECIAL,
            target={"identity": None},
        ),
        same_names(
            "entity_relationships",
            "id source_entity_id target_entity_id relationship_type relationship_strength"
            " context_description discovered_at confirmed_count last_confirmed",
            special={
                **filled("source_entity_id target_entity_id relationship_type"),
                "relationship_strength": between("{relationship_strength}", 0.0, 1.0),
            },
        ),
        same_names(
            "schema_versions",
            "version applied_at description",
            target={"identifier": "version"},
        ),
        same_names("schema_version", "version applied_at", target={"identifier": "version"}),
        same_names(
            "session_audit_log",
            "id session_id old_status new_status changed_at",
            target={"identifier": None, "key": "id"},
            special={"session_id": "COALESCE({session_id}, '')"},
        ),
        same_names("synthetic_usage", _USAGE, special=_USAGE_SPECIAL),
        same_names("sessions", _SESSIONS, special=_SESSIONS_SPECIAL),
    )


def _vector_memories(source: str) -> TableMap:
    """Return a table of text with its embedding, which is split into a block and its vector."""
    block = Target(
        table="memory_blocks",
        forward={
            "task_id": ":import_task",
            "session_id": f"'{source}-import'",
            "block_type": listed("{type}", BLOCK_TYPES, "'context'"),
            "label": "COALESCE({type}, '')",
            "content": "COALESCE({content}, '')",
            "metadata": "{metadata}",
            "embedding_model": "NULL",
            "created_at": "{created_at}",
            "last_accessed": "{created_at}",
            "access_count": "0",
        },
        same=("u.id = p.id", "u.content IS {content}"),
    )
    vector = Target(
        table="memory_block_embeddings",
        origin_key="embedding_seq",
        identity=None,
        forward={
            "block_id": "(SELECT b.id FROM memory_blocks AS b WHERE b.seq = p.seq)",
            "model": "COALESCE({model_id}, '')",
            "dimensions": "COALESCE({dimensions}, 0)",
            "embedding": "COALESCE({embedding_vector}, x'')",
            "created_at": "{created_at}",
            "updated_at": "{created_at}",
        },
        same=(
            "u.block_id = (SELECT b.id FROM memory_blocks AS b WHERE b.seq = p.seq)",
            "u.model IS {model_id}",
            "u.dimensions IS {dimensions}",
            "u.embedding IS {embedding_vector}",
        ),
    )
    return TableMap(
        source=source,
        table="vector_memories",
        targets=(block, vector),
        inverse={
            "id": "u.id",
            "content": "u.content",
            "type": "u.label",
            "metadata": "u.metadata",
            "embedding_vector": "e.embedding",
            "dimensions": "e.dimensions",
            "model_id": "e.model",
            "created_at": "e.created_at",
        },
        required=("id", "content", "embedding_vector"),
        # A block that is another's too has that one's time.
        shown={"created_at": "CASE WHEN o.rule = 'merged' THEN e.created_at ELSE u.created_at END"},
    )


def _legacy() -> tuple[TableMap, ...]:
    """Return the Database Manager's basic tables."""
    owner = (
        "(SELECT b.id FROM src_legacy.memory_blocks AS m"
        " JOIN origin_legacy_memory_blocks AS k ON k.source_rowid = m.rowid"
        " JOIN memory_blocks AS b ON b.seq = k.seq WHERE m.id = {memory_block_id})"
    )
    block_id = f"COALESCE({owner}, {{memory_block_id}})"
    tasks = TableMap(
        source="legacy",
        table="task_contexts",
        targets=(
            Target(
                table="task_contexts",
                forward={
                    "title": "COALESCE({title}, '')",
                    "description": "{description}",
                    "status": listed("{status}", STATUSES, "'planning'", **LEGACY_STATUSES),
                    "priority": listed("{priority}", PRIORITIES, "'?-'", **LEGACY_PRIORITIES),
                    "created_at": "{created_at}",
                    "updated_at": "{updated_at}",
                },
                same=("u.id = p.id", "u.title IS {title}", "u.description IS {description}"),
            ),
        ),
        inverse={
            "id": "u.id",
            "title": "u.title",
            "description": "u.description",
            "status": "u.status",
            "priority": "u.priority",
            "created_at": "u.created_at",
            "updated_at": "u.updated_at",
        },
        required=("id", "title"),
    )
    blocks = TableMap(
        source="legacy",
        table="memory_blocks",
        targets=(
            Target(
                table="memory_blocks",
                forward={
                    "task_id": ":import_task",
                    "session_id": "'legacy-import'",
                    "block_type": listed("{type}", BLOCK_TYPES, "'context'"),
                    "label": "COALESCE({type}, '')",
                    "content": "COALESCE({content}, '')",
                    "embedding": "{embedding}",
                    "embedding_model": "NULL",
                    "created_at": "{timestamp}",
                    "last_accessed": "{timestamp}",
                    "access_count": "0",
                },
                same=("u.id = p.id", "u.content IS {content}"),
                repairs={
                    "block_type": listed("{type}", BLOCK_TYPES, "'context'"),
                    "label": "COALESCE({type}, '')",
                    "created_at": "{timestamp}",
                    "embedding": "COALESCE({embedding}, u.embedding)",
                },
            ),
        ),
        inverse={
            "id": "u.id",
            "content": "u.content",
            "type": "u.label",
            "timestamp": "u.created_at",
            "embedding": "u.embedding",
        },
        required=("id", "content"),
    )
    embeddings = TableMap(
        source="legacy",
        table="memory_block_embeddings",
        targets=(
            Target(
                table="memory_block_embeddings",
                forward={
                    "block_id": block_id,
                    "model": "COALESCE({model_id}, '')",
                    "dimensions": "COALESCE({dimensions}, 0)",
                    "embedding": "COALESCE({embedding_vector}, x'')",
                    "created_at": "{created_at}",
                    "updated_at": "{created_at}",
                },
                # While every block kept its identifier, what names it stays true as it is.
                met=(
                    "SELECT 1 FROM origin_legacy_memory_blocks"
                    " WHERE rule NOT IN ('kept', 'keyed') LIMIT 1",
                    "SELECT 1 FROM memory_block_embeddings AS u CROSS JOIN"
                    " src_legacy.memory_block_embeddings AS s ON {memory_block_id} = u.block_id"
                    " WHERE u.seq <= :base LIMIT 1",
                ),
                straight={"block_id": "{memory_block_id}"},
                same=(
                    f"u.block_id = {block_id}",
                    "u.model IS {model_id}",
                    "u.dimensions IS {dimensions}",
                    "u.embedding IS {embedding_vector}",
                ),
            ),
        ),
        inverse={
            "id": "u.id",
            "memory_block_id": "u.block_id",
            "model_id": "u.model",
            "embedding_vector": "u.embedding",
            "dimensions": "u.dimensions",
            "created_at": "u.created_at",
        },
        required=("id", "embedding_vector"),
    )
    return (
        tasks,
        blocks,
        embeddings,
        same_names(
            "synthetic_usage",
            _USAGE,
            source="legacy",
            special=_USAGE_SPECIAL,
            same=all_same(_USAGE),
        ),
        same_names(
            "sessions",
            _SESSIONS,
            source="legacy",
            special=_SESSIONS_SPECIAL,
            same=all_same(_SESSIONS),
        ),
        _vector_memories("legacy"),
    )


PLANNED: tuple[TableMap, ...] = (*_root(), *_legacy(), _vector_memories("vector"))
"""Every planned table, in the order in which they are copied: what is referred to comes first."""


def planned(source: str, table: str) -> TableMap | None:
    """Return the plan for a legacy table, or None where nobody planned for it."""
    return next((m for m in PLANNED if m.source == source and m.table == table), None)
