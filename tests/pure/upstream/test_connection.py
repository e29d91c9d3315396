"""Connection: states, facts on errors, waits and deadlines, over a transport that only records."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest

from fastgw.upstream.connection import MOVES, Connection, State
from fastgw.upstream.errors import Aborted, ConnectionLost, ProtocolFault, ReadTimeout, UpstreamError
from fastgw.upstream.flow import HIGH_WATER
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import RecordingTransport, opened, turns

GET = b"GET / HTTP/1.1\r\nhost: b\r\n\r\n"
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
HEAD_ONLY = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_state(state: State) -> Connection:
    connection = Connection(0, lambda _: None)
    connection.state = state
    return connection


@in_loop
async def test_only_the_moves_of_the_table_are_made() -> None:
    for source, target in itertools.product(State, State):
        connection = in_state(source)
        if target in MOVES[source]:
            connection._move_to(target)
            assert connection.state is target
        else:
            with pytest.raises(RuntimeError, match=f"from {source.name} to {target.name}"):
                connection._move_to(target)
            assert connection.state is source


@in_loop
async def test_a_request_is_one_write_and_its_answer_one_wait() -> None:
    connection, transport, ended = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    assert not head.done()
    assert connection.deadline < math.inf
    connection.data_received(SMALL)
    await head
    assert transport.writes == [GET]
    assert connection.sent == len(GET)
    assert connection.deadline == math.inf
    assert connection.is_reusable
    assert connection.reader.take() == b"abc"
    assert not ended


@in_loop
async def test_an_answer_that_is_there_already_is_not_waited_for() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    connection.data_received(SMALL)
    assert connection.head(5).done()
    assert connection.deadline == math.inf


@in_loop
async def test_the_head_waits_for_the_first_bytes_of_the_body_until_it_is_nudged() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(HEAD_ONLY)
    await turns()
    assert not head.done()
    connection.nudge()
    await head
    connection.data_received(b"abc")
    assert await connection.read(5) == b"abc"
    assert await connection.read(5) == b""


@in_loop
async def test_a_nudge_before_the_head_lets_the_head_through_at_once() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.nudge()
    assert not head.done()
    connection.data_received(HEAD_ONLY)
    await head


@in_loop
async def test_an_event_stream_s_head_does_not_wait_for_an_event() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(EVENTS)
    await head
    read = asyncio.ensure_future(connection.read(math.inf))
    await turns()
    assert not read.done()
    assert connection.deadline == math.inf
    connection.data_received(b"4\r\nd:1\n\r\n")
    assert await read == b"d:1\n"


@in_loop
async def test_a_nudge_while_the_body_is_awaited_gives_no_empty_piece() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    connection.nudge()
    connection.data_received(HEAD_ONLY)
    await connection.head(5)
    read = asyncio.ensure_future(connection.read(5))
    await turns()
    connection.nudge()
    await turns()
    assert not read.done()
    connection.data_received(b"a")
    assert await read == b"a"


@in_loop
async def test_interim_responses_wake_nobody() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    connection.nudge()
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    await turns()
    assert not head.done()
    connection.data_received(SMALL)
    await head
    assert connection.reader.status == 200


# -- how it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("requests", [0, 1], ids=["new", "reused"])
@pytest.mark.parametrize(
    ("exc", "reason"),
    [(None, "closed early"), (ConnectionResetError(), "reset"), (BrokenPipeError(), "reset")],
    ids=["end_of_file", "reset", "broken_pipe"],
)
@in_loop
async def test_a_loss_tells_what_was_sent_and_whether_it_was_reused(
    requests: int, exc: Exception | None, reason: str
) -> None:
    connection, _, ended = opened(requests)
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.connection_lost(exc)
    with pytest.raises(ConnectionLost, match=reason) as lost:
        await head
    assert (lost.value.sent, lost.value.reused) == (len(GET), bool(requests))
    assert ended == [connection]
    assert connection.state is State.CLOSED


@in_loop
async def test_lost_before_the_request_means_nothing_sent() -> None:
    connection, transport, _ = opened(1)
    connection.connection_lost(None)
    with pytest.raises(ConnectionLost) as lost:
        connection.send_request(b"POST", b"POST / HTTP/1.1\r\n\r\n")
    assert (lost.value.sent, lost.value.reused) == (0, True)
    assert transport.writes == []


@in_loop
async def test_a_body_cut_short_is_handed_out_and_then_fails() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    assert connection.eof_received() is False
    connection.connection_lost(None)
    await head
    assert not connection.reader.complete
    assert await connection.read(5) == b"abc"
    with pytest.raises(ConnectionLost):
        await connection.read(5)
    assert not connection.is_reusable


@in_loop
async def test_a_whole_body_survives_the_close_behind_it() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(SMALL)
    connection.connection_lost(ConnectionResetError())
    await head
    assert connection.reader.complete
    assert await connection.read(5) == b"abc"
    assert await connection.read(5) == b""
    assert not connection.is_reusable


@in_loop
async def test_until_close_ends_with_the_end_of_file() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nabc")
    await head
    assert await connection.read(5) == b"abc"
    rest = asyncio.ensure_future(connection.read(5))
    await turns()
    assert connection.eof_received() is False
    connection.connection_lost(None)
    assert await rest == b""
    assert not connection.is_reusable


@in_loop
async def test_until_close_is_not_ended_by_a_reset() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nabc")
    await head
    assert await connection.read(5) == b"abc"
    connection.connection_lost(ConnectionResetError())
    with pytest.raises(ConnectionLost):
        await connection.read(5)


@in_loop
async def test_what_is_no_http_ends_it() -> None:
    connection, transport, ended = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"SSH-2.0\r\n")
    with pytest.raises(ProtocolFault) as fault:
        await head
    assert fault.value.sent == len(GET)
    assert transport.aborted
    assert ended == [connection]


@in_loop
async def test_a_status_below_100_is_no_answer() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 099 What\r\nContent-Length: 1\r\n\r\na")
    with pytest.raises(ProtocolFault):
        await head


@pytest.mark.parametrize("event", ["bytes", "end_of_file"])
@in_loop
async def test_an_idle_connection_is_watched(event: str) -> None:
    connection, transport, ended = opened()
    connection.send_request(b"GET", GET)
    connection.data_received(SMALL)
    connection.reader.take()
    connection.rest(math.inf)
    if event == "bytes":
        connection.data_received(SMALL)
        assert transport.aborted
    else:
        connection.eof_received()
        connection.connection_lost(None)
    assert connection.state is State.CLOSED
    assert ended == [connection]


@in_loop
async def test_bytes_before_the_connection_is_handed_out_close_its_socket() -> None:
    """A server that speaks first (SSH, SMTP) is no HTTP server; its socket must not stay open behind us."""
    ended: list[Connection] = []
    connection = Connection(0, ended.append)
    transport = RecordingTransport(connection)
    connection.connection_made(transport)
    connection.data_received(b"220 mail.example ESMTP\r\n")
    assert connection.state is State.CLOSED
    assert transport.aborted
    assert ended == [connection]


@in_loop
async def test_aborted_before_it_was_made() -> None:
    ended: list[Connection] = []
    connection = Connection(0, ended.append)
    connection.abort()
    connection.abort()
    assert ended == [connection]


@in_loop
async def test_abort_is_safe_in_every_state_and_tells_once() -> None:
    connection, transport, ended = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.abort()
    connection.abort(ReadTimeout("second"))
    with pytest.raises(Aborted, match="given up"):
        await head
    await turns()
    assert transport.aborted
    assert ended == [connection]


@in_loop
async def test_an_expired_deadline_is_a_read_timeout() -> None:
    connection, transport, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.expire()
    with pytest.raises(ReadTimeout) as late:
        await head
    assert late.value.sent == len(GET)
    assert connection.deadline == math.inf
    assert transport.aborted


@in_loop
async def test_nobody_waiting_is_no_fault_when_it_ends() -> None:
    connection, _, ended = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    head.cancel()
    connection.data_received(SMALL)
    connection.connection_lost(None)
    assert ended == [connection]


@pytest.mark.parametrize(("status", "reusable"), [(200, True), (404, True), (499, True), (500, False), (503, False)])
@in_loop
async def test_a_connection_that_carried_a_5xx_is_not_reused(status: int, reusable: bool) -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    connection.data_received(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
    assert connection.reader.complete
    assert connection.is_reusable is reusable


@in_loop
async def test_a_second_response_spoils_the_connection_and_is_not_delivered() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(SMALL + SMALL)
    await head
    assert connection.reader.take() == b"abc"
    assert not connection.is_reusable


# -- backpressure -------------------------------------------------------------------------------------


@in_loop
async def test_reading_pauses_above_the_mark_and_goes_on_below_it() -> None:
    connection, transport, _ = opened()
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(HIGH_WATER))
    await head
    assert transport.reading
    connection.data_received(b"x")
    assert not transport.reading
    assert len(await connection.read(5)) == HIGH_WATER + 1
    assert transport.reading


@in_loop
async def test_a_large_response_in_one_piece_leaves_the_connection_reading() -> None:
    """The short way of deliver takes the body without `read`; the next response must be read all the same."""
    connection, transport, _ = opened()
    size = 2 * HIGH_WATER
    connection.send_request(b"GET", GET)
    head = connection.head(5)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    await head
    assert connection.reader.complete
    assert len(connection.reader.take()) == size
    connection.rest(math.inf)
    connection.activate()
    connection.send_request(b"GET", GET)
    assert transport.reading, "paused: the next response, and an end of file while idle, would never be seen"


@in_loop
async def test_the_request_body_waits_while_the_backend_is_slow() -> None:
    connection, transport, _ = opened()
    connection.send_request(b"PUT", b"PUT / HTTP/1.1\r\ncontent-length: 6\r\n\r\n")
    sent = connection.sent
    await connection.send_body(b"abc", 5)
    connection.pause_writing()
    more = asyncio.ensure_future(connection.send_body(b"def", 5))
    await turns()
    assert not more.done()
    assert connection.deadline < math.inf
    connection.resume_writing()
    await more
    assert connection.deadline == math.inf
    assert connection.sent == sent + 6
    assert transport.writes[1:] == [b"abc", b"def"]


@in_loop
async def test_a_sender_that_waits_learns_of_the_loss() -> None:
    connection, transport, _ = opened()
    connection.send_request(b"PUT", b"PUT / HTTP/1.1\r\ncontent-length: 6\r\n\r\n")
    connection.pause_writing()
    more = asyncio.ensure_future(connection.send_body(b"abc", 5))
    await turns()
    connection.expire()
    with pytest.raises(ReadTimeout):
        await more
    writes = len(transport.writes)
    with pytest.raises(UpstreamError):
        await connection.send_body(b"def", 5)
    assert len(transport.writes) == writes


@in_loop
async def test_expect_by_sets_the_deadline_of_who_waits() -> None:
    connection, _, _ = opened()
    connection.expect_by(5)
    assert connection.deadline == math.inf
    connection.send_request(b"PUT", GET)
    head = connection.head(math.inf)
    assert connection.deadline == math.inf
    connection.expect_by(5)
    assert connection.deadline < math.inf
    head.cancel()


@in_loop
async def test_expect_by_leaves_an_event_stream_its_silence() -> None:
    """Events may come while the request is still being sent; its end must not put a clock on the silence after."""
    connection, _, _ = opened()
    connection.send_request(b"POST", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
    head = connection.head(math.inf)
    connection.data_received(EVENTS)
    await head
    read = asyncio.ensure_future(connection.read(math.inf))
    await turns()
    connection.expect_by(5)
    assert connection.deadline == math.inf
    connection.abort()
    with pytest.raises(Aborted):
        await read


@in_loop
async def test_repr_tells_the_state() -> None:
    connection, _, _ = opened()
    connection.send_request(b"GET", GET)
    assert repr(connection) == (
        f"<Connection ACTIVE requests=1 sent={len(GET)} <ResponseReader head status=0 buffered=0>>"
    )
