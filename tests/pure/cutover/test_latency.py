"""Quantiles of paired differences, and their intervals."""

from __future__ import annotations

from math import comb
from random import Random

import pytest

from fastgw.cutover.latency import CONFIDENCE, added, quantile, ranks


@pytest.mark.parametrize(
    ("count", "expected"), [(5, (None, None)), (6, (0, 5)), (10, (1, 8)), (15, (3, 11)), (25, (7, 17)), (100, (39, 60))]
)
def test_the_medians_interval_is_that_of_the_sign_test(count: int, expected: tuple[int | None, int | None]) -> None:
    """The ranks of the tables (from 1: 1 to 6, 2 to 9, 4 to 12, 8 to 18, 40 to 61)."""
    assert ranks(count, 0.5) == expected


@pytest.mark.parametrize(("count", "has_end"), [(200, False), (367, False), (368, True)])
def test_a_tail_without_values_has_no_end(count: int, has_end: bool) -> None:
    """0.99 ** 367 is over 2.5 %: the largest of 367 values may well be below the true p99."""
    assert (0.99**count <= (1 - CONFIDENCE) / 2) == has_end
    assert (ranks(count, 0.99)[1] is not None) == has_end


def test_the_probabilities_are_the_binomials() -> None:
    low, high = ranks(50, 0.9)
    assert low is not None
    assert high is not None
    cumulative = [sum(comb(50, k) * 0.9**k * 0.1 ** (50 - k) for k in range(n + 1)) for n in range(50)]
    assert cumulative[low] <= 0.025 < cumulative[low + 1]
    assert cumulative[high - 1] < 0.975 <= cumulative[high]


def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    random = Random(1)
    intervals = [quantile([random.expovariate(1) for _ in range(60)], 0.5) for _ in range(1000)]
    held = sum(one.low <= 0.6931 <= one.high for one in intervals if one.low is not None and one.high is not None)
    assert held >= 940  # 95 % and, as ranks are whole numbers, a little more


def test_quantiles_are_by_nearest_rank() -> None:
    assert quantile(list(range(1, 101)), 0.99).value == 99
    assert quantile(list(range(1, 101)), 0.5).value == 50
    assert quantile([7.0], 0.99).value == 7.0


def test_what_slows_both_drops_out() -> None:
    slow = [1.0, 50.0, 2.0, 80.0, 1.5, 3.0]
    found = added(slow, [one + 0.5 for one in slow])
    assert found.p50.value == pytest.approx(0.5)
    assert found.p99.value == pytest.approx(0.5)
    assert found.slower == 6


def test_a_gateway_that_is_faster_adds_less_than_nothing() -> None:
    assert added([5.0] * 10, [1.0] * 10).p50.value == -4.0


def test_a_great_many_values_are_no_trouble() -> None:
    low, high = ranks(20_000, 0.99)
    assert low is not None
    assert high is not None
    assert low < 19_800 < high
