"""The breaker's states, and the pace at which it comes back."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from fastgw.store.breaker import FIRST_PAUSE_S, LAST_PAUSE_S, MOVES, STEADY_S, Breaker, State


def test_it_begins_open_and_closes_by_a_good_probe() -> None:
    breaker = Breaker()
    assert breaker.state is State.OPEN
    breaker.probe()
    assert breaker.state is State.PROBING
    breaker.succeeded(0.0)
    assert breaker.state is State.CLOSED


def test_pauses_double_up_to_the_last_and_are_spread() -> None:
    breaker = Breaker(Random(1))
    pauses = []
    for _ in range(8):
        breaker.probe()
        pauses.append(breaker.failed(0.0))
    ideal = [min(FIRST_PAUSE_S * 2**n, LAST_PAUSE_S) for n in range(8)]
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, ideal, strict=True))
    assert len(set(pauses)) == 8


@pytest.mark.parametrize(("lasted_s", "is_quick"), [(STEADY_S, True), (STEADY_S - 0.1, False)])
def test_only_a_connection_that_lasted_makes_the_next_pause_short(lasted_s, is_quick) -> None:
    breaker = Breaker()
    for _ in range(6):
        breaker.probe()
        breaker.failed(0.0)
    breaker.probe()
    breaker.succeeded(10.0)
    assert (breaker.failed(10.0 + lasted_s) <= FIRST_PAUSE_S) is is_quick


def test_no_other_moves() -> None:
    assert {(a, b) for a in MOVES for b in MOVES[a]} < set(itertools.permutations(State, 2))
    with pytest.raises(RuntimeError, match="can't go from OPEN to CLOSED"):
        Breaker().succeeded(0.0)
    assert repr(Breaker()) == "<Breaker OPEN failures=0>"
