"""The benchmarks of services: what they say besides times follows from the seed, and holds."""

from __future__ import annotations

import statistics

from bench.routing import POLICIES, WORLDS, measure_routing, routing_lines
from bench.vectors import measure_vectors, vector_lines


def test_routing_beats_uniform_and_static_choice_over_all_worlds() -> None:
    told = measure_routing(tasks=400, runs=4, seed=1)
    worth = {name: statistics.fmean(row[name]["worth"] for row in told) for name in POLICIES}
    assert worth["thompson"] > worth["uniform"]
    assert worth["thompson"] > worth["static"]
    # Nothing but what is always right can beat it: a memory that holds, in a world that stays.
    lost = {row["world"] for row in told if row["thompson"]["worth"] < row["static"]["worth"]}
    assert lost <= {"remembered", "surpassed"}
    assert all(row["won_of_uniform"] == 4 for row in told)


def test_the_simulation_follows_from_its_seed() -> None:
    first = measure_routing(tasks=50, runs=2, seed=3)
    assert measure_routing(tasks=50, runs=2, seed=3) == first
    assert measure_routing(tasks=50, runs=2, seed=4) != first
    printed = list(routing_lines(first))
    assert all(any(line.startswith(f"  {name}") for line in printed) for name in WORLDS)
    assert all(0 <= row[name]["regret"] < 1 for row in first for name in POLICIES)


def test_what_is_learned_is_of_use() -> None:
    """Regret falls: in a world that stays, later tasks are routed better than the first ones."""
    few = measure_routing(tasks=50, runs=6, seed=1)[0]
    many = measure_routing(tasks=500, runs=6, seed=1)[0]
    assert many["thompson"]["regret"] < few["thompson"]["regret"] / 2


def test_the_vector_search_finds_what_the_exact_scan_finds() -> None:
    said: list[str] = []
    (row,) = measure_vectors(sizes=(300,), seed=2, queries=20, say=said.append)
    assert row["recall"] == 1.0
    assert row["vectors"] == 300
    assert said == ["300 vectors searched"]
    assert "1.0000" in list(vector_lines([row]))[-1]
