"""The two bodies: framing, limits, and the ways in which they end."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from fastgw.errors import BAD_REQUEST, PAYLOAD_TOO_LARGE, GatewayError
from fastgw.forwarding.body import PIECE_BYTES, Upload, frame, stream_response
from fastgw.forwarding.failures import GivenUp
from fastgw.protocol.framing import UNKNOWN_LENGTH
from fastgw.upstream.connection import Connection, State
from fastgw.upstream.errors import ConnectionLost, UpstreamError
from tests.pure.asgi import Client, exchange, piece
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import RecordingTransport, opened, turns

HEAD = b"POST / HTTP/1.1\r\n\r\n"


def upload(client: Client, length: int, max_bytes: int = 100) -> Upload:
    x = exchange(method="POST", client=client)
    x.body_length = length
    return Upload(x, max_bytes)


@pytest.mark.parametrize(
    ("data", "framed"), [(b"", b""), (b"a", b"1\r\na\r\n"), (b"x" * 255, b"ff\r\n" + b"x" * 255 + b"\r\n")]
)
def test_a_chunk(data: bytes, framed: bytes) -> None:
    assert frame(data) == framed


@pytest.mark.parametrize("more", [False, True], ids=["said_so", "granian_says_more"])
@in_loop
async def test_a_body_of_known_length_is_whole_when_all_of_it_came(more: bool) -> None:
    body = upload(Client(piece(b"abc", more=more)), 3)
    await body.begin()
    assert (body.first, body.is_whole, body._x.body_read, body._x.client_deadline) == (b"abc", True, True, math.inf)


@in_loop
async def test_a_body_of_unknown_length_is_whole_when_nothing_follows() -> None:
    body = upload(Client(piece(b"abc")), UNKNOWN_LENGTH)
    await body.begin()
    assert (body.first, body.is_whole) == (b"abc", True)


@in_loop
async def test_a_slow_client_s_deadline_is_set_while_it_is_awaited() -> None:
    client = Client()
    body = upload(client, 3)
    begun = asyncio.ensure_future(body.begin())
    await turns()
    assert body._x.client_deadline < math.inf
    client.say(piece(b"abc"))
    await begun


@pytest.mark.parametrize("length", [3, UNKNOWN_LENGTH], ids=["known", "unknown"])
@in_loop
async def test_a_client_that_leaves(length: int) -> None:
    client = Client()
    client.leave()
    body = upload(client, length)
    with pytest.raises(GivenUp) as given_up:
        await body.begin()
    assert given_up.value.error.kind is BAD_REQUEST
    assert body._x.client_gone


@in_loop
async def test_a_body_shorter_than_its_length_is_a_client_that_left() -> None:
    body = upload(Client(piece(b"ab")), 3)
    with pytest.raises(GivenUp, match="incomplete"):
        await body.begin()
    assert body._x.client_gone


@in_loop
async def test_a_body_of_unknown_length_may_not_pass_the_limit() -> None:
    body = upload(Client(piece(b"x" * 100, more=True), piece(b"y")), UNKNOWN_LENGTH)
    await body.begin()
    connection, transport, _ = opened()
    connection.send_request(b"POST", HEAD)
    waiting = connection.head(math.inf)
    await body.send_rest(connection, 5)
    with pytest.raises(GivenUp) as given_up:
        await waiting
    assert isinstance(given_up.value.error, GatewayError)
    assert given_up.value.error.kind is PAYLOAD_TOO_LARGE
    assert transport.aborted


@pytest.mark.parametrize(
    ("length", "pieces", "wire"),
    [
        (6, [piece(b"cd", more=True), piece(b"ef")], [b"cd", b"ef"]),
        (UNKNOWN_LENGTH, [piece(b"cd", more=True), piece(b"ef")], [b"2\r\ncd\r\n", b"2\r\nef\r\n0\r\n\r\n"]),
        (UNKNOWN_LENGTH, [piece(b"cd", more=True), piece(b"")], [b"2\r\ncd\r\n", b"0\r\n\r\n"]),
        (UNKNOWN_LENGTH, [piece(b"", more=True), piece(b"cd")], [b"", b"2\r\ncd\r\n0\r\n\r\n"]),
    ],
    ids=["length", "chunked", "chunked_empty_end", "chunked_empty_piece"],
)
@in_loop
async def test_the_rest_is_framed_as_the_head_said(length: int, pieces: list[Any], wire: list[bytes]) -> None:
    body = upload(Client(piece(b"ab", more=True), *pieces), length)
    await body.begin()
    connection, transport, _ = opened()
    connection.send_request(b"POST", HEAD)
    waiting = connection.head(math.inf)
    await body.send_rest(connection, 5)
    assert [one for one in transport.writes[1:] if one] == [one for one in wire if one]
    assert body._x.body_read
    assert connection.deadline < math.inf, "from the end of the request on, the backend's time runs"
    waiting.cancel()


@pytest.mark.parametrize("kind", ["leaves", "fails"])
@in_loop
async def test_whatever_ends_the_upload_ends_the_wait_for_the_response(kind: str) -> None:
    """That wait has no deadline of its own while the request is being sent: it would be for ever."""
    client = Client(piece(b"ab", more=True))
    body = upload(client, 6)
    await body.begin()
    connection, transport, _ = opened()
    connection.send_request(b"POST", HEAD)
    waiting = connection.head(math.inf)
    if kind == "leaves":
        client.leave()
    else:
        client.say(RuntimeError("the server's receive failed"))
    sending = asyncio.ensure_future(body.send_rest(connection, 5))
    await asyncio.gather(sending, return_exceptions=True)
    assert transport.aborted
    with pytest.raises(UpstreamError):
        await waiting


# -- the response -------------------------------------------------------------------------------------


async def streaming(head: bytes) -> tuple[Client, Connection, RecordingTransport, asyncio.Future[None]]:
    connection, transport, _ = opened()
    client = Client()
    connection.send_request(b"GET", b"GET / HTTP/1.1\r\n\r\n")
    connection.nudge()
    waiting = connection.head(5)
    connection.data_received(head)
    await waiting
    task = asyncio.ensure_future(stream_response(exchange(client=client), connection, [(b"a", b"b")], 5))
    await turns()
    return client, connection, transport, task


@in_loop
async def test_the_head_goes_out_before_the_body_is_there() -> None:
    client, connection, _, task = await streaming(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    assert client.sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]},
        {"type": "http.response.body", "body": b"", "more_body": True},
    ]
    connection.data_received(b"ab")
    await turns()
    assert client.sent[-1] == {"type": "http.response.body", "body": b"ab", "more_body": True}
    connection.data_received(b"c")
    await task
    assert client.body == b"abc"
    assert [message["more_body"] for message in client.sent[1:]][-2:] == [True, False]


@in_loop
async def test_a_large_piece_is_cut() -> None:
    size = 3 * PIECE_BYTES + 5
    client, connection, _, task = await streaming(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    connection.data_received(bytes(size))
    await task
    assert len(client.body) == size
    assert max(len(message["body"]) for message in client.sent[1:]) == PIECE_BYTES


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n",
    ],
    ids=["length", "chunked"],
)
@in_loop
async def test_a_body_cut_short_is_never_ended(head: bytes) -> None:
    client, connection, _, task = await streaming(head)
    connection.data_received(b"abc")
    await turns()
    connection.eof_received()
    connection.connection_lost(None)
    with pytest.raises(ConnectionLost):
        await task
    assert client.body == b"abc"
    assert all(message["more_body"] for message in client.sent[1:])
    assert connection.state is State.CLOSED


@in_loop
async def test_the_backend_is_not_read_faster_than_the_client_takes() -> None:
    client, connection, transport, task = await streaming(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    taken = asyncio.Event()

    async def slow_send(message: Any) -> None:
        client.sent.append(message)
        await taken.wait()

    task.cancel()
    await turns()
    x = exchange(client=client)
    x.send = slow_send
    task = asyncio.ensure_future(stream_response(x, connection, [], 5))
    for _ in range(20):
        if not transport.reading:
            break
        connection.data_received(bytes(10_000))
        await turns()
    assert not transport.reading
    assert connection.reader.buffered < 100_000
    task.cancel()
