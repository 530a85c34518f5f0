"""Full-text search, ranked by bm25: first which rows, then what they show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from devflow.services.database_manager.search.words import matching
from devflow.services.pages import Page
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import text

__all__ = ["Place", "search"]

Place = Literal["tasks", "memory", "all"]

_OPENING, _CLOSING, _ELLIPSIS, _TOKENS = "[", "]", "…", 24


@dataclass(frozen=True, slots=True)
class _Index:
    """A full-text index: the table it is on, and the columns that a hit shows as its own."""

    kind: str
    fts: str
    table: str
    title: str
    state: str
    task: str

    @property
    def ranked(self) -> str:
        """SQL for every hit's kind, key and rank; a lower rank is better."""
        return (
            f"SELECT '{self.kind}' AS kind, rowid AS seq, bm25({self.fts}) AS rank"
            f" FROM {self.fts} WHERE {self.fts} MATCH :match"
        )

    @property
    def counted(self) -> str:
        return f"(SELECT count(*) FROM {self.fts} WHERE {self.fts} MATCH :match)"

    @property
    def details(self) -> str:
        """SQL for what the hits of the keys `:keys` show."""
        snippet = f"snippet({self.fts}, -1, '{_OPENING}', '{_CLOSING}', '{_ELLIPSIS}', {_TOKENS})"
        return (
            f"SELECT u.seq AS seq, u.id AS id, u.{self.title} AS title, u.{self.state} AS state,"
            f" u.{self.task} AS task_id, {snippet} AS snippet FROM {self.fts}"
            f" JOIN {self.table} AS u ON u.seq = {self.fts}.rowid WHERE {self.fts} MATCH :match"
            f" AND {self.fts}.rowid IN (SELECT value FROM json_each(:keys))"
        )


_TASKS = _Index("task", "tasks_fts", "task_contexts", "title", "status", "id")
_MEMORY = _Index("memory", "memory_fts", "memory_blocks", "label", "block_type", "task_id")
_INDEXES: dict[str, tuple[_Index, ...]] = {
    "tasks": (_TASKS,),
    "memory": (_MEMORY,),
    "all": (_TASKS, _MEMORY),
}
_RANKED = {
    place: " UNION ALL ".join(index.ranked for index in indexes)
    + " ORDER BY rank, kind DESC, seq LIMIT :limit OFFSET :offset"
    for place, indexes in _INDEXES.items()
}
_COUNTED = {
    place: f"SELECT {' + '.join(index.counted for index in indexes)} AS total"
    for place, indexes in _INDEXES.items()
}
_DETAILS = {index.kind: index.details for index in (_TASKS, _MEMORY)}


def search(
    connection: Connection, words: str, *, place: Place, prefix: bool, limit: int, offset: int
) -> Page:
    """Return a page of what holds all the words, the best first, and how much there is.

    Words are taken in their root form, whatever their case.
    """
    match = matching(words, prefix=prefix)
    if match is None:
        return {"items": [], "total": 0}
    asked = {"match": match}
    ranked = rows(connection, _RANKED[place], {**asked, "limit": limit, "offset": offset})
    shown = {
        kind: _shown(connection, kind, match, [row["seq"] for row in ranked if row["kind"] == kind])
        for kind in {row["kind"] for row in ranked}
    }
    count = one(connection, _COUNTED[place], asked)
    items = [
        {**shown[row["kind"]][row["seq"]], "score": -row["rank"]}
        for row in ranked
        if row["seq"] in shown[row["kind"]]
    ]
    return {"items": items, "total": count["total"] if count else 0}


def _shown(connection: Connection, kind: str, match: str, keys: list[int]) -> dict[int, Row]:
    found = rows(connection, _DETAILS[kind], {"match": match, "keys": json.dumps(keys)})
    return {
        row["seq"]: {
            "kind": kind,
            "id": text(row["id"]),
            "title": text(row["title"]) or "",
            "state": text(row["state"]),
            "task_id": text(row["task_id"]),
            "snippet": text(row["snippet"]) or "",
        }
        for row in found
    }
