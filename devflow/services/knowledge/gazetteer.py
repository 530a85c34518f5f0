"""The names that are known: technologies, patterns and antipatterns, found in a text by word.

`gazetteer.yaml` says which there are; the names are looked up in a table by their first word, so
that a text takes time in proportion to its length, however many names are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

__all__ = ["Known", "Seen", "Word", "known", "names_in", "source", "words_of"]

# A point, stroke or hyphen may stand between the words of a name, as a single space may.
_WORD = re.compile(r"[^\W_]+[+#]*")
_BETWEEN = frozenset((" ", "-", "_", ".", "/", "", "\n", "'"))
_PREFIX_OF_CODE = frozenset("/\\@$%&=_")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text: `plain` is what it is looked up by."""

    start: int
    end: int
    plain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A name to look for. `spelled`: only so, capitals included.

    Where `near` or `after` say something, the name is a common word too: it counts only where one
    of `near` stands in the same sentence or one of `after` right before it, and never before one
    of `not_before`.
    """

    entity_type: str
    name: str
    spelled: str | None = None
    near: frozenset[str] = field(default_factory=frozenset)
    after: frozenset[str] = field(default_factory=frozenset)
    not_before: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A known name in a text, from `start` to `end`."""

    known: Known
    start: int
    end: int


_Table = Mapping[str, Sequence[tuple[tuple[str, ...], Known]]]


def source() -> str:
    """Return the text of the list of names."""
    return (files(__package__) / "gazetteer.yaml").read_text(encoding="utf-8")


@cache
def known() -> _Table:
    """Return the names by their first word, those of most words first."""
    table: dict[str, list[tuple[tuple[str, ...], Known]]] = {}
    for entity_type, entries in yaml.safe_load(source()).items():
        for name, told in entries.items():
            for alias, one in _entries(entity_type, name, told or {}):
                words = tuple(word.plain for word in words_of(alias))
                table.setdefault(words[0], []).append((words, one))
    return {
        first: sorted(entries, key=lambda entry: (-len(entry[0]), entry[1].spelled is None))
        for first, entries in table.items()
    }


def _entries(entity_type: str, name: str, told: dict[str, Any]) -> Iterator[tuple[str, Known]]:
    context = {
        key: frozenset(word.casefold() for word in told.get(key, "").split())
        for key in ("near", "after", "not_before")
    }
    plain = Known(entity_type=entity_type, name=name)
    common = bool(context["near"] or context["after"])
    exact = common or told.get("exact", False)
    spelled = name if exact else None
    yield name, Known(entity_type=entity_type, name=name, spelled=spelled, **context)
    for alias in told.get("also", ()):
        yield alias, plain
    for alias in told.get("spelled", ()):
        yield alias, Known(entity_type=entity_type, name=name, spelled=alias)


def words_of(text: str) -> list[Word]:
    """Return the words of a text in order."""
    return [Word(m.start(), m.end(), m.group().casefold()) for m in _WORD.finditer(text)]


def names_in(text: str, words: Sequence[Word] | None = None) -> Iterator[Seen]:
    """Yield the known names of one sentence, the longest where several begin at a word."""
    words = words_of(text) if words is None else words
    table = known()
    position = 0
    while position < len(words):
        step = 1
        for name, one in table.get(words[position].plain, ()):
            if _there(text, words, position, name) and _meant(text, words, position, name, one):
                last = words[position + len(name) - 1]
                yield Seen(known=one, start=words[position].start, end=last.end)
                step = len(name)
                break
        position += step


def _there(text: str, words: Sequence[Word], position: int, name: tuple[str, ...]) -> bool:
    if position + len(name) > len(words):
        return False
    return all(
        words[position + n].plain == plain
        and (n == 0 or text[words[position + n - 1].end : words[position + n].start] in _BETWEEN)
        for n, plain in enumerate(name)
    )


def _meant(
    text: str, words: Sequence[Word], position: int, name: tuple[str, ...], one: Known
) -> bool:
    start, end = words[position].start, words[position + len(name) - 1].end
    if (start and text[start - 1] in _PREFIX_OF_CODE) or text[end : end + 1] == "_":
        return False
    if one.spelled is not None and not _spelled(text, start, end, one.spelled):
        return False
    following = position + len(name)
    after = words[following].plain if following < len(words) else ""
    if after in one.not_before:
        return False
    if not one.near and not one.after:
        return True
    before = words[position - 1].plain if position else ""
    if before in one.after:
        return True
    others = (*words[:position], *words[following:])
    return any(word.plain in one.near for word in others)


def _spelled(text: str, start: int, end: int, spelled: str) -> bool:
    lead = len(spelled) - len(spelled.lstrip("."))
    return start >= lead and text[start - lead : end] == spelled
