"""Which words to search a text by: few, rare, and the same ones every time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = ["queries_of"]

_WORD: Final = re.compile(r"[^\W_]+")
_ASCII_WORD: Final = re.compile(r"[A-Za-z0-9]+")
_WORDS_MAX: Final = 400
_IN_A_QUERY: Final = 3


def queries_of(texts: Sequence[tuple[int, bytes]], *, limit: int) -> tuple[dict[str, int], int]:
    """Return FTS5 queries with the row that each was made for, and how many rows have no word.

    A row gets a query of its three rarest words and one of its rarest word alone, so that both
    a row that is lost and one that is found for too much are seen. At most `limit` queries.
    """
    found = {key: _words(body) for key, body in texts}
    often = Counter(word.lower() for words in found.values() for word in set(words))
    queries: dict[str, int] = {}
    single: dict[str, int] = {}
    without = 0
    for key, words in found.items():
        rare = sorted(set(words), key=lambda word: (often[word.lower()], -len(word), word))
        if not rare:
            without += 1
            continue
        queries.setdefault(_query(rare[:_IN_A_QUERY]), key)
        single.setdefault(_query(rare[:1]), key)
    for query, key in single.items():
        if len(queries) >= limit:
            break
        queries.setdefault(query, key)
    return dict(list(queries.items())[:limit]), without


def _query(words: Sequence[str]) -> str:
    return " ".join(f'"{word}"' for word in words)


def _words(body: bytes) -> list[str]:
    """Return words whose neighbours are blanks or marks: whole tokens for any tokenizer."""
    text = body.decode("utf-8", "replace")
    plain: list[str] = []
    other: list[str] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        if len(plain) >= _WORDS_MAX:
            break
        if _joined(text[start - 1 : start]) or _joined(text[end : end + 1]):
            continue
        (plain if _ASCII_WORD.fullmatch(match.group()) else other).append(match.group())
    return plain or other[:_WORDS_MAX]


def _joined(neighbour: str) -> bool:
    """Whether a tokenizer of ASCII would take the neighbour for a part of the word."""
    return neighbour > "\x7f"
