"""The choice between backends: who may be asked, who is left, and changes while requests go on."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from fastgw.errors import SERVICE_UNAVAILABLE, GatewayError
from fastgw.routing.choose import Choose
from fastgw.routing.ejection import FIRST_BACKOFF_S, PATIENCE, PROBE_LAPSES_S, SLOW_START_S, Outcome, State
from fastgw.routing.strategies.least_connections import LeastConnections
from fastgw.settings.values import backends as addresses
from tests.pure.asgi import exchange
from tests.pure.loop import in_loop
from tests.pure.routing.support import Clock, backends, make

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend

FAILED = Outcome.CONNECT_FAILED
X = exchange()


def names(choose: Choose, count: int, tried: set[Backend] | None = None) -> str:
    return "".join(choose(X, tried or set()).url[-1] for _ in range(count))


def eject(choose: Choose, backend: Backend) -> None:
    for _ in range(PATIENCE[FAILED]):
        choose.report(backend, FAILED)
    assert backend.record.state is State.EJECTED


class Notes:
    """A strategy that notes what it is given, and takes the first."""

    minds_pace: ClassVar[bool] = False

    def __init__(self) -> None:
        self.given: list[Sequence[Backend]] = []

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:
        self.given.append(candidates)
        return candidates[0]


def test_each_in_turn() -> None:
    assert names(Choose(backends("abc")), 7) == "abcabca"


def test_not_one_that_was_tried() -> None:
    a, b, c = backends("abc")
    choose = Choose([a, b, c])
    assert {choose(X, {a, c}) for _ in range(6)} == {b}


def test_when_all_were_tried_there_is_still_one() -> None:
    a, b = backends("ab")
    assert Choose([a, b])(X, {a, b}) in {a, b}
    assert Choose([a])(X, {a}) is a


def test_without_any_backend_it_is_unavailable() -> None:
    with pytest.raises(GatewayError) as refused:
        Choose([])(X, set())
    assert refused.value.kind is SERVICE_UNAVAILABLE


def test_how_many_are_left() -> None:
    a, b, c = backends("abc")
    choose = Choose([a, b, c])
    assert [choose.left(X, tried) for tried in (set(), {a}, {a, b, c})] == [3, 2, 0]
    eject(choose, a)
    assert [choose.left(None, tried) for tried in (set(), {a}, {b})] == [2, 2, 1]


def test_the_list_is_the_same_object_while_nothing_changes() -> None:
    strategy = Notes()
    a, b, c = backends("abc")
    choose = Choose([a, b, c], strategy)
    for _ in range(3):
        choose(X, set())
        choose.report(a, Outcome.ANSWERED)
        choose.report(b, FAILED)
        choose.report(b, Outcome.ANSWERED)
    assert strategy.given[0] == (a, b, c)
    assert all(given is strategy.given[0] for given in strategy.given)


def test_no_clock_is_read_while_all_is_well() -> None:
    clock = Clock()
    choose = Choose(backends("abc"), clock=clock)
    choose._clock = None  # type: ignore[assignment]
    for _ in range(10):
        choose.report(choose(X, set()), Outcome.ANSWERED, 0.01)


def test_an_ejected_one_is_left_out_then_tried_by_one_and_then_comes_back_slowly() -> None:
    clock = Clock()
    a, b, c = backends("abc")
    choose = Choose([a, b, c], clock=clock)
    eject(choose, b)
    assert set(names(choose, 20)) == {"a", "c"}
    clock.now += FIRST_BACKOFF_S
    assert names(choose, 60).count("b") == 1  # the probe; nobody else meanwhile
    clock.now += PROBE_LAPSES_S / 2
    assert names(choose, 60).count("b") == 0
    choose.report(b, Outcome.ANSWERED)
    early = Counter(names(choose, 210))
    assert 1 <= early["b"] < early["a"] / 4
    clock.now += SLOW_START_S / 2
    half = Counter(names(choose, 250))
    assert half["b"] == pytest.approx(50, abs=3)
    clock.now += SLOW_START_S
    assert Counter(names(choose, 300)) == {"a": 100, "b": 100, "c": 100}
    assert choose._is_calm


def test_a_failed_probe_keeps_it_out_for_longer() -> None:
    clock = Clock()
    a, b, c = backends("abc")
    choose = Choose([a, b, c], clock=clock)
    eject(choose, b)
    clock.now += FIRST_BACKOFF_S
    assert "b" in names(choose, 60)
    choose.report(b, FAILED)
    clock.now += 1.5 * FIRST_BACKOFF_S
    assert "b" not in names(choose, 60)
    clock.now += FIRST_BACKOFF_S
    assert "b" in names(choose, 60)


def test_an_ejected_one_is_not_asked_when_the_others_were_tried() -> None:
    a, b, c = backends("abc")
    choose = Choose([a, b, c])
    eject(choose, b)
    assert {choose(X, {a}) for _ in range(5)} == {c}
    assert choose(X, {a, c}) in {a, c}


def test_never_more_than_half_are_left_out() -> None:
    choose = Choose(backends("abcd"))
    for backend in choose.backends:
        for _ in range(PATIENCE[FAILED]):
            choose.report(backend, FAILED)
    assert choose.left(None, set()) == 2
    names(choose, 10)


def test_a_backend_that_is_alone_is_always_asked() -> None:
    (a,) = backends("a")
    choose = Choose([a])
    for _ in range(20):
        choose.report(a, FAILED)
        choose.check(a, is_healthy=False)
        assert choose(X, set()) is a


def test_who_fails_its_checks_is_not_asked_until_it_is_well() -> None:
    clock = Clock()
    a, b, c = backends("abc")
    choose = Choose([a, b, c], clock=clock)
    choose.check(b, is_healthy=False)
    assert set(names(choose, 20)) == {"a", "c"}
    choose.check(b, is_healthy=True)
    assert "b" in names(choose, 60)
    for backend in (a, b, c):
        choose.check(backend, is_healthy=False)
    assert set(names(choose, 60)) == {"a", "b", "c"}


def test_changes_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastgw.routing")
    a, b, c = backends("abc")
    choose = Choose([a, b, c])
    eject(choose, b)
    names(choose, 10)
    for _ in range(5):
        choose.report(b, FAILED)
    assert [record.message for record in caplog.records if "ejected" in record.message] == [
        "backend http://b is ejected for 1 s: 2 connections failed in a row"
    ]


# -- changes at run time ------------------------------------------------------------------------------


def wanted(text: str) -> Any:
    return addresses(text)


def test_replaced_backends_keep_their_connections_and_what_is_known_of_them() -> None:
    choose = Choose([make(one) for one in wanted("http://a,http://b")], make=make)
    a, b = choose.backends
    choose.report(b, FAILED)
    choose.replace(wanted("http://b;weight=3;region=oceania,http://c"))
    assert choose.backends[0] is b
    assert (b.weight, b.region, b.effective_weight, b.record.failures) == (3, "oceania", 3.0, 1)
    assert [one.url for one in choose.backends] == ["http://b:80", "http://c:80"]
    assert (a.pool.retired, b.pool.retired) == (1, 0)  # type: ignore[attr-defined]
    assert choose(X, set()) is not a


def test_a_new_one_among_others_starts_slowly() -> None:
    clock = Clock()
    choose = Choose([make(one) for one in wanted("http://a")], make=make, clock=clock)
    choose.replace(wanted("http://a,http://b"))
    counts = Counter(choose(X, set()).url for _ in range(110))
    assert counts == {"http://a:80": 100, "http://b:80": 10}
    clock.now += SLOW_START_S
    counts = Counter(choose(X, set()).url for _ in range(100))
    assert counts == {"http://a:80": 50, "http://b:80": 50}


def test_from_one_to_many_and_back() -> None:
    choose = Choose([make(one) for one in wanted("http://a")], make=make)
    a = choose.backends[0]
    choose.replace(wanted("http://a,http://b"))
    assert len({choose(X, set()) for _ in range(50)}) == 2
    choose.replace(wanted("http://b"))
    assert choose(X, {a}).url == "http://b:80"


@in_loop
async def test_one_that_is_gone_is_closed_when_what_is_under_way_has_ended() -> None:
    choose = Choose([make(one) for one in wanted("http://a,http://b")], make=make)
    a = choose.backends[0]
    pool: Any = a.pool
    a.in_flight = pool.active = 1
    choose.replace(wanted("http://b"))
    await choose.tidy()
    assert not pool.closed
    a.in_flight = 0
    await choose.tidy()
    assert not pool.closed  # a response is still being read
    pool.active = 0
    await choose.tidy()
    assert pool.closed
    choose.report(a, FAILED)  # comes late, and is nobody's business any more


@in_loop
async def test_one_that_is_gone_and_comes_back_is_the_same() -> None:
    choose = Choose([make(one) for one in wanted("http://a,http://b")], make=make)
    a = choose.backends[0]
    a.in_flight = 1
    choose.replace(wanted("http://b"))
    choose.replace(wanted("http://b,http://a"))
    assert choose.backends[1] is a
    a.in_flight = 0
    await choose.tidy()
    assert not a.pool.closed  # type: ignore[attr-defined]


def test_another_strategy_from_one_request_to_the_next() -> None:
    a, b = backends("ab")
    choose = Choose([a, b])
    a.in_flight = 5
    assert "a" in names(choose, 4)
    choose.use(LeastConnections())
    assert names(choose, 4) == "bbbb"
    choose.report(b, Outcome.ANSWERED, 0.5)
    assert b.pace_s == 0.5


@in_loop
async def test_names_are_looked_up_and_everything_is_closed_at_the_end() -> None:
    choose = Choose([make(one) for one in wanted("http://a,http://b")], make=make)
    a, b = choose.backends
    await choose.refresh_names()
    choose.replace(wanted("http://b"))
    await choose.close()
    pools: Any = (a.pool, b.pool)
    assert [(pool.looked_up, pool.closed) for pool in pools] == [(1, True), (1, True)]


def test_repr() -> None:
    assert repr(Choose(backends("ab"))) == "<Choose RoundRobin 2 of 2 backends>"
