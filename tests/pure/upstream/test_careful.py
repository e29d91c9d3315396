"""Connections for requests that can't be sent twice: none that the backend may be closing in this moment."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from fastgw.upstream.connection import Connection
from fastgw.upstream.pool import CAREFUL_IDLE_S, Pool
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import HandLoop, turns

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Clock(HandLoop):
    """Time as the test says."""

    now = 1000.0

    def time(self) -> float:
        return self.now


async def used(pool: Pool) -> Connection:
    """A new connection that has carried a request."""
    connection = await pool._open()
    connection.send_request(b"GET", b"GET / HTTP/1.1\r\n\r\n")
    connection.data_received(OK)
    await turns(1)
    return connection


def made(size: int = 4) -> tuple[Pool, Clock]:
    pool, clock = Pool("backend", 8000, size=size, keepalive_s=4), Clock()
    pool._loop = clock  # type: ignore[assignment]
    return pool, clock


@pytest.mark.parametrize(
    ("age_s", "taken"), [(0.0, True), (CAREFUL_IDLE_S - 0.01, True), (CAREFUL_IDLE_S + 0.01, False)]
)
@in_loop
async def test_only_what_was_used_a_moment_ago(age_s: float, taken: bool) -> None:
    pool, clock = made()
    connection = await used(pool)
    pool.release(connection)
    clock.now += age_s
    assert (pool.take_idle(careful=True) is connection) is taken
    if not taken:  # it stays for others
        assert pool.take_idle() is connection
    await pool.close()


@in_loop
async def test_an_old_one_is_passed_over_for_a_new_one_and_stays() -> None:
    pool, clock = made()
    old = await used(pool)
    pool.release(old)
    clock.now += 2
    new = await pool.acquire(1, careful=True)
    assert new is not old
    assert len(clock.links) == 2
    assert pool.take_idle() is old
    await pool.close()


@in_loop
async def test_in_a_full_pool_the_oldest_makes_room() -> None:
    pool, clock = made(size=2)
    first, second = await used(pool), await used(pool)
    pool.release(first)
    clock.now += 0.5
    pool.release(second)
    clock.now += 2
    third = await pool.acquire(1, careful=True)
    assert third not in {first, second}
    assert pool.take_idle() is second
    assert (len(pool._all), len(clock.links)) == (2, 3)
    await pool.close()


@in_loop
async def test_one_that_the_backend_has_closed_is_seen_though_the_loop_was_not_told_yet() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    closed = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        sock.recv(65536)
        sock.sendall(OK)
        time.sleep(0.1)
        sock.close()
        closed.set()

    threading.Thread(target=serve, daemon=True).start()
    pool = Pool("127.0.0.1", listener.getsockname()[1])
    connection = await pool.acquire(1)
    assert connection.is_quiet
    connection.send_request(b"GET", b"GET / HTTP/1.1\r\n\r\n")
    await connection.head(1)
    pool.release(connection)
    assert closed.wait(5)  # without a turn of the loop
    time.sleep(0.02)
    assert not connection.is_quiet
    assert pool.take_idle(careful=True) is None
    await asyncio.sleep(0.01)
    assert (len(pool._all), len(pool._idle)) == (0, 0)
    await pool.close()
    listener.close()
