"""Which hazards a generated tree holds, told from its plan alone."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from harness.generators.plan import RawText, Row, TreePlan, Value
from harness.generators.tables import REFERENCES

__all__ = ["HAZARDS", "observed"]

_OWN_TYPES = frozenset({"context", "decision", "implementation", "debugging", "maintenance"})


def _rows(plan: TreePlan) -> Iterator[tuple[str, Row]]:
    for name, database in plan.databases().items():
        for row in database.rows:
            yield name, row


def _values(plan: TreePlan) -> Iterator[Value]:
    for _, row in _rows(plan):
        yield from row.values.values()


def _statements(plan: TreePlan) -> str:
    return "\n".join(
        statement
        for database in plan.databases().values()
        for statement in (*database.before, *database.after)
    )


def _bytes(value: Value) -> bytes:
    if isinstance(value, RawText):
        return value.data
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""


def _text(plan: TreePlan) -> Iterator[bytes]:
    return (_bytes(value) for value in _values(plan) if isinstance(value, str | RawText))


def _invalid(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def _ids(plan: TreePlan, name: str) -> list[Value]:
    return [
        row.values["id"] for source, row in _rows(plan) if source == name and "id" in row.values
    ]


def _differ_only(plan: TreePlan) -> bool:
    for name in plan.databases():
        keys = {key for key in _ids(plan, name) if isinstance(key, str)}
        if len({key.strip().lower() for key in keys}) < len(keys):
            return True
    return False


def _shared_ids(plan: TreePlan) -> bool:
    seen = [{repr(key) for key in _ids(plan, name) if key is not None} for name in plan.databases()]
    return bool(seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def _null_ids(plan: TreePlan) -> bool:
    return any(
        row.values.get("id", "") is None for _, row in _rows(plan) if row.table != "migration_log"
    )


def _several_embeddings(plan: TreePlan) -> bool:
    owners = Counter(
        repr(row.values["memory_block_id"])
        for row in plan.legacy.rows
        if row.values.get("memory_block_id") is not None
    )
    return any(count > 1 for count in owners.values())


def _dangling(plan: TreePlan) -> bool:
    for name in plan.databases():
        keys = {repr(key) for key in _ids(plan, name)}
        for source, row in _rows(plan):
            if source == name:
                referred = [v for c, v in row.values.items() if c in REFERENCES and v is not None]
                if any(repr(value) not in keys for value in referred):
                    return True
    return False


def _parent_cycle(plan: TreePlan) -> bool:
    parents = {
        repr(row.values["id"]): repr(row.values.get("parent_task_id"))
        for row in plan.root.rows
        if row.table == "task_contexts" and row.values.get("id") is not None
    }
    for start, parent in parents.items():
        at, steps = parent, 0
        while at in parents and at != start and steps < len(parents):
            at, steps = parents[at], steps + 1
        if at == start:
            return True
    return False


def _floats(plan: TreePlan) -> Iterator[float]:
    for _, row in _rows(plan):
        vector = row.values.get("embedding_vector", row.values.get("embedding"))
        if isinstance(vector, bytes) and vector and len(vector) % 4 == 0:
            yield from struct.unpack_from("<f", vector)


def _odd_vectors(plan: TreePlan) -> bool:
    return any(
        not isinstance(vector, bytes) or not vector or len(vector) % 4
        for _, row in _rows(plan)
        if (vector := row.values.get("embedding_vector")) is not None
    )


def _lengths(plan: TreePlan) -> set[int]:
    return {
        len(vector)
        for _, row in _rows(plan)
        if isinstance(vector := row.values.get("embedding_vector"), bytes)
    }


def _log_broken(plan: TreePlan) -> bool:
    lines = (plan.log or b"").split(b"\n")
    return any(not (line.startswith(b"{") and line.endswith(b"}")) for line in lines if line)


def _earlier(plan: TreePlan) -> bool:
    return any(b'"source":"migration"' in text for text in _text(plan))


def _types(plan: TreePlan) -> set[Value]:
    return {row.values.get("type") for name, row in _rows(plan) if name != "root"} - {None}


def _declared(word: str) -> Callable[[TreePlan], bool]:
    return lambda plan: word in _statements(plan)


def _state(state: str) -> Callable[[TreePlan], bool]:
    return lambda plan: any(database.state == state for database in plan.databases().values())


def _any_value(test: Callable[[Value], bool]) -> Callable[[TreePlan], bool]:
    return lambda plan: any(test(value) for value in _values(plan))


HAZARDS: Mapping[str, Callable[[TreePlan], bool]] = {
    "null-primary-keys": _null_ids,
    "several-embeddings-a-block": _several_embeddings,
    "dangling-references": _dangling,
    "parent-cycle": _parent_cycle,
    "values-outside-check-lists": lambda plan: bool(_types(plan) - _OWN_TYPES),
    "ids-that-differ-in-case-or-blanks": _differ_only,
    "ids-equal-across-databases": _shared_ids,
    "vectors-of-several-dimensions": lambda plan: len(_lengths(plan)) > 1,
    "vectors-of-odd-length": _odd_vectors,
    "nan-in-vectors": lambda plan: any(math.isnan(value) for value in _floats(plan)),
    "infinity-in-vectors": lambda plan: any(math.isinf(value) for value in _floats(plan)),
    "rows-only-in-wal": lambda plan: any(
        d.wal and d.state == "sqlite" for d in plan.databases().values()
    ),
    "earlier-attempt": _earlier,
    "zero-byte-database": _state("empty"),
    "missing-database": _state("missing"),
    "embedded-nul": lambda plan: any(b"\0" in text for text in _text(plan)),
    "invalid-utf-8": lambda plan: any(_invalid(text) for text in _text(plan)),
    "emoji": lambda plan: any(b"\xf0\x9f" in text for text in _text(plan)),
    "empty-text": _any_value(lambda value: value == ""),
    "text-like-a-number": _any_value(lambda value: value in ("007", "1e3", "12345678901234567890")),
    "integer-limits": _any_value(lambda v: isinstance(v, int) and v in (2**63 - 1, -(2**63))),
    "negative-zero": _any_value(
        lambda v: isinstance(v, float) and v == 0 and math.copysign(1, v) < 0
    ),
    "blob-for-text": _any_value(lambda v: v in (b"blob", b"a", b"{}", b"2025", b"pending")),
    "timestamps-of-several-forms": _any_value(lambda v: v == "2025-09-13T21:42:07.223Z"),
    "deleted-last-ids": _declared("DELETE FROM"),
    "added-column": _declared("ALTER TABLE"),
    "older-copy": _declared("DROP TABLE"),
    "usage-in-root": _declared("CREATE TABLE synthetic_usage"),
    "database-settings": _declared("PRAGMA"),
    "extra-without-rowid": _declared("WITHOUT ROWID"),
    "extra-generated-columns": _declared("GENERATED ALWAYS"),
    "extra-composite-key": _declared("UNIQUE (c, a)"),
    "extra-strict": _declared("STRICT"),
    "extra-typeless": _declared("(a, b)"),
    "extra-own-trigger": _declared("CREATE TRIGGER"),
    "extra-own-fulltext": _declared("content_rowid='id'"),
    "extra-own-index": _declared("CREATE INDEX"),
    "extra-own-view": _declared("CREATE VIEW"),
    "extra-foreign-key": _declared("REFERENCES memory_blocks(id)"),
    "extra-autoincrement": _declared("AUTOINCREMENT"),
    "extra-virtual-table": _declared("tokenize='porter'"),
    "broken-log-lines": _log_broken,
    "missing-log": lambda plan: plan.log is None,
    "log-without-last-newline": lambda plan: (
        bool(plan.log) and not (plan.log or b"\n").endswith(b"\n")
    ),
}
"""Every hazard that the strategies can put in, and how a plan is seen to hold it."""


def observed(plan: TreePlan) -> frozenset[str]:
    """Return the names of the hazards that `plan` holds."""
    return frozenset(name for name, holds in HAZARDS.items() if holds(plan))
