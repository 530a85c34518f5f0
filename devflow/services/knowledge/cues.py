"""What sentences say by their words: rules, preferences, patterns and antipatterns. No I/O.

A rule is a sentence that orders ("always", "never", "must", "have to"), a preference one that puts
something first ("prefer", "rather than", "we like … over"), a pattern a phrase that calls itself
one, an antipattern what is to be avoided or is called one. A question, a story ("it never
worked"), a sentence of or about one person, and one from which something was masked tell nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from devflow.services.knowledge.masking import MASK

__all__ = ["Cue", "cues_in", "sentences"]

_NAME_MAX = 160
_RULE_WORDS_MIN = 3
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)", re.DOTALL)
_LINK = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
# A sentence ends at a full stop before a space, at a line that begins an item, at an empty line.
_END = re.compile(
    r"""(?<=[.!?])["')]*\s+(?=["'(`*]*[A-Z0-9\[])|\n\s*(?=[-*•#>]|\d+[.)]\s)|\n\s*\n|;\s+"""
)
_LEAD = re.compile(
    r"""^(?:[-*•#>\s]+|\d+[.)]\s+|(?:\*\*)?
    (?:note|rule|remember|reminder|important|decision|decided|lesson|lesson\ learned|convention
    |policy|guideline|preference|tip|warning|todo|also|and|so|but|therefore|please|pattern
    |anti-?pattern)(?:\*\*)?\s*[:,–—-]+\s*)+""",
    re.IGNORECASE | re.VERBOSE,
)
_RULE = re.compile(
    r"""\b(?:always|never|must(?:\ not|n't)?|shall(?:\ not)?|do\ not|don't|make\ sure
    |ensure(?:\ that)?|under\ no\ circumstances|ha(?:s|ve)\ to|every\ [^.;:]{1,60}?\ needs?
    |(?:is|are)\ (?:not\ allowed|forbidden|required|mandatory))\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NO_RULE = re.compile(
    r"""\b(?:must\ (?:have|be\ (?:because|due|a\ bug|that))
    |(?:has|have|had|is|are|was|were|it|they|which|that)\ (?:always|never)
    |(?:as|almost|nearly)\ always
    |never\ (?:mind|saw|seen|got|ran|came|\w+[^e\s]ed)
    |(?:i|they|you)\ (?:don't|do\ not|must)
    |(?:i|we|they|you)\ have\ to
    |(?:we|users|clients|people)\ (?:don't|do\ not)\ (?:know|see|have|need)
    |(?:don't|do\ not)\ (?:know|think|see|worry|mind|get|understand|yet)
    |always\ (?:been|failed|returned|worked))\b""",
    re.IGNORECASE | re.VERBOSE,
)
_PREFERENCE = re.compile(
    r"""\b(?:prefers?|preferred|preferably|favou?rs?|rather\ than|would\ rather|we'd\ rather)\b
    |\b(?:like|likes|choose|chose|pick|picked)\b[^.;]{1,80}\bover\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ONE_PERSON = re.compile(r"\b(?:he|she|his|her)\b", re.IGNORECASE)
_PATTERN = re.compile(
    r"\b((?:[A-Za-z][\w/-]*\s){1,3})(?<!anti)(?<!anti-)(?:design\s)?patterns?\b", re.IGNORECASE
)
_NO_PATTERN = frozenset(
    re.findall(
        r"[a-z]+",
        "a an the this that these those our your its same such any some each every which "
        "what another common following new old existing general usual good bad nice anti "
        "design with by of in for on to and or use using uses used apply applying applied "
        "follow follows followed following adopt adopted is are was as via implement "
        "implements implemented see known glob regex search match matching url route "
        "naming file string date log grep path format branch clear recurring ",
    )
)
_ANTIPATTERN = re.compile(
    r"""\b(?:avoid(?:s|ed|ing)?|steer\ clear\ of|stay\ away\ from|stop)\s+
    (?:the\s+|an?\s+|any\s+|all\s+)?(?P<avoided>[^.;:,()]{3,80})
    |(?P<called>[^.;:,()]{3,80}?)\s+(?:is|are|was|were|as|became)\s+(?:an?\s+|another\s+)?
    (?:known\s+|classic\s+|clear\s+|common\s+)?anti-?patterns?\b""",
    re.IGNORECASE | re.VERBOSE,
)
_PHRASE_END = re.compile(
    r"""\s+(?:because|since|when|where|whenever|unless|until|if|so|as\ it|as\ they|which|that
    |instead|and\ (?:use|prefer|keep|put)|but|whatever|wherever|at\ all\ costs|from\ now\ on
    |in\ favou?r\ of)\b.*$""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_PHRASE_WORDS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What a sentence says: its type, the name that it gets, and where in the sentence it is."""

    entity_type: str
    name: str


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a masked text, without code blocks and addresses of pages."""
    plain = _LINK.sub(" ", _CODE.sub("\n\n", text))
    for part in _END.split(plain):
        if sentence := " ".join(part.split()):
            yield sentence


def cues_in(sentence: str) -> Iterator[Cue]:
    """Yield what one sentence says; nothing where something was masked in it."""
    if MASK.search(sentence) or sentence.endswith("?") or _ONE_PERSON.search(sentence):
        return
    told = _LEAD.sub("", sentence).strip(" *_\"'").rstrip(".! ")
    words = len(told.split())
    if _PREFERENCE.search(told):
        if words >= _RULE_WORDS_MIN and len(told) <= _NAME_MAX:
            yield Cue(entity_type="preference", name=_named(told))
    elif (
        _RULE.search(told)
        and not _NO_RULE.search(told)
        and words >= _RULE_WORDS_MIN
        and len(told) <= _NAME_MAX
    ):
        yield Cue(entity_type="rule", name=_named(told))
    yield from _patterns(told)


def _patterns(told: str) -> Iterator[Cue]:
    for found in _PATTERN.finditer(told):
        words = found.group(1).split()
        while words and words[0].casefold() in _NO_PATTERN:
            del words[0]
        if words and not any(word.casefold() in _NO_PATTERN for word in words):
            yield Cue(entity_type="pattern", name=f"{' '.join(words).lower()} pattern")
    for found in _ANTIPATTERN.finditer(told):
        phrase = _PHRASE_END.sub("", found.group("avoided") or found.group("called")).strip()
        if phrase and len(phrase.split()) <= _PHRASE_WORDS_MAX:
            yield Cue(entity_type="antipattern", name=_named(phrase))


def _named(told: str) -> str:
    """Return the sentence as a name: its first letter small, unless its first word is a name."""
    first, _, rest = told.partition(" ")
    return (
        told
        if any(c.isupper() for c in first[1:])
        else f"{first.lower()}{' ' if rest else ''}{rest}"
    )
