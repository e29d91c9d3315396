"""The body of a request for the gateway itself: whole, bounded in size and time."""

from __future__ import annotations

from typing import Any

import pytest

from fastgw.endpoints import body
from fastgw.endpoints.body import MAX_BYTES, read_body
from fastgw.errors import GatewayError
from fastgw.exchange import Exchange
from fastgw.protocol.framing import UNKNOWN_LENGTH
from tests.pure.asgi import Client, exchange, piece
from tests.pure.loop import in_loop

GONE = {"type": "http.disconnect"}


def request(length: int, *events: Any) -> Exchange:
    x = exchange(method="PATCH", client=Client(*events))
    x.body_length = length
    return x


@pytest.mark.parametrize(
    ("length", "events"),
    [
        (5, [piece(b"hello")]),
        (5, [piece(b"hello", more=True)]),
        (5, [piece(b"hel", more=True), piece(b"lo")]),
        (UNKNOWN_LENGTH, [piece(b"hel", more=True), piece(b"", more=True), piece(b"lo", more=True), piece(b"")]),
    ],
    ids=["one-piece", "granian-says-more", "pieces", "chunked"],
)
@in_loop
async def test_it_is_read_whole(length: int, events: list[Any]) -> None:
    x = request(length, *events)
    assert await read_body(x) == b"hello"
    assert x.body_read


@in_loop
async def test_without_a_body_nothing_is_waited_for() -> None:
    assert await read_body(request(0)) == b""


@pytest.mark.parametrize(
    ("length", "events", "status"),
    [
        (MAX_BYTES + 1, [], 413),
        (UNKNOWN_LENGTH, [piece(b"x" * 40_000, more=True)] * 2, 413),
        (10, [piece(b"hello", more=True), GONE], 400),
        (10, [], 408),
    ],
    ids=["announced", "chunked", "gone", "silent"],
)
@in_loop
async def test_too_much_too_little_and_too_late_are_errors(
    length: int, events: list[Any], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "TIMEOUT_S", 0.05)
    x = request(length, *events)
    with pytest.raises(GatewayError) as caught:
        await read_body(x)
    assert caught.value.kind.status == status
    assert x.client_gone == (GONE in events)
    assert not x.body_read


@in_loop
async def test_the_largest_body_is_read() -> None:
    assert len(await read_body(request(MAX_BYTES, piece(b"x" * MAX_BYTES)))) == MAX_BYTES
