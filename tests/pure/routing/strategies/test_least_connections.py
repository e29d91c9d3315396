"""The fewest in flight, by weight and pace; ties by rotation."""

from __future__ import annotations

from fastgw.routing.backend import Backend
from fastgw.routing.pace import Paces
from fastgw.routing.strategies.least_connections import LeastConnections
from tests.pure.asgi import exchange
from tests.pure.routing.support import backends

X = exchange()


def taken(strategy: LeastConnections, candidates: list[Backend], count: int) -> str:
    """Choose for requests that stay in flight."""
    chosen = ""
    for _ in range(count):
        backend = strategy.choose(candidates, X)
        backend.in_flight += 1
        chosen += backend.url[-1]
    return chosen


def test_idle_ones_rotate() -> None:
    candidates = backends("abc", 1, 2, 3)
    strategy = LeastConnections()
    assert "".join(strategy.choose(candidates, X).url[-1] for _ in range(7)) == "abcabca"


def test_a_subset_now_and_then_does_not_disturb_the_rotation() -> None:
    candidates = backends("abc")
    strategy = LeastConnections()
    assert strategy.choose(candidates[1:], X).url[-1] == "b"
    assert "".join(strategy.choose(candidates, X).url[-1] for _ in range(6)) == "acbacb"


def test_the_one_with_the_fewest() -> None:
    candidates = backends("abc")
    a, b, c = candidates
    a.in_flight, b.in_flight, c.in_flight = 4, 2, 3
    assert taken(LeastConnections(), candidates, 3)[:1] == "b"
    assert (a.in_flight, b.in_flight, c.in_flight) == (4, 4, 4)


def test_by_weight() -> None:
    candidates = backends("abc", 1, 2, 3)
    taken(LeastConnections(), candidates, 60)
    assert [one.in_flight for one in candidates] == [10, 20, 30]


def test_a_slow_one_is_asked_only_when_the_others_are_that_much_busier() -> None:
    candidates = backends("abc")
    paces = Paces()
    for backend, seconds in zip(candidates, (0.005, 0.005, 0.05), strict=True):
        paces.note(backend, seconds)
    assert "c" not in taken(LeastConnections(), candidates, 20)
    taken(LeastConnections(), candidates, 190)
    assert [one.in_flight for one in candidates] == [100, 100, 10]
