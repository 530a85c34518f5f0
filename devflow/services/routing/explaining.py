"""Tells of a decision why it was made, computed again from what its row keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from devflow.services.routing.choosing import Candidate, Choice, Considered
from devflow.services.routing.deciding import made_again
from devflow.services.store import Row

__all__ = ["explained"]

_KNOWN = ("id", "task_id", "capability_domain", "task_type", "platform", "decided_at", "seed")
_OUTCOME = ("duration_seconds", "cost_usd", "tokens", "satisfaction", "reported_at")


def explained(decision: Row) -> Row:
    """Return a decision as the API shows it."""
    choice, could = made_again(decision)
    weights = json.loads(decision["weights"])
    considered = choice.considered if choice else ()
    return {
        **{name: decision[name] for name in _KNOWN},
        "weights": weights,
        "reasons": _reasons(decision, choice, could),
        "considered": [_considered(one, weights) for one in considered],
        "left_out": [
            {"platform": one.platform, "why": one.left_out} for one in could if one.left_out
        ],
        "outcome": _outcome(decision),
    }


def _outcome(decision: Row) -> Row | None:
    if decision["reported_at"] is None:
        return None
    return {
        "success": bool(decision["success"]),
        **{name: decision[name] for name in _OUTCOME},
    }


def _considered(one: Considered, weights: dict[str, float]) -> Row:
    belief = one.candidate.belief
    taken = {name: round(weights[name] * getattr(one, name), 6) for name in weights}
    return {
        "platform": one.candidate.platform,
        "score": round(one.score, 6),
        "drawn": round(one.drawn, 6),
        "success": round(belief.success, 6),
        "evidence": round(belief.evidence, 6),
        "cost_usd": belief.cost_usd,
        "duration_seconds": belief.duration_s,
        "in_flight": one.candidate.in_flight,
        "taken": taken,
    }


def _reasons(decision: Row, choice: Choice | None, could: Sequence[Candidate]) -> list[str]:
    if choice is None or choice.platform != decision["platform"]:
        return ["this row does not lead to its own decision: it was changed"]
    best, *others = choice.considered
    said = [_first(best, others)]
    belief = best.candidate.belief
    said.append(
        f"its success was drawn as {best.drawn:.2f}; {belief.success:.2f} is expected, from"
        f" {belief.evidence:.1f} outcomes"
    )
    surest = max(choice.considered, key=lambda one: one.candidate.belief.success).candidate
    if surest.platform != best.candidate.platform:
        said.append(
            f"{surest.platform} is expected to succeed more often ({surest.belief.success:.2f}):"
            f" this is {_against(best, choice)}"
        )
    said += [f"{one.platform} was left out: {one.left_out}" for one in could if one.left_out]
    return said


def _first(best: Considered, others: Sequence[Considered]) -> str:
    name = best.candidate.platform
    if not others:
        return f"{name} is the only platform that could be chosen"
    second = others[0]
    return (
        f"{name} has the highest score, {best.score:.2f}, before {second.candidate.platform}"
        f" with {second.score:.2f}"
    )


def _against(best: Considered, choice: Choice) -> str:
    """Say whether the draw or what is taken from it decided against the surest platform."""
    drawn_best: Any = max(choice.considered, key=lambda one: one.drawn)
    if drawn_best.candidate.platform == best.candidate.platform:
        return "a trial of one that is less known"
    return "for the sake of cost, time or load"
