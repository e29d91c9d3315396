"""Pool: order, bounds and reuse, on a loop whose connections the test makes by hand."""

from __future__ import annotations

import asyncio

import pytest

from fastgw.upstream.connection import Connection, State
from fastgw.upstream.errors import ConnectFailed, ConnectionLost, ConnectTimeout, PoolTimeout, ReadTimeout
from fastgw.upstream.pool import SWEEP_SECONDS, Pool
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import HandLoop, turns

GET = b"GET / HTTP/1.1\r\nhost: b\r\n\r\n"


def made(size: int = 2, *, at_once: bool = True, **more: float) -> tuple[Pool, HandLoop]:
    pool = Pool("backend.internal", 8000, size=size, **more)  # type: ignore[arg-type]
    loop = HandLoop()
    loop.at_once = at_once
    pool._loop = loop  # type: ignore[assignment]
    return pool, loop


def answer(connection: Connection, status: int = 200, extra: bytes = b"") -> None:
    """One request on the connection, answered to its end."""
    connection.send_request(b"GET", GET)
    connection.data_received(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n%b\r\n" % (status, extra))


@in_loop
async def test_a_connection_comes_back_and_is_used_again() -> None:
    pool, loop = made()
    first = await pool.acquire(1)
    assert (first.state, pool.active) == (State.ACTIVE, 1)
    answer(first)
    pool.release(first)
    assert (first.state, pool.active) == (State.IDLE, 0)
    assert await pool.acquire(1) is first
    assert len(loop.links) == 1
    await pool.close()


@in_loop
async def test_the_idle_ones_are_a_stack() -> None:
    pool, _ = made(3)
    three = [await pool.acquire(1) for _ in range(3)]
    for connection in three:
        answer(connection)
        pool.release(connection)
    assert [pool.take_idle() for _ in range(4)] == [*reversed(three), None]
    await pool.close()


@pytest.mark.parametrize(
    ("status", "extra"), [(500, b""), (503, b""), (200, b"Connection: close\r\n")], ids=["500", "503", "close"]
)
@in_loop
async def test_what_may_not_be_reused_is_closed(status: int, extra: bytes) -> None:
    pool, loop = made()
    connection = await pool.acquire(1)
    answer(connection, status, extra)
    pool.release(connection)
    assert loop.links[0].transport.aborted
    assert pool.take_idle() is None
    assert await pool.acquire(1) is not connection
    await pool.close()


@in_loop
async def test_a_connection_whose_response_was_not_read_to_its_end_is_closed() -> None:
    pool, loop = made()
    connection = await pool.acquire(1)
    connection.send_request(b"GET", GET)
    connection.data_received(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nabc")
    pool.release(connection)
    assert loop.links[0].transport.aborted
    await pool.close()


@in_loop
async def test_a_second_response_closes_the_connection() -> None:
    pool, loop = made()
    connection = await pool.acquire(1)
    answer(connection)
    connection.data_received(b"HTTP/1.1 200 X\r\nContent-Length: 6\r\n\r\nSECRET")
    pool.release(connection)
    assert loop.links[0].transport.aborted
    await pool.close()


@in_loop
async def test_an_idle_connection_that_ends_is_forgotten() -> None:
    pool, loop = made()
    connection = await pool.acquire(1)
    answer(connection)
    pool.release(connection)
    connection.connection_lost(None)
    assert repr(pool) == "<Pool backend.internal:8000 active=0 idle=0 connecting=0 queued=0 limit=2>"
    assert await pool.acquire(1) is not connection
    assert len(loop.links) == 2
    await pool.close()


@in_loop
async def test_too_long_idle_is_not_handed_out() -> None:
    pool, loop = made(keepalive_s=-1.0)
    connection = await pool.acquire(1)
    answer(connection)
    pool.release(connection)
    assert pool.take_idle() is None
    assert loop.links[0].transport.aborted
    await pool.close()


@in_loop
async def test_retire_closes_idle_ones_now_and_active_ones_later() -> None:
    pool, loop = made()
    active, idle = await pool.acquire(1), await pool.acquire(1)
    answer(idle)
    pool.release(idle)
    pool.retire()
    assert [link.transport.aborted for link in loop.links] == [False, True]
    answer(active)
    pool.release(active)
    assert [link.transport.aborted for link in loop.links] == [True, True]
    await pool.close()


# -- names that move ----------------------------------------------------------------------------------


def resolving(loop: HandLoop, *addresses: str) -> list[str]:
    """Have the loop resolve every name to these, and note which; an address that is no address: it fails."""
    asked = []

    async def getaddrinfo(host: str, port: int, **_more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if "away" in addresses:
            raise OSError("no resolver")
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    loop.getaddrinfo = getaddrinfo  # type: ignore[attr-defined]
    return asked


async def at_home(pool: Pool, loop: HandLoop, address: str) -> Connection:
    """A connection that leads to `address`, idle."""
    connection = await pool.acquire(1)
    loop.links[-1].transport._extra = {"peername": (address, 8000)}
    answer(connection)
    return connection


@in_loop
async def test_connections_are_left_when_the_name_has_lost_their_address() -> None:
    pool, loop = made()
    active, idle = await at_home(pool, loop, "10.0.0.1"), await at_home(pool, loop, "10.0.0.1")
    pool.release(idle)
    resolving(loop, "10.0.0.1", "10.0.0.2")
    await pool.look_up()
    assert idle.state is State.IDLE
    resolving(loop, "10.0.0.2", "::1")
    await pool.look_up()
    assert (idle.state, active.state) == (State.CLOSED, State.ACTIVE)
    pool.release(active)
    assert active.state is State.CLOSED
    await pool.close()


@in_loop
async def test_a_long_response_from_the_old_address_does_not_cost_the_new_connections() -> None:
    pool, loop = made(3)
    await at_home(pool, loop, "10.0.0.1")
    resolving(loop, "10.0.0.2")
    await pool.look_up()
    new = await at_home(pool, loop, "10.0.0.2")
    pool.release(new)
    await pool.look_up()
    assert new.state is State.IDLE
    await pool.close()


@in_loop
async def test_a_resolver_that_is_away_changes_nothing() -> None:
    pool, loop = made()
    connection = await at_home(pool, loop, "10.0.0.1")
    pool.release(connection)
    resolving(loop, "away")
    await pool.look_up()
    assert connection.state is State.IDLE
    await pool.close()


@pytest.mark.parametrize("host", ["10.0.0.1", "::1"])
@in_loop
async def test_literal_addresses_and_empty_pools_are_not_looked_up(host: str) -> None:
    for pool in (Pool(host, 8000), Pool("backend.internal", 8000)):
        loop = HandLoop()
        pool._loop = loop  # type: ignore[assignment]
        asked = resolving(loop, "10.0.0.2")
        if pool._host == host:
            await at_home(pool, loop, host)
        await pool.look_up()
        assert asked == []
        await pool.close()


@in_loop
async def test_a_real_name_that_stays_where_it_is() -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool = Pool("localhost", server.sockets[0].getsockname()[1])
    connection = await pool.acquire(1)
    assert connection.address == "127.0.0.1"
    await pool.look_up()
    assert connection.generation == pool._generation
    await pool.close()
    server.close()


# -- the queue ----------------------------------------------------------------------------------------


@in_loop
async def test_a_full_pool_times_out_with_nothing_sent() -> None:
    pool, _ = made(1)
    await pool.acquire(1)
    with pytest.raises(PoolTimeout, match="all 1 connections") as full:
        await pool.acquire(0.01)
    assert full.value.sent == 0
    assert "queued=0" in repr(pool) or pool.take_idle() is None
    await pool.close()


@in_loop
async def test_who_waited_longest_is_served_first() -> None:
    pool, _ = made(1)
    connection = await pool.acquire(1)
    order: list[str] = []

    async def wait(name: str) -> None:
        mine = await pool.acquire(1)
        order.append(name)
        answer(mine)
        pool.release(mine)

    waiting = [asyncio.ensure_future(wait(name)) for name in "abc"]
    await turns()
    answer(connection)
    pool.release(connection)
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]
    await pool.close()


@in_loop
async def test_a_connect_that_succeeds_frees_no_place_and_moves_nobody_in_the_queue() -> None:
    """Who is told of a free place that is none goes to the end of the queue, and waits his whole time once more."""
    pool, loop = made(1, at_once=False)
    holder = asyncio.ensure_future(pool.acquire(1))
    await turns()
    waiting = [asyncio.ensure_future(pool.acquire(1)) for _ in range(2)]
    await turns()
    loop.links[0].made()
    connection = await holder
    await turns()
    answer(connection)
    pool.release(connection)
    await turns()
    assert [one.done() for one in waiting] == [True, False]
    waiting[1].cancel()
    await pool.close()


@in_loop
async def test_a_wait_is_bounded_however_often_places_come_and_go() -> None:
    """Newcomers that take the free place must not give the one who waits a new deadline each time."""
    pool, _ = made(1)
    holder = await pool.acquire(1)
    started = asyncio.get_running_loop().time()
    waiting = asyncio.ensure_future(pool.acquire(0.1))
    await turns()
    for _ in range(8):
        await asyncio.sleep(0.04)
        if waiting.done():
            break
        holder.abort()  # a place comes free ...
        holder = await pool.acquire(1)  # ... and is taken before the one who waits has run
    with pytest.raises(PoolTimeout):
        await waiting
    assert asyncio.get_running_loop().time() - started < 0.2
    await pool.close()


@in_loop
async def test_who_waits_may_open_when_a_place_comes_free() -> None:
    pool, loop = made(1)
    first = await pool.acquire(1)
    waiting = asyncio.ensure_future(pool.acquire(1))
    await turns()
    pool.release(first)
    second = await waiting
    assert second is not first
    assert len(loop.links) == 2
    await pool.close()


@in_loop
async def test_a_refused_connect_lets_the_next_one_try() -> None:
    pool, loop = made(1, at_once=False)
    first = asyncio.ensure_future(pool.acquire(1))
    await turns()
    second = asyncio.ensure_future(pool.acquire(1))
    await turns()
    loop.links[0].refused(ConnectionRefusedError(111, "Connection refused"))
    with pytest.raises(ConnectFailed) as refused:
        await first
    assert (refused.value.sent, refused.value.reused) == (0, False)
    await turns()
    loop.links[1].made()
    assert (await second).state is State.ACTIVE
    await pool.close()


@in_loop
async def test_a_request_given_up_in_the_queue_leaves_it() -> None:
    pool, _ = made(1)
    connection = await pool.acquire(1)
    gone, stays = (asyncio.ensure_future(pool.acquire(1)) for _ in range(2))
    await turns()
    gone.cancel()
    await turns()
    answer(connection)
    pool.release(connection)
    assert await stays is connection
    await pool.close()


@in_loop
async def test_a_connection_handed_to_a_request_that_is_given_up_is_not_lost() -> None:
    pool, _ = made(1)
    connection = await pool.acquire(1)
    gone = asyncio.ensure_future(pool.acquire(1))
    await turns()
    answer(connection)
    pool.release(connection)
    gone.cancel()
    (outcome,) = await asyncio.gather(gone, return_exceptions=True)
    if isinstance(outcome, Connection):  # wait_for of Python 3.11 prefers a result to the cancellation
        pool.release(outcome)
    assert (await pool.acquire(1)).state is State.ACTIVE
    assert pool.active == 1
    await pool.close()


@pytest.mark.parametrize("event", ["end_of_file", "bytes"])
@in_loop
async def test_what_ends_between_release_and_hand_over_is_not_used(event: str) -> None:
    pool, _ = made(1)
    connection = await pool.acquire(1)
    waiting = asyncio.ensure_future(pool.acquire(1))
    await turns()
    answer(connection)
    pool.release(connection)
    if event == "bytes":  # unasked: the next answer on it could not be trusted
        connection.data_received(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
    else:
        connection.connection_lost(None)
    assert await waiting is not connection
    await pool.close()


# -- connecting ---------------------------------------------------------------------------------------


@in_loop
async def test_a_connect_that_takes_too_long() -> None:
    pool, _ = made(1, at_once=False, connect_timeout_s=0.01)
    with pytest.raises(ConnectTimeout) as late:
        await pool.acquire(1)
    assert late.value.sent == 0
    assert "connecting=0" in repr(pool)
    await pool.close()


@in_loop
async def test_a_server_that_speaks_first_is_refused_and_its_socket_closed() -> None:
    pool, loop = made(1, at_once=False)
    acquiring = asyncio.ensure_future(pool.acquire(1))
    await turns()
    loop.links[0].made().connection.data_received(b"SSH-2.0\r\n")
    with pytest.raises(ConnectFailed):
        await acquiring
    assert loop.links[0].transport.aborted
    assert repr(pool) == "<Pool backend.internal:8000 active=0 idle=0 connecting=0 queued=0 limit=1>"
    await pool.close()


@in_loop
async def test_the_reason_of_a_failed_connect_names_no_address() -> None:
    """It reaches the client, who is to learn nothing of where backends are (errors.GatewayError)."""
    pool, loop = made(1, at_once=False)
    acquiring = asyncio.ensure_future(pool.acquire(1))
    await turns()
    loop.links[0].refused(OSError("Multiple exceptions: [Errno 111] Connect call failed ('10.1.2.3', 8000)"))
    with pytest.raises(ConnectFailed) as failed:
        await acquiring
    assert "10.1.2.3" not in failed.value.reason
    await pool.close()


# -- the sweeper and the end --------------------------------------------------------------------------


@in_loop
async def test_the_sweeper_ends_what_is_overdue_and_then_sleeps() -> None:
    pool, loop = made(2, keepalive_s=SWEEP_SECONDS / 2)
    slow, idle = await pool.acquire(1), await pool.acquire(1)
    slow.send_request(b"GET", GET)
    head = slow.head(SWEEP_SECONDS / 2)
    answer(idle)
    pool.release(idle)
    with pytest.raises(ReadTimeout):
        await head
    await asyncio.sleep(2.5 * SWEEP_SECONDS)
    assert [link.transport.aborted for link in loop.links] == [True, True]
    assert pool._sweeper is None
    await pool.acquire(1)
    assert pool._sweeper is not None
    await pool.close()


@in_loop
async def test_close_ends_everything() -> None:
    pool, loop = made(2)
    active, idle = await pool.acquire(1), await pool.acquire(1)
    active.send_request(b"GET", GET)
    head = active.head(5)
    answer(idle)
    pool.release(idle)
    await pool.close()
    with pytest.raises(Exception, match="given up"):
        await head
    assert all(link.transport.aborted for link in loop.links)
    assert pool._sweeper is None


@in_loop
async def test_close_ends_the_waiting_too() -> None:
    pool, _ = made(1)
    await pool.acquire(1)
    waiting = asyncio.ensure_future(pool.acquire(5))
    await turns()
    await pool.close()
    with pytest.raises(PoolTimeout):
        await waiting


@in_loop
async def test_a_connection_that_is_made_after_close_is_closed() -> None:
    pool, loop = made(1, at_once=False)
    acquiring = asyncio.ensure_future(pool.acquire(1))
    await turns()
    await pool.close()
    loop.links[0].made()
    with pytest.raises((PoolTimeout, ConnectFailed, ConnectionLost)):
        await acquiring
    assert loop.links[0].transport.aborted
    assert pool._sweeper is None
