"""Full-text search, ranked by bm25, each index in one go: FTS5 sorts, and cuts what is shown only.

To rank a row, its length has to be looked up: for a word that most rows have, that takes longer
than all the rest, and tells next to nothing. So of each index the newest two hundred rows that
hold the words are ranked, and what else holds them follows, the newest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from devflow.services.database_manager.search.words import matching
from devflow.services.pages import Page
from devflow.services.store import Connection, Row, one, rows
from devflow.services.values import text

__all__ = ["RANKED_MAX", "Place", "search"]

Place = Literal["tasks", "memory", "all"]

RANKED_MAX = 200
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
        """SQL for the hits from the key `:first` on, the best first."""
        return self._shown("rank", "rowid >= :first ORDER BY rank LIMIT :limit")

    @property
    def others(self) -> str:
        """SQL for the hits before the key `:first`, the newest first."""
        chosen = "rowid < :first ORDER BY rowid DESC LIMIT :limit OFFSET :offset"
        return self._shown("0.0", chosen)

    def _shown(self, rank: str, chosen: str) -> str:
        """Return SQL for what the chosen hits show, in their order: that of the inner query."""
        snippet = f"snippet({self.fts}, -1, '{_OPENING}', '{_CLOSING}', '{_ELLIPSIS}', {_TOKENS})"
        return (
            f"SELECT f.rank AS rank, u.id AS id, u.{self.title} AS title, u.{self.state} AS state,"
            f" u.{self.task} AS task_id, f.snippet AS snippet FROM (SELECT rowid AS seq,"
            f" {rank} AS rank, {snippet} AS snippet FROM {self.fts} WHERE {self.fts} MATCH :match"
            f" AND {chosen}) AS f CROSS JOIN {self.table} AS u ON u.seq = f.seq"
        )

    @property
    def first_ranked(self) -> str:
        """SQL for the key from which on hits are ranked, where not all of them are."""
        return (
            f"SELECT rowid AS seq FROM {self.fts} WHERE {self.fts} MATCH :match"
            f" ORDER BY rowid DESC LIMIT 1 OFFSET {RANKED_MAX - 1}"
        )

    @property
    def counted(self) -> str:
        """SQL for the number of hits."""
        return f"SELECT count(*) AS total FROM {self.fts} WHERE {self.fts} MATCH :match"


_TASKS = _Index("task", "tasks_fts", "task_contexts", "title", "status", "id")
_MEMORY = _Index("memory", "memory_fts", "memory_blocks", "label", "block_type", "task_id")
_INDEXES: dict[str, tuple[_Index, ...]] = {
    "tasks": (_TASKS,),
    "memory": (_MEMORY,),
    "all": (_TASKS, _MEMORY),
}


@dataclass(frozen=True, slots=True)
class _Hits:
    """The hits of one index: how many, and from which key on they are ranked."""

    index: _Index
    total: int
    first: int

    @property
    def ranked(self) -> int:
        return min(self.total, RANKED_MAX)

    @property
    def others(self) -> int:
        return self.total - self.ranked


def search(
    connection: Connection, words: str, *, place: Place, prefix: bool, limit: int, offset: int
) -> Page:
    """Return a page of what holds all the words, the best first, and how much there is.

    Words are taken in their root form, whatever their case.
    """
    match = matching(words, prefix=prefix)
    if match is None:
        return {"items": [], "total": 0}
    hits = [_hits(connection, index, match) for index in _INDEXES[place]]
    ranked = sum(each.ranked for each in hits)
    items: list[Row] = []
    if offset < ranked:
        for each in hits:
            asked = {"match": match, "first": each.first, "limit": offset + limit}
            items += [_shown(each, row) for row in rows(connection, each.index.ranked, asked)]
        # Of equal ranks the order stays that of FTS5, which is the same on every page.
        items = sorted(items, key=lambda item: -item["score"])[offset : offset + limit]
    passed = max(offset - ranked, 0)
    for each in hits:
        if each.others > passed and len(items) < limit:
            asked = {"match": match, "first": each.first, "offset": passed}
            asked |= {"limit": limit - len(items)}
            items += [_shown(each, row) for row in rows(connection, each.index.others, asked)]
        passed = max(passed - each.others, 0)
    return {"items": items, "total": sum(each.total for each in hits)}


def _hits(connection: Connection, index: _Index, match: str) -> _Hits:
    count = one(connection, index.counted, {"match": match})
    total = count["total"] if count else 0
    first = None if total <= RANKED_MAX else one(connection, index.first_ranked, {"match": match})
    return _Hits(index, total, first["seq"] if first else _EVERYTHING)


def _shown(hits: _Hits, row: Row) -> dict[str, Any]:
    return {
        "kind": hits.index.kind,
        "id": text(row["id"]),
        "title": text(row["title"]) or "",
        "state": text(row["state"]),
        "task_id": text(row["task_id"]),
        "snippet": text(row["snippet"]) or "",
        "score": -row["rank"],
    }
