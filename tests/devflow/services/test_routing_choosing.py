"""Choosing a platform: properties of the draw, of what is taken from it, of what is learned."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from devflow.services.routing.choosing import (
    DISCOUNT,
    NOTHING_KNOWN,
    Belief,
    Candidate,
    Outcome,
    Weights,
    choose,
    learned,
)

_amounts = st.none() | st.floats(0, 1e6)
beliefs = st.builds(
    Belief,
    successes=st.floats(1, 500),
    failures=st.floats(1, 500),
    weight=st.floats(0, 50),
    duration_s=_amounts,
    cost_usd=_amounts,
)
outcomes = st.builds(Outcome, success=st.booleans(), duration_s=_amounts, cost_usd=_amounts)
candidates = st.lists(
    st.builds(
        Candidate,
        platform=st.text(min_size=1, max_size=5),
        belief=beliefs,
        in_flight=st.integers(0, 9),
        left_out=st.none() | st.just("it is down"),
    ),
    max_size=6,
    unique_by=lambda one: one.platform,
)
weights = st.builds(Weights, cost=st.floats(0, 10), time=st.floats(0, 10), load=st.floats(0, 10))
seeds = st.integers(0, 2**31 - 1)


@given(candidates, weights, seeds, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(could, given_weights, seed, random) -> None:
    shuffled = random.sample(could, len(could))
    assert choose(could, given_weights, seed=seed) == choose(shuffled, given_weights, seed=seed)


@given(candidates, weights, seeds)
def test_what_is_left_out_is_never_chosen(could, given_weights, seed) -> None:
    choice = choose(could, given_weights, seed=seed)
    free = {one.platform for one in could if one.left_out is None}
    assert (choice is None) == (not free)
    if choice is not None:
        assert {one.candidate.platform for one in choice.considered} == free
        scores = [one.score for one in choice.considered]
        assert scores == sorted(scores, reverse=True)
        assert choice.platform == choice.considered[0].candidate.platform


@given(candidates, weights, seeds)
def test_a_score_is_the_draw_without_shares_of_the_worst(could, given_weights, seed) -> None:
    choice = choose(could, given_weights, seed=seed)
    for one in choice.considered if choice else ():
        assert 0 <= one.drawn <= 1
        assert all(0 <= share <= 1 for share in (one.cost, one.time, one.load))
        assert one.score <= one.drawn


def chosen_of_500(*could: Candidate, given_weights: Weights | None = None) -> Counter[str]:
    made = [choose(could, given_weights or Weights(), seed=seed) for seed in range(500)]
    return Counter(one.platform for one in made if one is not None)


def test_what_is_worse_is_chosen_the_more_rarely_the_more_is_known() -> None:
    rates = []
    for tasks in (2, 20, 200):
        good = Belief(successes=1 + 0.8 * tasks, failures=1 + 0.2 * tasks)
        bad = Belief(successes=1 + 0.4 * tasks, failures=1 + 0.6 * tasks)
        counts = chosen_of_500(
            Candidate(platform="good", belief=good), Candidate(platform="bad", belief=bad)
        )
        rates.append(counts["bad"])
    assert rates[0] > rates[1] > rates[2] == 0


def test_what_is_not_known_is_tried() -> None:
    known = Candidate(platform="known", belief=Belief(successes=71, failures=31))
    assert chosen_of_500(known, Candidate(platform="new"))["new"] > 50


def test_of_equals_the_cheap_the_quick_and_the_idle_are_chosen_more_often() -> None:
    belief = Belief(successes=50, failures=10, weight=50, duration_s=10, cost_usd=1)
    usual = Candidate(platform="a", belief=belief)
    for better in (
        replace(usual, platform="b", belief=replace(belief, cost_usd=0.1)),
        replace(usual, platform="b", belief=replace(belief, duration_s=1)),
    ):
        assert chosen_of_500(usual, better)["b"] > 300
    idle = replace(usual, platform="b")
    assert chosen_of_500(replace(usual, in_flight=9), idle)["b"] > 300


@given(beliefs, outcomes)
def test_a_success_raises_what_is_expected_and_a_failure_lowers_it(belief, outcome) -> None:
    after = learned(belief, outcome)
    neutral = replace(
        belief,
        successes=1 + DISCOUNT * (belief.successes - 1),
        failures=1 + DISCOUNT * (belief.failures - 1),
    )
    assert (after.success > neutral.success) == outcome.success
    assert after.successes >= 1
    assert after.failures >= 1
    assert after.outcomes == belief.outcomes + 1


@given(st.lists(outcomes, max_size=200))
def test_means_stay_within_what_was_told(told) -> None:
    belief = NOTHING_KNOWN
    for outcome in told:
        belief = learned(belief, outcome)
    costs = [one.cost_usd for one in told if one.cost_usd is not None]
    assert (belief.cost_usd is None) == (not costs)
    if belief.cost_usd is not None:
        slack = 1e-9 * max(costs)
        assert min(costs) - slack <= belief.cost_usd <= max(costs) + slack
    assert belief.evidence <= 1 / (1 - DISCOUNT) + 1e-9


def test_a_platform_that_became_bad_is_left_within_a_few_dozen_outcomes() -> None:
    belief = NOTHING_KNOWN
    for _ in range(1_000):
        belief = learned(belief, Outcome(success=True))
    for _ in range(40):
        belief = learned(belief, Outcome(success=False))
    assert belief.success < 0.5
