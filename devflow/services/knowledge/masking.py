"""Takes out of a text what is personal or secret before anything is learned of it. No I/O.

Masked are e-mail addresses, telephone numbers, secrets of known shapes and those that a key
announces, addresses with a password, home directories, network addresses, `@names`, and common
given names with the surname that follows. Each becomes a word in brackets. A name that is in no
list stays, as does a secret that looks like a word: nothing else than the words of a sentence is
ever learned, and a sentence with a mask in it is learned by no cue at all.
"""

from __future__ import annotations

import re
from importlib.resources import files

import yaml

__all__ = ["MASK", "masked"]

MASK = re.compile(r"\[(?:e-mail|phone|secret|home|address|person)\]")
"""What stands in a masked text for what was taken out."""

_GIVEN = tuple(
    yaml.safe_load((files(__package__) / "given_names.yaml").read_text(encoding="utf-8"))
)
_WORD = r"[^\W\d_]"
_ANNOUNCING = (
    r"(?i:password|passwd|pwd|passphrase|secret|token|api[ _-]?key|access[ _-]?key"
    r"|private[ _-]?key|credential|authorization|bearer)s?"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL),
        "[secret]",
    ),
    # https://user:password@host
    (re.compile(r"(?<=://)[^\s/@:]+:[^\s/@]+@"), "[secret]@"),
    (
        re.compile(
            r"\b(?:sk|pk|rk|ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs]|AKIA|ASIA|AIza|hf|npm|pypi)"
            r"[-_]?[A-Za-z0-9_-]{12,}"
        ),
        "[secret]",
    ),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+){1,2}"), "[secret]"),
    (
        re.compile(
            rf"(\b{_ANNOUNCING}\b[\"']?\s*(?:[:=]|\bis\b)\s*[\"']?)(?!\[)([^\s\"',;]{{4,}})"
        ),
        r"\1[secret]",
    ),
    (re.compile(r"(\b(?i:bearer|basic)\s+)[A-Za-z0-9+/_.=-]{12,}"), r"\1[secret]"),
    # Long runs of digits and letters together: keys, digests, session ids.
    (re.compile(r"\b(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{28,}={0,2}"), "[secret]"),
    (re.compile(rf"[\w.+%-]+@{_WORD}[\w-]*(?:\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"(?:/home/|/Users/|\b[A-Za-z]:\\Users\\)[^\s/\\\"'`,;:)]+"), "[home]"),
    (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)"), "[address]"),
    (
        re.compile(
            r"(?<![\w./:-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}"
            r"|\(\d{2,5}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,2}|\d{3}[.-]\d{3}[.-]\d{4}"
            r"|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,5})(?![\w-])"
        ),
        "[phone]",
    ),
    (re.compile(r"(?<![\w/@.`])@[A-Za-z][\w-]{1,38}(?![\w(/.]*[(/])"), "[person]"),
    (re.compile(rf"\b(?:Mrs|Mr|Ms|Dr|Prof)\.?\s+[A-Z]{_WORD}+(?:\s+[A-Z]{_WORD}+)?"), "[person]"),
    (
        re.compile(rf"\b(?:{'|'.join(_GIVEN)})(?:\s+[A-Z]{_WORD}+(?:-[A-Z]{_WORD}+)?)?(?![\w-])"),
        "[person]",
    ),
)


def masked(text: str) -> str:
    """Return the text with a word in brackets for each thing that nobody should learn."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
