"""The better of two at random."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from fastgw.routing.strategies.two_choices import TwoChoices
from tests.pure.asgi import exchange
from tests.pure.routing.support import backends

X = exchange()


def test_all_alike_are_chosen_alike() -> None:
    candidates = backends("abcd")
    strategy = TwoChoices(Random(4))
    counts = Counter(strategy.choose(candidates, X).url for _ in range(4000))
    assert list(counts.values()) == pytest.approx([1000] * 4, rel=0.1)


def test_the_busiest_is_never_chosen() -> None:
    candidates = backends("abc")
    candidates[1].in_flight = 1
    strategy = TwoChoices(Random(4))
    assert {strategy.choose(candidates, X).url[-1] for _ in range(200)} == {"a", "c"}


def test_load_is_even_within_little() -> None:
    """A random choice alone would leave a difference of about 60 between the extremes here."""
    candidates = backends("abcdefghij")
    strategy = TwoChoices(Random(4))
    for _ in range(5000):
        strategy.choose(candidates, X).in_flight += 1
    loads = [one.in_flight for one in candidates]
    assert max(loads) - min(loads) <= 10


def test_weight_counts_under_load() -> None:
    candidates = backends("ab", 1, 3)
    strategy = TwoChoices()
    for _ in range(400):
        strategy.choose(candidates, X).in_flight += 1
    assert [one.in_flight for one in candidates] == pytest.approx([100, 300], abs=2)


def test_one_alone() -> None:
    (a,) = backends("a")
    assert TwoChoices().choose([a], X) is a
