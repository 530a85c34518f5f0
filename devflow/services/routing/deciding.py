"""Makes a decision, keeps all that it came from, and computes it again from that."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from devflow.services.errors import ConflictError, MissingError, UnavailableError
from devflow.services.routing.beliefs import candidates
from devflow.services.routing.choosing import Belief, Candidate, Choice, Weights, choose
from devflow.services.store import Connection, Row, one
from devflow.services.values import iso_now

__all__ = ["decide", "found", "made_again"]

_SEED_MAX = 2**31


def decide(connection: Connection, asked: Mapping[str, Any]) -> tuple[bool, Row]:
    """Choose a platform for what is asked; return whether that is new, and its row.

    The same question under a known id gets the decision that was made; another one is a
    ConflictError. UnavailableError where no platform can be chosen.
    """
    identifier = asked["id"] or uuid.uuid4().hex
    known = one(connection, "SELECT * FROM routing_decisions WHERE id = ?", (identifier,))
    if known is not None:
        if not _same(asked, known):
            raise ConflictError(f"decision {identifier!r} was made for another question")
        return False, known
    task = asked["task_id"]
    if task is not None and not one(
        connection, "SELECT 1 FROM task_contexts WHERE id = ?", (task,)
    ):
        raise MissingError(f"there is no task {task!r}")
    domain, task_type = asked["capability_domain"], asked["task_type"]
    weights = Weights(**asked["weights"])
    seed = secrets.randbelow(_SEED_MAX) if asked["seed"] is None else asked["seed"]
    could = candidates(connection, among=asked["platforms"], domain=domain, task_type=task_type)
    choice = choose(could, weights, seed=seed)
    if choice is None:
        why = "; ".join(f"{one.platform}: {one.left_out}" for one in could)
        raise UnavailableError(f"no platform can be chosen now ({why})")
    row = one(
        connection,
        "INSERT INTO routing_decisions (id, task_id, capability_domain, task_type, platform, seed,"
        " weights, candidates, decided_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
        (
            identifier,
            task,
            domain,
            task_type,
            choice.platform,
            seed,
            json.dumps(asdict(weights)),
            json.dumps([asdict(one) for one in could], ensure_ascii=False),
            iso_now(),
        ),
    )
    assert row is not None  # noqa: S101 - RETURNING yields the row
    return True, row


def _same(asked: Mapping[str, Any], known: Row) -> bool:
    told = ("task_id", "capability_domain", "task_type")
    names = [one["platform"] for one in json.loads(known["candidates"])]
    among = asked["platforms"]
    return (
        all(asked[name] == known[name] for name in told)
        and asked["seed"] in (None, known["seed"])
        and Weights(**asked["weights"]) == Weights(**json.loads(known["weights"]))
        and (among is None or sorted(set(among)) == names)
    )


def found(connection: Connection, identifier: str) -> Row:
    """Return a decision, or MissingError."""
    row = one(connection, "SELECT * FROM routing_decisions WHERE id = ?", (identifier,))
    if row is None:
        raise MissingError(f"there is no decision {identifier!r}")
    return row


def made_again(decision: Row) -> tuple[Choice | None, Sequence[Candidate]]:
    """Return the choice that a decision's own row leads to, and its candidates."""
    could = [
        Candidate(**{**given, "belief": Belief(**given["belief"])})
        for given in json.loads(decision["candidates"])
    ]
    weights = Weights(**json.loads(decision["weights"]))
    return choose(could, weights, seed=decision["seed"]), could
