"""The choice between backends."""

from __future__ import annotations

from typing import Any

from fastgw.routing.backend import Backend
from fastgw.routing.choose import Choose
from tests.pure.asgi import exchange

NO_POOL: Any = None
A, B, C = (Backend(f"http://{name}", name.encode(), NO_POOL) for name in "abc")


def test_each_in_turn() -> None:
    choose = Choose([A, B, C])
    assert [choose(exchange(), set()).url[-1] for _ in range(7)] == list("abcabca")


def test_not_one_that_was_tried() -> None:
    choose = Choose([A, B, C])
    for _ in range(6):
        assert choose(exchange(), {A, C}) is B


def test_when_all_were_tried_there_is_still_one() -> None:
    assert Choose([A, B])(exchange(), {A, B}) in {A, B}
    assert Choose([A])(exchange(), {A}) is A


def test_how_many_are_left() -> None:
    choose = Choose([A, B, C])
    assert [choose.left(set()), choose.left({A}), choose.left({A, B, C})] == [3, 2, 0]


def test_backends_are_themselves_only() -> None:
    assert Backend("http://a", b"a", NO_POOL) != A
