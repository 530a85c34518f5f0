"""Full-text search, ranked by bm25: first which rows, then what they show.

To rank a row, its length has to be looked up: for a word that most rows have, that takes longer
than all the rest, and tells next to nothing. So of each index the newest five hundred rows that
hold the words are ranked, and what else holds them follows, the newest first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from devflow.services.database_manager.search.words import matching
from devflow.services.pages import Page
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import text

__all__ = ["RANKED_MAX", "Place", "search"]

Place = Literal["tasks", "memory", "all"]

RANKED_MAX = 500
"""Rows of an index that are ranked at most."""
_EVERYTHING = -(2**63)
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
        """SQL for kind, key and rank of the hits that are ranked; a lower rank is better."""
        return (
            f"SELECT '{self.kind}' AS kind, rowid AS seq, bm25({self.fts}) AS rank"
            f" FROM {self.fts} WHERE {self.fts} MATCH :match AND rowid >= :{self.kind}"
        )

    @property
    def others(self) -> str:
        """SQL for the kind and key of the hits before those that are ranked."""
        return (
            f"SELECT '{self.kind}' AS kind, rowid AS seq, 0.0 AS rank"
            f" FROM {self.fts} WHERE {self.fts} MATCH :match AND rowid < :{self.kind}"
        )

    @property
    def first_ranked(self) -> str:
        """SQL for the key from which on hits are ranked; no row where all of them are."""
        return (
            f"SELECT rowid AS seq FROM {self.fts} WHERE {self.fts} MATCH :match"
            f" ORDER BY rowid DESC LIMIT 1 OFFSET {RANKED_MAX - 1}"
        )

    @property
    def counted(self) -> str:
        """SQL for the number of hits."""
        return f"SELECT count(*) AS total FROM {self.fts} WHERE {self.fts} MATCH :match"

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
_OTHERS = {
    place: " UNION ALL ".join(index.others for index in indexes)
    + " ORDER BY kind DESC, seq DESC LIMIT :limit OFFSET :offset"
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
    asked: dict[str, Any] = {"match": match}
    total = ranked = 0
    for index in _INDEXES[place]:
        first = one(connection, index.first_ranked, {"match": match})
        count = one(connection, index.counted, {"match": match})
        asked[index.kind] = first["seq"] if first else _EVERYTHING
        number = count["total"] if count else 0
        total, ranked = total + number, ranked + min(number, RANKED_MAX)
    found: list[Row] = []
    if offset < ranked:
        found = rows(connection, _RANKED[place], {**asked, "limit": limit, "offset": offset})
    if ranked < total and offset + limit > ranked:
        left = {"limit": limit - len(found), "offset": max(offset - ranked, 0)}
        found += rows(connection, _OTHERS[place], asked | left)
    shown = {
        kind: _shown(connection, kind, match, [row["seq"] for row in found if row["kind"] == kind])
        for kind in {row["kind"] for row in found}
    }
    items = [
        {**shown[row["kind"]][row["seq"]], "score": -row["rank"]}
        for row in found
        if row["seq"] in shown[row["kind"]]
    ]
    return {"items": items, "total": total}


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
