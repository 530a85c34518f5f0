"""The embedder that needs nothing: words and their pieces, hashed into 768 dimensions.

It is lexical, not semantic: texts are near each other when they share words or parts of words
("migrate", "migration"), never because they mean the same. Each feature is hashed to one
dimension and a sign; how often a word occurs counts by its logarithm; the vector has length one.
The same text has the same vector on every machine and for ever.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from itertools import islice

import numpy as np

from devflow.services.vector_memory.vectors import Floats

__all__ = ["DIMENSIONS", "MODEL", "embedded"]

DIMENSIONS = 768
MODEL = "lexical-hash-768"
_WORDS_MAX = 20_000
_WORD_MAX = 64
_PIECES = (3, 4)
_PIECES_WEIGHT = 0.6
_WORD = re.compile(r"\w+")


def embedded(text: str) -> Floats:
    """Return the vector of a text, float32 (768,), of its first 20,000 words."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = Counter(
        match.group()[:_WORD_MAX] for match in islice(_WORD.finditer(plain), _WORDS_MAX)
    )
    if not words:
        words[plain[:_WORD_MAX]] = 1
    vector = np.zeros(DIMENSIONS, dtype=np.float64)
    for word, count in words.items():
        places, weights = _features(word)
        np.add.at(vector, places, weights * (1.0 + math.log(count)))
    length = float(np.linalg.norm(vector))
    if length == 0.0:  # features of opposite signs can meet in one dimension
        vector[0] = length = 1.0
    return (vector / length).astype(np.float32)


@lru_cache(maxsize=65_536)
def _features(word: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the dimensions of a word and its pieces, with their signed weights."""
    framed = f"<{word}>"
    pieces = [
        framed[start : start + size] for size in _PIECES for start in range(len(framed) - size + 1)
    ]
    hashed = [_hashed(f"word:{word}"), *(_hashed(f"piece:{piece}") for piece in pieces)]
    share = _PIECES_WEIGHT / math.sqrt(len(pieces)) if pieces else 0.0
    weights = np.array([1.0, *([share] * len(pieces))])
    signs = np.array([sign for _, sign in hashed])
    return np.array([place for place, _ in hashed]), weights * signs


def _hashed(feature: str) -> tuple[int, float]:
    number = int.from_bytes(blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest())
    return (number >> 1) % DIMENSIONS, 1.0 if number & 1 else -1.0
