"""Knowledge: how much of what labelled notes tell of is found, how fast, and what again costs.

The notes and their labels are in `fixtures/knowledge/`. Found and labelled entities are compared
note by note: precision is the share of those found that are labelled, recall the share of those
labelled that are found. The speed is that of the service's own learner on a migrated database.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bench.migrating import migrate
from devflow.services.knowledge.background import Learner
from devflow.services.knowledge.extracting import extracted
from devflow.services.store import Connection, Store
from harness.fixture.build import build
from harness.fixture.recipe import Recipe

__all__ = ["BLOCKS", "FILES", "Note", "compared", "knowledge_lines", "measure_knowledge", "notes"]

BLOCKS = 10_000
FILES = ("development", "held-out")
_FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "knowledge"
_TYPES = ("technology", "pattern", "antipattern", "rule", "preference")
_FACTS = (
    "SELECT k.entity_type, k.name, m.block_seq, m.times, m.snippet FROM knowledge_mentions AS m"
    " JOIN knowledge_entities AS k ON k.seq = m.entity_seq ORDER BY 1, 2, 3",
    "SELECT a.name, b.name, r.relationship_strength, r.confirmed_count"
    " FROM entity_relationships AS r JOIN knowledge_entities AS a ON a.id = r.source_entity_id"
    " JOIN knowledge_entities AS b ON b.id = r.target_entity_id ORDER BY 1, 2",
)

Told = dict[str, Any]
_Named = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Note:
    """A text, and what it tells of: pairs of type and name."""

    text: str
    labels: frozenset[_Named]


def notes(name: str) -> list[Note]:
    """Read the labelled notes of one file in `fixtures/knowledge/`."""
    read = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return [
        Note(
            one["text"],
            frozenset((kind, _plain(label)) for kind in _TYPES for label in one.get(kind, ())),
        )
        for one in read
    ]


def _plain(name: str) -> str:
    return " ".join(name.casefold().strip(" .!").split())


def compared(labelled: Sequence[Note]) -> Told:
    """Return what extraction makes of the notes: `all` and each type, and what differs."""
    counts = {kind: Counter[str]() for kind in _TYPES}
    wrong: list[str] = []
    for note in labelled:
        found = {(one.entity_type, _plain(one.name)) for one in extracted(note.text)}
        for kind in _TYPES:
            mine = {one for one in found if one[0] == kind}
            labels = {one for one in note.labels if one[0] == kind}
            counts[kind] += Counter(found=len(mine), labelled=len(labels), both=len(mine & labels))
        wrong += [f"not there: {kind} {name}" for kind, name in sorted(found - note.labels)]
        wrong += [f"not found: {kind} {name}" for kind, name in sorted(note.labels - found)]
    told: Told = {kind: _shares(counted) for kind, counted in counts.items()}
    told["all"] = _shares(sum(counts.values(), Counter()))
    return {"notes": len(labelled), **told, "differences": wrong}


def _shares(counted: Counter[str]) -> Told:
    both = counted["both"]
    return {
        "found": counted["found"],
        "labelled": counted["labelled"],
        "precision": both / counted["found"] if counted["found"] else 1.0,
        "recall": both / counted["labelled"] if counted["labelled"] else 1.0,
    }


def measure_knowledge(*, blocks: int = BLOCKS, seed: int, say: Callable[[str], None]) -> Told:
    """Compare with the labels, then learn `blocks` blocks: at first, again, and all anew.

    `again` has nothing to learn, `anew` has everything, as after a change of the rules; after
    either the database must say what it said after the first time.
    """
    told: Told = {name: compared(notes(name)) for name in FILES}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        tree = Path(folder) / "tree"
        build(Recipe(profile="empty", seed=seed), tree)
        migrate(str(tree))
        with Store(tree / "devflow.sqlite") as store:
            store.write_now(partial(_fill, blocks=blocks))
            say(f"{blocks:,} blocks to learn")
            told["learning"] = asyncio.run(_learning(store))
    say(f"{blocks:,} blocks learned")
    return told


def _fill(connection: Connection, *, blocks: int) -> None:
    """Put in blocks that cycle through all labelled notes, each with a number of its own."""
    texts = [note.text for name in FILES for note in notes(name)]
    connection.execute("INSERT INTO task_contexts (id, title) VALUES ('bench', 'To be learned of')")
    connection.executemany(
        "INSERT INTO memory_blocks (id, task_id, session_id, block_type, label, content)"
        " VALUES (?, 'bench', 'bench', 'context', 'note', ?)",
        ((f"note-{n:06}", f"{texts[n % len(texts)]} Run {n}.") for n in range(blocks)),
    )


async def _learning(store: Store) -> Told:
    learner = Learner(store)

    async def timed() -> tuple[int, float]:
        began = time.perf_counter()
        return await learner.learn_all(), time.perf_counter() - began

    blocks, first_s = await timed()
    knows = await store.read(_digest)
    _, again_s = await timed()
    same = await store.read(_digest) == knows
    await store.write(_forget_rules)
    anew, anew_s = await timed()
    if anew != blocks or not same or await store.read(_digest) != knows:
        raise SystemExit("bench: what was learned twice is not what was learned once")
    counts = await store.read(_counts)
    return {
        "blocks": blocks,
        **counts,
        "seconds": first_s,
        "per_second": blocks / first_s,
        "again_ratio": again_s / first_s,
        "anew_ratio": anew_s / first_s,
    }


def _digest(connection: Connection) -> str:
    facts = [connection.execute(sql).fetchall() for sql in _FACTS]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _forget_rules(connection: Connection) -> None:
    connection.execute("UPDATE knowledge_learned SET rules = 'older ones'")


def _counts(connection: Connection) -> Told:
    tables = {
        "entities": "knowledge_entities",
        "mentions": "knowledge_mentions",
        "relationships": "entity_relationships",
    }
    return {
        name: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
        for name, table in tables.items()
    }


def knowledge_lines(told: Told) -> Iterator[str]:
    """Yield the figures as plain lines: precision and recall by type, and what learning takes."""
    yield "knowledge: entities of labelled notes, precision / recall (labels)"
    yield f"  {'':<14}" + "".join(f"{name:>24}" for name in FILES)
    for kind in (*_TYPES, "all"):
        cells = (told[name][kind] for name in FILES)
        yield f"  {kind:<14}" + "".join(map(_cell, cells))
    learned = told["learning"]
    yield (
        f"  learned {learned['blocks']:,} blocks, {learned['mentions']:,} mentions of"
        f" {learned['entities']:,} entities in {learned['relationships']:,} relationships:"
        f" {learned['per_second']:,.0f} blocks a second"
    )
    yield (
        f"  learned again, where nothing changed: {learned['again_ratio']:.4f} of that time;"
        f" all anew, where the rules changed: {learned['anew_ratio']:.2f}; the same each time"
    )


def _cell(one: Told) -> str:
    labels = f"({one['labelled']})"
    return f"{one['precision']:>10.3f} / {one['recall']:.3f}{labels:>6}"
