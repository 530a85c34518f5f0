"""The Database Manager: tasks, memory, sessions and their handoffs, and search over them."""

from devflow.services.app import Service
from devflow.services.database_manager.coordination.api import router as coordination
from devflow.services.database_manager.legacy.api import router as legacy
from devflow.services.database_manager.memory.api import router as memory
from devflow.services.database_manager.search.api import router as search
from devflow.services.database_manager.tasks.api import router as tasks

__all__ = ["SERVICE"]

SERVICE = Service(
    name="database-manager",
    title="DevFlow Database Manager",
    description=(
        "Tasks with their hierarchy, dependencies and states; memory blocks with their"
        " embeddings; sessions, coordination sessions and handoffs; search over tasks and memory."
        " The old routes answer as the old Database Manager did."
    ),
    # Routes are tried one by one: what is asked most stands first.
    routers=(search, legacy, memory, tasks, coordination),
    tables=(
        "task_contexts",
        "memory_blocks",
        "memory_block_embeddings",
        "coordination_sessions",
        "session_audit_log",
        "sessions",
        "synthetic_usage",
        "memory_fts",
        "tasks_fts",
    ),
)
