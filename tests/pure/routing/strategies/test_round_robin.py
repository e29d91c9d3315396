"""Smooth weighted round-robin, as nginx has it."""

from __future__ import annotations

from collections import Counter

import pytest

from fastgw.routing.strategies.round_robin import RoundRobin, next_in_turn
from tests.pure.asgi import exchange
from tests.pure.routing.support import backends

X = exchange()


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((5, 1, 1), "aabacaa"),  # the example of nginx's commit 52327e0627f4
        ((1, 1, 1), "abcabc"),
        ((2, 1, 1), "abca"),
        ((3, 2, 1), "abacba"),
    ],
)
def test_the_order(weights: tuple[int, ...], order: str) -> None:
    candidates = backends("abc", *weights)
    strategy = RoundRobin()
    for _ in range(3):
        assert "".join(strategy.choose(candidates, X).url[-1] for _ in order) == order


def test_weights_are_exact_over_a_round_and_without_bursts() -> None:
    candidates = backends("abc", 1000, 500, 1)
    chosen = [next_in_turn(candidates, X).url[-1] for _ in range(1501)]
    assert Counter(chosen) == {"a": 1000, "b": 500, "c": 1}
    assert "bb" not in "".join(chosen)


def test_a_subset_now_and_then_does_not_disturb_the_others() -> None:
    candidates = backends("abc")
    chosen: Counter[str] = Counter()
    for number in range(3000):
        if number % 10 == 0:
            next_in_turn(candidates[:2], X)
        chosen[next_in_turn(candidates, X).url[-1]] += 1
    assert min(chosen.values()) > 900
    assert max(abs(one.current_weight) for one in candidates) < 1000


@pytest.mark.parametrize("weights", [(1, 1, 1), (4, 2, 2), (1000, 500, 1), (1, 1, 100_000)])
def test_the_same_candidates_get_the_same_shares_listed_or_not(weights: tuple[int, ...]) -> None:
    candidates = backends("abc", *weights)
    strategy = RoundRobin()
    rounds = sum(weights)
    chosen = Counter(strategy.choose(candidates, X).url[-1] for _ in range(rounds))
    assert all(abs(chosen[name] - weight) <= 1 for name, weight in zip("abc", weights, strict=True))


def test_other_candidates_or_weights_are_not_asked_by_an_old_list() -> None:
    every = backends("abc")
    strategy = RoundRobin()
    for _ in range(5):
        strategy.choose(every, X)
    assert {strategy.choose(every[:2], X).url[-1] for _ in range(10)} == {"a", "b"}
    assert [strategy.choose([one], X) for one in every] == list(every)
    grown = tuple(every)
    every[2].effective_weight = 0.5  # it returns from an ejection: no list can be made
    chosen = Counter(strategy.choose(grown, X).url[-1] for _ in range(50))
    assert chosen == {"a": 20, "b": 20, "c": 10}
