"""What somebody may have meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "unknown_key"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of what is known where nothing is near."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(words)}"


def unknown_key(key: object, known: Iterable[str]) -> str:
    """Return the sentence's part about an unknown key, with a suggestion."""
    return f"unknown key {str(key)!r}{did_you_mean(str(key), known)}"
