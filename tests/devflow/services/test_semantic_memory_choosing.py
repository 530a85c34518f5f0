"""The choice of a context: within the budget, the same each time, and worth its tokens."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devflow.services.semantic_memory.candidates import Candidate
from devflow.services.semantic_memory.choosing import ALIKE, SHARES, Choice, chosen, parts, tokens

TODAY = dt.date(2026, 1, 31)
TEXTS = st.text(st.sampled_from("ab é漢 "), max_size=200)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    number = draw(st.integers(0, 25))
    return [
        Candidate(
            kind=draw(st.sampled_from(["block", "entity"])),
            id=f"c{place}",
            task_id=None,
            type=None,
            title=draw(TEXTS),
            content=draw(TEXTS),
            importance=draw(st.floats(0, 1)),
            changed_on=draw(st.none() | st.dates(dt.date(2020, 1, 1), dt.date(2030, 1, 1))),
            uses=draw(st.integers(0, 1_000)),
            ranks=draw(
                st.dictionaries(
                    st.sampled_from(["own", "parents", "words", "nearness"]),
                    st.integers(1, 100),
                    min_size=1,
                )
            ),
        )
        for place in range(number)
    ]


def candidate(name: str, content: str, **given: object) -> Candidate:
    told: dict[str, object] = {"importance": 0.5, "changed_on": TODAY, "uses": 0}
    told |= {"ranks": {"words": 1}} | given
    return Candidate(
        kind="block", id=name, task_id=None, type=None, title="", content=content, **told
    )  # type: ignore[arg-type]


def choose(found: Sequence[Candidate], budget: int, most: int = 200) -> Choice:
    scored = parts(found, today=TODAY, half_life_days=30.0)
    return chosen(scored, budget_tokens=budget, most=most)


@given(candidates(), st.integers(1, 400), st.integers(1, 30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_budget_is_never_exceeded_and_everything_is_accounted_for(
    found: list[Candidate], budget: int, most: int
) -> None:
    choice = choose(found, budget, most)
    assert choice.tokens == sum(tokens(one.candidate) for one in choice.items) <= budget
    assert len(choice.items) <= most
    assert len(choice.items) + choice.alike + choice.no_room == len(found)
    names = [one.candidate.id for one in choice.items]
    assert len(set(names)) == len(names)
    assert all(one.similarity < ALIKE for one in choice.items)
    assert all(0 <= one.value <= one.parts.score <= 1.000001 for one in choice.items)


@given(candidates(), st.integers(1, 400), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_choice_does_not_depend_on_the_order_of_candidates(
    found: list[Candidate], budget: int, order: random.Random
) -> None:
    shuffled = order.sample(found, len(found))
    assert choose(found, budget) == choose(shuffled, budget)


@given(candidates(), st.integers(1, 400))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_what_is_left_out_for_lack_of_room_would_not_fit(
    found: list[Candidate], budget: int
) -> None:
    choice = choose(found, budget)
    kept = {one.candidate.id for one in choice.items}
    fitting = [c for c in found if c.id not in kept and tokens(c) <= budget - choice.tokens]
    assert len(fitting) <= choice.alike


def test_what_is_the_same_is_said_once_and_what_is_alike_counts_less() -> None:
    text = "the unified database keeps every row of the three old ones"
    again, like = candidate("b", text), candidate("c", f"{text} and more of it besides")
    other = candidate("d", "costs are summed by day and platform and model of requests there")
    choice = choose([candidate("a", text), again, like, other], 1_000)
    assert [one.candidate.id for one in choice.items] == ["a", "d", "c"]
    assert choice.alike == 1
    assert choice.items[2].similarity > 0.5 > choice.items[1].similarity
    assert choice.items[2].value < choice.items[2].parts.score


def test_each_part_of_the_score_raises_it() -> None:
    plain = {"importance": 0.2, "changed_on": dt.date(2025, 1, 1), "uses": 0, "ranks": {"words": 9}}
    better: dict[str, dict[str, object]] = {
        "relevance": {"ranks": {"words": 9, "nearness": 9}},
        "importance": {"importance": 0.9},
        "recency": {"changed_on": dt.date(2026, 1, 30)},
        "use": {"uses": 50},
    }
    assert set(better) == set(SHARES)
    for name, change in better.items():
        found = [candidate("plain", "one thing", **plain), candidate("z", "x", **plain | change)]
        (_, low), (_, high) = parts(found, today=TODAY, half_life_days=30.0)
        assert getattr(high, name) > getattr(low, name)
        assert high.score > low.score


@pytest.mark.parametrize(("days", "recency"), [(0, 1.0), (30, 0.5), (60, 0.25), (-9, 1.0)])
def test_recency_halves_with_every_half_life(days: int, recency: float) -> None:
    found = [candidate("a", "x", changed_on=TODAY - dt.timedelta(days=days))]
    ((_, its),) = parts(found, today=TODAY, half_life_days=30.0)
    assert its.recency == recency


def test_a_block_of_ones_own_is_chosen_before_its_like_and_shown_first() -> None:
    own = candidate("z", "about the schema of it", ranks={"own": 1})
    foreign = candidate("a", "upon a topic from elsewhere", ranks={"words": 1})
    assert tokens(own) <= tokens(foreign) + 1
    assert [one.candidate.id for one in choose([foreign, own], tokens(foreign)).items] == ["z"]
    short = candidate("b", "brief", ranks={"words": 1, "nearness": 1})
    assert choose([short, foreign, own], 99).items[0].candidate.id == "z"


def test_a_long_one_that_is_worth_more_than_all_that_fit_beside_it_is_chosen() -> None:
    long = candidate("long", "w " * 100, importance=1.0, uses=100, ranks={"own": 1})
    short = candidate("short", "brief", ranks={"words": 1})
    assert [one.candidate.id for one in choose([long, short], tokens(long)).items] == ["long"]
    assert [one.candidate.id for one in choose([long, short], 999, most=1).items] == ["long"]


def test_the_choice_is_worth_more_than_the_newest_that_fit() -> None:
    draw = random.Random(7)
    found = [
        candidate(
            f"c{place:03}",
            " ".join(f"w{draw.randrange(5_000)}" for _ in range(draw.randrange(5, 120))),
            importance=draw.random(),
            changed_on=TODAY - dt.timedelta(days=draw.randrange(200)),
            uses=draw.randrange(60),
            ranks={"words": 1 + draw.randrange(100)},
        )
        for place in range(120)
    ]
    scored = parts(found, today=TODAY, half_life_days=30.0)
    scores = {one.id: its.score for one, its in scored}
    for budget in (200, 600, 1_500):
        room, newest = budget, 0.0
        for one in sorted(found, key=lambda c: c.changed_on or TODAY, reverse=True):
            if tokens(one) <= room:
                room -= tokens(one)
                newest += scores[one.id]
        ours = sum(scores[one.candidate.id] for one in choose(found, budget).items)
        assert ours > 1.5 * newest
