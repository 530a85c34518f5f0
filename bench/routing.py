"""Routing in made-up worlds: what Thompson sampling comes to beside uniform and static choice.

A world says of each platform how often it succeeds at each moment, what it costs and how long it
takes, and what was remembered of it before. A policy routes task after task and sees the outcomes
of its own choices alone. What a task is worth is its success less the shares of cost and time that
the service's weights take: the measure that the service itself goes by. Regret is what the best
choice of each moment was worth more. All of it follows from the seed.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devflow.services.routing.choosing import (
    Belief,
    Candidate,
    Outcome,
    Weights,
    choose,
    learned,
)

__all__ = ["POLICIES", "WORLDS", "measure_routing", "routing_lines"]

TASKS = 1_000
RUNS = 20
_REMEMBERED = 10.0
_WEIGHTS = Weights()

Told = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Success before and after the change, cost in USD, seconds, and the success remembered."""

    success: float
    later: float
    cost_usd: float
    duration_s: float
    remembered: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Platforms by name; `later` holds in the share `since`..`until` of the tasks."""

    about: str
    platforms: Mapping[str, Platform]
    since: float = 1.0
    until: float = 1.0

    def success(self, name: str, moment: float) -> float:
        """Return how often a platform succeeds, at a moment from 0 to 1."""
        platform = self.platforms[name]
        return platform.later if self.since <= moment < self.until else platform.success

    def worth(self, name: str, moment: float) -> float:
        """Return what a task is worth on average when that platform does it."""
        platform = self.platforms[name]
        worst_cost = max(one.cost_usd for one in self.platforms.values())
        worst_time = max(one.duration_s for one in self.platforms.values())
        taken = _WEIGHTS.cost * platform.cost_usd / worst_cost
        return self.success(name, moment) - taken - _WEIGHTS.time * platform.duration_s / worst_time


_PRICES = (
    ("claude_code", 0.050, 60.0),
    ("openai_codex", 0.045, 55.0),
    ("gemini_cli", 0.040, 50.0),
    ("cursor", 0.042, 52.0),
)
_STEADY = (0.90, 0.75, 0.65, 0.55)


def _made(
    about: str,
    *,
    remembered: tuple[float, ...] = _STEADY,
    later: tuple[float, ...] = _STEADY,
    **when: float,
) -> World:
    rows = zip(_PRICES, _STEADY, later, remembered, strict=True)
    return World(
        about=about,
        platforms={
            name: Platform(
                success=now, later=then, remembered=before, cost_usd=cost, duration_s=time
            )
            for (name, cost, time), now, then, before in rows
        },
        **when,
    )


WORLDS: Mapping[str, World] = {
    "unknown": _made("nothing changes, and nothing is remembered", remembered=(0.5,) * 4),
    "remembered": _made("nothing changes, and what is remembered is right"),
    "misled": _made(
        "nothing changes, and the worst is remembered as the best",
        remembered=(0.60, 0.70, 0.60, 0.95),
    ),
    "swapped": _made(
        "half-way the best becomes the worst, and another one the best",
        later=(0.50, 0.75, 0.95, 0.55),
        since=0.5,
    ),
    "surpassed": _made(
        "from 30 % on the worst is the best, and the best what it was",
        later=(0.90, 0.75, 0.65, 0.99),
        since=0.3,
    ),
    "outage": _made(
        "from 40 % to 60 % the best fails, then it is what it was",
        later=(0.05, 0.75, 0.65, 0.55),
        since=0.4,
        until=0.6,
    ),
}

# A policy is told the beliefs and a seed, and names a platform.
Policy = Callable[[Mapping[str, Belief], Mapping[str, Belief], random.Random], str]


def _thompson(now: Mapping[str, Belief], _: Mapping[str, Belief], rng: random.Random) -> str:
    candidates = [Candidate(platform=name, belief=belief) for name, belief in now.items()]
    choice = choose(candidates, _WEIGHTS, seed=rng.getrandbits(31))
    assert choice is not None  # noqa: S101 - nobody is left out
    return choice.platform


def _uniform(now: Mapping[str, Belief], _: Mapping[str, Belief], rng: random.Random) -> str:
    return rng.choice(list(now))


def _static(_: Mapping[str, Belief], first: Mapping[str, Belief], __: random.Random) -> str:
    return _best(first)


def _greedy(now: Mapping[str, Belief], _: Mapping[str, Belief], __: random.Random) -> str:
    return _best(now)


def _best(beliefs: Mapping[str, Belief]) -> str:
    """Return the best by what is believed on average, without a draw."""
    cost = max(one.cost_usd or 0.0 for one in beliefs.values()) or 1.0
    time = max(one.duration_s or 0.0 for one in beliefs.values()) or 1.0

    def worth(name: str) -> float:
        one = beliefs[name]
        taken = _WEIGHTS.cost * (one.cost_usd or 0.0) / cost
        return one.success - taken - _WEIGHTS.time * (one.duration_s or 0.0) / time

    return max(beliefs, key=worth)


POLICIES: Mapping[str, Policy] = {
    "thompson": _thompson,
    "static": _static,
    "uniform": _uniform,
    "greedy": _greedy,
}
"""`static` goes by what was remembered, for ever; `greedy` by what is believed, without trying."""


def _remembered(world: World) -> dict[str, Belief]:
    """Return what the migrated performance says: success as 10 tasks of it, cost and time."""
    return {
        name: Belief(
            successes=1 + _REMEMBERED * one.remembered,
            failures=1 + _REMEMBERED * (1 - one.remembered),
            weight=_REMEMBERED,
            duration_s=one.duration_s,
            cost_usd=one.cost_usd,
        )
        for name, one in world.platforms.items()
    }


def _run(world: World, policy: Policy, *, tasks: int, seed: str) -> tuple[float, float, float]:
    """Route `tasks` tasks; return successes, worth and regret of one task on average."""
    chance, rng = random.Random(f"{seed} world"), random.Random(f"{seed} policy")  # noqa: S311
    first = _remembered(world)
    now = dict(first)
    successes = worth = regret = 0.0
    for task in range(tasks):
        moment, luck = task / tasks, chance.random()
        name = policy(now, first, rng)
        success = luck < world.success(name, moment)
        platform = world.platforms[name]
        outcome = Outcome(
            success=success, duration_s=platform.duration_s, cost_usd=platform.cost_usd
        )
        now[name] = learned(now[name], outcome)
        successes += success
        worth += world.worth(name, moment)
        regret += max(world.worth(one, moment) for one in world.platforms) - world.worth(
            name, moment
        )
    return successes / tasks, worth / tasks, regret / tasks


def measure_routing(*, tasks: int = TASKS, runs: int = RUNS, seed: int) -> list[Told]:
    """Return of each world and policy the means over `runs`: success, worth, regret a task.

    `won_of_uniform`, `won_of_static`: in how many of the runs Thompson sampling was worth more.
    """
    told: list[Told] = []
    for world_name, world in WORLDS.items():
        found = {
            name: [_run(world, policy, tasks=tasks, seed=f"{seed} {run}") for run in range(runs)]
            for name, policy in POLICIES.items()
        }
        row: Told = {"world": world_name, "about": world.about, "tasks": tasks, "runs": runs}
        for name, each in found.items():
            row[name] = {
                "success": statistics.fmean(one[0] for one in each),
                "worth": statistics.fmean(one[1] for one in each),
                "regret": statistics.fmean(one[2] for one in each),
            }
        for other in ("uniform", "static"):
            pairs = zip(found["thompson"], found[other], strict=True)
            row[f"won_of_{other}"] = sum(mine[1] > its[1] for mine, its in pairs)
        told.append(row)
    return told


def routing_lines(told: list[Told]) -> Iterator[str]:
    """Yield the figures as plain lines: what a task was worth by policy, and the regret."""
    first = told[0]
    yield (
        f"routing, simulated: {first['tasks']:,} tasks in {first['runs']} runs a world;"
        " worth of a task (regret), on average"
    )
    yield f"  {'world':<15}" + "".join(f"{name:>18}" for name in POLICIES) + "   thompson won"
    for row in told:
        cells = "".join(
            f"{row[name]['worth']:10.3f} ({row[name]['regret']:.3f})" for name in POLICIES
        )
        won = f"{row['won_of_static']} of {row['runs']} static, {row['won_of_uniform']} uniform"
        yield f"  {row['world']:<15}{cells}   {won}"
    means = {name: statistics.fmean(row[name]["worth"] for row in told) for name in POLICIES}
    cells = "".join(f"{means[name]:18.3f}" for name in POLICIES)
    yield f"  {'all worlds':<15}{cells}"
