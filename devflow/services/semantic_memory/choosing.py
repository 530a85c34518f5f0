"""Which candidates make the context: what each is worth, and the choice within the budget.

A candidate's score, from 0 to 1, is the weighted sum of four parts (`SHARES`):

- relevance: reciprocal rank fusion, the sum of weight / (60 + rank) over the lists that name it
  (`WEIGHTS`), as a share of the most relevant candidate's;
- importance: of a block as it says, of an entity its confidence;
- recency: a half for every half-life since its last change, in whole days;
- use: how often it was read, by its logarithm, full at a hundred times.

The choice is greedy: again and again the candidate that fits and adds most a token. What it adds is
its score less what the chosen already say (maximal marginal relevance, as a factor, so that
nothing is worth less than nothing): score x (1 - 0.7 x similarity to the most similar chosen). What
is as good as chosen already is left out. Where choosing by what each adds, whatever its length,
comes to more in the end, that is the choice: short ones leave tokens over where few are wanted.
Tokens are estimated: a quarter of the UTF-8 bytes of title and content, and 6 for what stands
around them. Ties go to blocks, then by identifier.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from devflow.services.semantic_memory.candidates import Candidate, Source
from devflow.services.vector_memory.search import RRF_K

__all__ = ["ALIKE", "SHARES", "WEIGHTS", "Choice", "Chosen", "Parts", "chosen", "parts", "tokens"]

WEIGHTS: Mapping[Source, float] = {
    "own": 3.0,
    "dependencies": 1.5,
    "parents": 1.5,
    "words": 1.0,
    "nearness": 1.0,
    "knowledge": 1.0,
    "importance": 1.0,
}
"""What a place in each list counts; in the answer, too, blocks of one's own come first."""
SHARES: Mapping[str, float] = {"relevance": 0.55, "importance": 0.2, "recency": 0.15, "use": 0.1}
ALIKE = 0.95
"""The similarity from which on a candidate only repeats what is chosen."""
_REPEATED = 0.7
_USES_FULL = 100
_BYTES_A_TOKEN = 4
_TOKENS_AROUND = 6
_CANDIDATES_MAX = 300
_WORDS_MAX = 500
_WORD = re.compile(r"\w+")
_ORDER: tuple[Source, ...] = ("own", "dependencies", "parents")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a score is the weighted sum of, each from 0 to 1."""

    relevance: float
    importance: float
    recency: float
    use: float

    @property
    def score(self) -> float:
        """The weighted sum."""
        return sum(share * float(getattr(self, name)) for name, share in SHARES.items())


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate that is in the context, and why."""

    candidate: Candidate
    parts: Parts
    tokens: int
    similarity: float
    value: float


@dataclass(slots=True)
class Choice:
    """The context, what it takes, and how many candidates were left out for which reason."""

    items: list[Chosen] = field(default_factory=list)
    tokens: int = 0
    alike: int = 0
    no_room: int = 0


@dataclass(slots=True)
class _Open:
    """A candidate not chosen yet, and its similarity to the most similar chosen one."""

    candidate: Candidate
    parts: Parts
    tokens: int
    words: frozenset[str]
    similarity: float = 0.0

    @property
    def value(self) -> float:
        return self.parts.score * (1 - _REPEATED * self.similarity)

    @property
    def by_token(self) -> tuple[float, str, str]:
        return -self.value / self.tokens, self.candidate.kind, self.candidate.id

    @property
    def by_value(self) -> tuple[float, str, str]:
        return -self.value, self.candidate.kind, self.candidate.id


def tokens(candidate: Candidate) -> int:
    """Return how many tokens a candidate takes, as estimated."""
    written = len(candidate.title.encode()) + len(candidate.content.encode())
    return math.ceil(written / _BYTES_A_TOKEN) + _TOKENS_AROUND


def parts(
    candidates: Iterable[Candidate], *, today: dt.date, half_life_days: float
) -> list[tuple[Candidate, Parts]]:
    """Return each candidate with the parts of its score."""
    fused = [(candidate, _fused(candidate)) for candidate in candidates]
    most = max((value for _, value in fused), default=0.0)
    return [
        (
            candidate,
            Parts(
                relevance=value / most if most else 0.0,
                importance=candidate.importance,
                recency=_recency(candidate.changed_on, today, half_life_days),
                use=min(math.log1p(candidate.uses) / math.log1p(_USES_FULL), 1.0),
            ),
        )
        for candidate, value in fused
    ]


def _fused(candidate: Candidate) -> float:
    return sum(WEIGHTS[source] / (RRF_K + rank) for source, rank in sorted(candidate.ranks.items()))


def _recency(day: dt.date | None, today: dt.date, half_life_days: float) -> float:
    if day is None:
        return 0.0
    return float(0.5 ** (max((today - day).days, 0) / half_life_days))


def chosen(scored: Iterable[tuple[Candidate, Parts]], *, budget_tokens: int, most: int) -> Choice:
    """Return the context of at most so many tokens and items."""
    everything = sorted(
        (_Open(one, its, tokens(one), _words(one)) for one, its in scored),
        key=lambda one: one.by_value,
    )
    choices = [
        _greedy([replace(one) for one in everything], budget_tokens, most, key)
        for key in (lambda one: one.by_token, lambda one: one.by_value)
    ]
    choice = max(choices, key=lambda one: sum(item.value for item in one.items))
    choice.items.sort(key=lambda one: (_tier(one.candidate), -one.value))
    return choice


def _greedy(
    everything: list[_Open],
    budget_tokens: int,
    most: int,
    key: Callable[[_Open], tuple[float, str, str]],
) -> Choice:
    left, choice = everything[:_CANDIDATES_MAX], Choice()
    choice.no_room = len(everything) - len(left)
    while left and len(choice.items) < most:
        fitting = [one for one in left if one.tokens <= budget_tokens - choice.tokens]
        choice.no_room += len(left) - len(fitting)
        if not fitting:
            return choice
        best = min(fitting, key=key)
        choice.items.append(
            Chosen(best.candidate, best.parts, best.tokens, best.similarity, best.value)
        )
        choice.tokens += best.tokens
        left = []
        for one in fitting:
            if one is not best:
                one.similarity = max(one.similarity, _similarity(one.words, best.words))
                if one.similarity < ALIKE:
                    left.append(one)
                else:
                    choice.alike += 1
    choice.no_room += len(left)
    return choice


def _tier(candidate: Candidate) -> int:
    return next((at for at, source in enumerate(_ORDER) if source in candidate.ranks), len(_ORDER))


def _words(candidate: Candidate) -> frozenset[str]:
    found = _WORD.findall(f"{candidate.title} {candidate.content[:20_000]}".casefold())
    return frozenset(found[:_WORDS_MAX])


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of words that both have (Jaccard); texts without words are not alike."""
    if not one or not other:
        return 0.0
    both = len(one & other)
    return both / (len(one) + len(other) - both)
