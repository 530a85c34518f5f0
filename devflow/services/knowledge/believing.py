"""How far an entity is believed: what its row said before, moved by feedback. No I/O.

A confidence is the mean of a Beta distribution. What the row said before the first feedback
counts as `PRIOR_WEIGHT` observations; a confirmation adds one that speaks for the entity, a
rejection one against it, a use a quarter of one for it:

    confidence = (4 · prior + confirms + uses / 4) / (4 + confirms + rejects + uses / 4)

So it stays between 0 and 1, rises with each confirmation and use, falls with each rejection, and
does not depend on the order in which they came. The status is that of the majority of
confirmations and rejections, and what it was before where they are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PRIOR_WEIGHT", "USE_WEIGHT", "Feedback", "Prior", "Status", "confidence", "status"]

Status = Literal["pending", "confirmed", "rejected"]
PRIOR_WEIGHT = 4.0
USE_WEIGHT = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What an entity's row said before the first feedback; `confidence` is 0 to 1."""

    confidence: float
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """How often an entity was confirmed, rejected and used."""

    confirms: int = 0
    rejects: int = 0
    uses: int = 0


def confidence(prior: Prior, told: Feedback) -> float:
    """Return how far the entity is believed, 0 to 1."""
    speaking_for = told.confirms + USE_WEIGHT * told.uses
    return (PRIOR_WEIGHT * prior.confidence + speaking_for) / (
        PRIOR_WEIGHT + speaking_for + told.rejects
    )


def status(prior: Prior, told: Feedback) -> Status:
    """Return the status that the majority of confirmations and rejections gives."""
    if told.confirms == told.rejects:
        return prior.status
    return "confirmed" if told.confirms > told.rejects else "rejected"
