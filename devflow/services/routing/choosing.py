"""Which platform should do a task: Thompson sampling over what is believed. No I/O.

What is believed of a platform at a kind of task is a Beta distribution of its success. Each
decision draws one success from each candidate's distribution: a platform that is known to be good
draws high, one that is little known draws high now and then, and so is tried. From the draw is
taken what the platform costs, how long it takes and how busy it is, each as a share of the worst
candidate's. The highest score wins.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from river import proba

__all__ = [
    "DISCOUNT",
    "NOTHING_KNOWN",
    "Belief",
    "Candidate",
    "Choice",
    "Considered",
    "Outcome",
    "Weights",
    "choose",
    "learned",
]

DISCOUNT = 0.98
"""What an outcome counts once another came after it: about the last 50 outcomes matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is believed: Beta(`successes`, `failures`), each at least 1.

    `duration_s` and `cost_usd` are means over `weight` outcomes, None where none told them;
    `outcomes` is how many were learned of, undiscounted.
    """

    successes: float = 1.0
    failures: float = 1.0
    weight: float = 0.0
    duration_s: float | None = None
    cost_usd: float | None = None
    outcomes: int = 0

    @property
    def success(self) -> float:
        """The expected success, 0..1."""
        return self.successes / (self.successes + self.failures)

    @property
    def evidence(self) -> float:
        """How many outcomes the distribution stands for."""
        return self.successes + self.failures - 2


NOTHING_KNOWN = Belief()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A platform that may be chosen; `left_out` says why it may not be, where that is so."""

    platform: str
    belief: Belief = NOTHING_KNOWN
    in_flight: int = 0
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What counts: a success counts 1; these are what the worst cost, time and load take away."""

    cost: float = 0.2
    time: float = 0.1
    load: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A candidate with its draw; `cost`, `time` and `load` are shares of the worst, 0..1."""

    candidate: Candidate
    drawn: float
    cost: float
    time: float
    load: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The platform that was chosen, and all that could have been, best first."""

    platform: str
    considered: tuple[Considered, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task went; what is None was not told."""

    success: bool
    duration_s: float | None = None
    cost_usd: float | None = None


def choose(candidates: Sequence[Candidate], weights: Weights, *, seed: int) -> Choice | None:
    """Return the choice among those that are not left out, None where there is none.

    The same candidates, in whatever order, weights and seed give the same choice.
    """
    free = sorted((one for one in candidates if one.left_out is None), key=lambda one: one.platform)
    if not free:
        return None
    costs = _shares([one.belief.cost_usd for one in free])
    times = _shares([one.belief.duration_s for one in free])
    loads = _shares([float(one.in_flight) for one in free])
    considered = [
        _considered(one, weights, seed=seed, cost=cost, time=time, load=load)
        for one, cost, time, load in zip(free, costs, times, loads, strict=True)
    ]
    ordered = sorted(considered, key=lambda one: (-one.score, one.candidate.platform))
    return Choice(platform=ordered[0].candidate.platform, considered=tuple(ordered))


def _considered(
    candidate: Candidate, weights: Weights, *, seed: int, cost: float, time: float, load: float
) -> Considered:
    drawn = _drawn(candidate, seed)
    taken = weights.cost * cost + weights.time * time + weights.load * load
    return Considered(
        candidate=candidate, drawn=drawn, cost=cost, time=time, load=load, score=drawn - taken
    )


def _drawn(candidate: Candidate, seed: int) -> float:
    own_seed = zlib.crc32(f"{seed}/{candidate.platform}".encode())
    belief = candidate.belief
    # Discounted counts are no integers, which is all that river's annotations know of.
    beta = proba.Beta(belief.successes, belief.failures, own_seed)  # type: ignore[arg-type]
    return float(beta.sample())


def _shares(values: Sequence[float | None]) -> list[float]:
    """Return each as a share of the greatest; what is not known counts as the mean of the rest."""
    known = [value for value in values if value is not None]
    worst = max(known, default=0.0)
    if worst <= 0:
        return [0.0] * len(values)
    mean = sum(value / worst for value in known) / len(known)
    return [mean if value is None else value / worst for value in values]


def learned(belief: Belief, outcome: Outcome) -> Belief:
    """Return what is believed after one more outcome."""
    weight = DISCOUNT * belief.weight
    return replace(
        belief,
        successes=1 + DISCOUNT * (belief.successes - 1) + outcome.success,
        failures=1 + DISCOUNT * (belief.failures - 1) + (not outcome.success),
        weight=weight + 1,
        duration_s=_mean(belief.duration_s, weight, outcome.duration_s),
        cost_usd=_mean(belief.cost_usd, weight, outcome.cost_usd),
        outcomes=belief.outcomes + 1,
    )


def _mean(mean: float | None, weight: float, one_more: float | None) -> float | None:
    if mean is None or one_more is None:
        return mean if one_more is None else one_more
    return mean + (one_more - mean) / (weight + 1)
