"""How much may be sent twice."""

from __future__ import annotations

import pytest

from fastgw.forwarding.budget import RETRIES_AT_LEAST, RETRY_SHARE, WINDOW_S, Budget


def begun(requests: int, now: float = 100.0) -> Budget:
    budget = Budget()
    budget.turn(now)
    budget.requests = requests
    return budget


def taken(budget: Budget, now: float, wanted: int = 10_000) -> int:
    return sum(budget.take(now) for _ in range(wanted))


def test_a_process_with_little_to_do_has_the_least() -> None:
    budget = begun(0)
    assert taken(budget, 101) == RETRIES_AT_LEAST
    assert (budget.spent, budget.refused) == (RETRIES_AT_LEAST, 10_000 - RETRIES_AT_LEAST)
    assert "spent=10" in repr(budget)


@pytest.mark.parametrize("requests", [100, 1000, 12_345])
def test_the_share(requests: int) -> None:
    assert taken(begun(requests), 101) == int(requests * RETRY_SHARE) + RETRIES_AT_LEAST


def test_a_new_process_has_its_least_though_no_window_was_begun() -> None:
    assert taken(Budget(), 5.0) == RETRIES_AT_LEAST


@pytest.mark.parametrize(("at", "share"), [(0.0, 1.0), (0.25, 0.75), (0.9, 0.1)])
def test_the_window_slides(at: float, share: float) -> None:
    """What the window before holds counts as far as it lies within the last ten seconds."""
    budget = begun(1000)
    budget.turn(100 + WINDOW_S)
    assert abs(taken(budget, 100 + WINDOW_S * (1 + at)) - (1000 * share * RETRY_SHARE + RETRIES_AT_LEAST)) <= 1


def test_what_was_spent_in_the_window_before_counts_too() -> None:
    budget = begun(1000)
    assert taken(budget, 100 + WINDOW_S - 0.01) == 210
    budget.turn(100 + WINDOW_S)
    assert taken(budget, 100 + WINDOW_S) == 0
    assert taken(budget, 100 + 1.5 * WINDOW_S) == RETRIES_AT_LEAST - 5


def test_a_crowd_of_long_ago_is_forgotten() -> None:
    budget = begun(100_000)
    assert taken(budget, 100 + 3 * WINDOW_S) == RETRIES_AT_LEAST


def test_in_the_long_run_no_more_than_the_share() -> None:
    """A hundred seconds at 100 requests a second, all of which want a second try."""
    budget, now, again = Budget(), 100.0, 0
    for _ in range(10_000):
        now += 0.01
        budget.requests += 1
        if now >= budget.until:
            budget.turn(now)
        again += budget.take(now)
    assert 0.17 * 10_000 <= again <= RETRY_SHARE * 10_000 + 12 * RETRIES_AT_LEAST
