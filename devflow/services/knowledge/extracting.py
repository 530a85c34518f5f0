"""What a text tells of: known names and what its sentences say. No I/O, and always the same.

The text is masked first, so nothing that `masking` takes out can become an entity or a snippet.
No person is ever extracted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from devflow.services.knowledge.cues import cues_in, sentences
from devflow.services.knowledge.gazetteer import names_in, source
from devflow.services.knowledge.masking import masked

__all__ = ["CONFIDENCE", "Extracted", "extracted", "rules_version"]

CONFIDENCE = {
    "technology": 0.8,
    "pattern": 0.7,
    "antipattern": 0.6,
    "rule": 0.6,
    "preference": 0.6,
}
"""How far an entity is believed that nobody said anything of: by its type."""

_REVISION = 2  # to be raised when the code here, in `masking` or `cues` finds something else
_READ_MAX = 65_536
_ENTITIES_MAX = 32
_SNIPPET_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """An entity that a text tells of, how often, and the sentence of the first time, masked."""

    entity_type: str
    name: str
    times: int
    snippet: str


def rules_version() -> str:
    """Return what changes when the same text may tell of something else than before."""
    names = hashlib.sha256(source().encode()).hexdigest()[:12]
    return f"{_REVISION}-{names}"


def extracted(text: str) -> list[Extracted]:
    """Return what the first 65,536 characters of a text tell of, at most 32 entities.

    They come in the order in which they are first told of, each once.
    """
    found: dict[tuple[str, str], Extracted] = {}
    for sentence in sentences(masked(text[:_READ_MAX])):
        _add(
            found,
            sentence,
            ((seen.known.entity_type, seen.known.name) for seen in names_in(sentence)),
        )
        _add(found, sentence, ((cue.entity_type, cue.name) for cue in cues_in(sentence)))
    return list(found.values())[:_ENTITIES_MAX]


def _add(
    found: dict[tuple[str, str], Extracted], sentence: str, names: Iterable[tuple[str, str]]
) -> None:
    for key in names:
        known = found.get(key)
        found[key] = Extracted(
            entity_type=key[0],
            name=key[1],
            times=known.times + 1 if known else 1,
            snippet=known.snippet if known else _shortened(sentence),
        )


def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= _SNIPPET_MAX else f"{sentence[: _SNIPPET_MAX - 1]}…"
