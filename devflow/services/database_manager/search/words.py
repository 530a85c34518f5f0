"""What people type, as a full-text query that has no syntax of its own."""

from __future__ import annotations

__all__ = ["any_of", "matching"]


def _phrases(words: str) -> list[str]:
    """Return the words that the tokenizer finds something in, each quoted.

    To the `ascii` tokenizer, ASCII letters and digits and everything beyond ASCII are parts of
    words; what else there is only divides them.
    """
    shown = words.replace("\0", " ").split()
    held = [w for w in shown if any(c.isalnum() or ord(c) > 127 for c in w)]
    return ['"' + word.replace('"', '""') + '"' for word in held]


def matching(words: str, *, prefix: bool = False) -> str | None:
    """Return the query for rows that hold all the words, the last one perhaps only begun.

    None where there is no word at all.
    """
    phrases = _phrases(words)
    if not phrases:
        return None
    return " ".join(phrases) + (" *" if prefix else "")


def any_of(words: str, *, most: int = 64) -> str | None:
    """Return the query for rows that hold any of the words, of which the first `most` are taken."""
    phrases = list(dict.fromkeys(_phrases(words.lower())))[:most]
    return " OR ".join(phrases) if phrases else None
