"""When there may be a place again, by how fast places have come free. The rest is in tests/store: it is Redis's."""

from __future__ import annotations

import pytest

from fastgw.forwarding.leases import FIRST_RETRY_S, MAX_RETRY_S, Outflow


def flowing(every_s: float, count: int) -> tuple[Outflow, float]:
    outflow = Outflow()
    for number in range(count):
        outflow.note(number * every_s)
    return outflow, (count - 1) * every_s


def test_without_an_experience_it_is_a_second() -> None:
    assert Outflow().retry_after_s(5, 1.0) == FIRST_RETRY_S


@pytest.mark.parametrize(("every_s", "ahead"), [(0.5, 9), (2.0, 3), (5.0, 0)])
def test_it_is_as_long_as_those_ahead_take(every_s: float, ahead: int) -> None:
    outflow, now = flowing(every_s, 200)
    assert outflow.retry_after_s(ahead, now) == pytest.approx(every_s * (ahead + 1), rel=0.25)


def test_it_is_bounded() -> None:
    quick, now = flowing(0.001, 1000)
    assert quick.retry_after_s(0, now) == FIRST_RETRY_S
    slow, now = flowing(30.0, 5)
    assert slow.retry_after_s(50, now) == MAX_RETRY_S


def test_what_was_long_ago_is_forgotten() -> None:
    outflow, now = flowing(1.0, 100)
    assert outflow.retry_after_s(10, now + 3600) == FIRST_RETRY_S
