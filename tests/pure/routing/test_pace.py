"""Who is slow beside the others, and for how long that is believed."""

from __future__ import annotations

import pytest

from fastgw.routing.pace import FADE_EVERY_S, MAX_RATIO, NOISE_S, SLOW_RATIO, Paces
from tests.pure.routing.support import backends

FORGOTTEN_S = 20


def test_one_that_is_ten_times_slower_counts_tenfold() -> None:
    a, b, c = backends("abc")
    paces = Paces()
    for backend, seconds in ((a, 0.005), (b, 0.006), (c, 0.05)):
        paces.note(backend, seconds)
    assert [one.idle_load for one in (a, b)] == [0.0, 0.0]
    assert [one.request_load for one in (a, b)] == [1.0, 1.0]
    assert c.idle_load == c.request_load == pytest.approx(10)


def test_weight_divides() -> None:
    a, b = backends("ab", 1, 4)
    paces = Paces()
    paces.note(a, 0.005)
    paces.note(b, 0.05)
    assert b.request_load == pytest.approx(10 / 4)


def test_while_nothing_is_known_all_are_alike() -> None:
    a, b = backends("ab")
    paces = Paces()
    paces.renew([a, b])
    assert (a.request_load, b.request_load, a.idle_load) == (1.0, 1.0, 0.0)
    paces.note(a, 3.0)
    assert (a.request_load, b.request_load) == (1.0, 1.0)


def test_a_few_answers_of_a_minute_do_not_make_a_backend_slow() -> None:
    a, b = backends("ab")
    paces = Paces()
    for number in range(200):
        paces.note(a, 0.005)
        paces.note(b, 60.0 if number % 100 == 50 else 0.005)
        assert b.request_load == 1.0, number


def test_one_that_becomes_slow_is_known_as_such_after_some_answers_and_as_fast_again_likewise() -> None:
    a, b = backends("ab")
    paces = Paces()
    for _ in range(50):
        paces.note(a, 0.005)
        paces.note(b, 0.005)
    for _ in range(6):
        paces.note(b, 0.05)
    assert b.request_load > SLOW_RATIO
    for _ in range(60):
        paces.note(b, 0.05)
    assert b.request_load == pytest.approx(10, rel=0.1)
    for _ in range(60):
        paces.note(b, 0.005)
    assert (b.request_load, b.idle_load) == (1.0, 0.0)


def test_slowness_fades_while_nobody_asks_and_is_back_with_one_slow_answer() -> None:
    a, b = backends("ab")
    paces = Paces()
    paces.note(a, 0.005)
    paces.note(b, 0.05)
    before = b.request_load
    seconds = 0.0
    while b.request_load > 1:
        seconds += FADE_EVERY_S
        paces.note(a, 0.005)
        paces.fade([a, b])
        assert seconds < FORGOTTEN_S
    assert seconds > FORGOTTEN_S / 2
    paces.note(b, 0.05)
    assert b.request_load == pytest.approx(before)


def test_one_that_has_recovered_is_believed_after_a_few_tries() -> None:
    a, b = backends("ab")
    paces = Paces()
    paces.note(a, 0.005)
    paces.note(b, 0.05)
    tries = 0
    while b.pace_s > SLOW_RATIO * a.pace_s:
        for _ in range(FORGOTTEN_S):
            paces.note(a, 0.005)
            paces.fade([a, b])
        paces.note(b, 0.005)
        tries += 1
    assert tries <= 3


def test_endless_slowness_is_bounded() -> None:
    a, b = backends("ab")
    paces = Paces()
    paces.note(a, 0.001)
    paces.note(b, 600.0)
    paces.renew([a, b])
    assert b.request_load == MAX_RATIO


def test_when_the_fastest_goes_the_next_is_the_measure() -> None:
    a, b, c = backends("abc")
    paces = Paces()
    for backend, seconds in ((a, 0.001), (b, 0.05), (c, 0.05)):
        paces.note(backend, seconds)
    paces.renew([b, c])
    assert (b.request_load, c.request_load) == (1.0, 1.0)
    assert repr(paces) == "<Paces fastest=50.0 ms>"


def test_among_answers_of_a_millisecond_a_hiccup_makes_nobody_slow() -> None:
    a, b = backends("ab")
    paces = Paces()
    paces.note(a, 0.0005)
    paces.note(b, 0.0005 + NOISE_S)
    assert (b.request_load, b.idle_load) == (1.0, 0.0)
    paces.renew([a, b])
    assert (b.request_load, b.idle_load) == (1.0, 0.0)
