"""Keep-alive connections to one backend.

Idle connections are a stack: warm ones stay warm, surplus ones age at the bottom until the sweeper closes
them. The number of connections is bounded; who finds the pool full waits in a queue, in order, for a bounded
time. Raising the generation retires all connections as they come back.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from fastgw.upstream.connection import Connection, State
from fastgw.upstream.errors import ConnectFailed, ConnectTimeout, PoolTimeout

if TYPE_CHECKING:
    import ssl

SWEEP_SECONDS: Final = 0.05
"""How often deadlines and idle connections are looked at, hence how late a time-out may come."""

CAREFUL_IDLE_S: Final = 1.0
"""Longest idle time of a connection for a request that can't be sent twice: half of the shortest keep-alive in use
(gunicorn's 2 s), so that the server does not close it in the very moment. An older one is not worth a lost job; a new
connection costs 0.1 ms and the way there and back."""

log = logging.getLogger("fastgw.upstream")


class Pool:
    """Connections to one backend address, for one event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        size: int = 256,
        keepalive_s: float = 4.0,
        connect_timeout_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """host, port: where to connect; a name is resolved at each connect.

        size: most connections at a time. keepalive_s: longest idle time; keep it below the server's own, so that
        it is never the server that closes first (uvicorn: 5 s). tls: a context, for https.
        """
        self._host = host
        self._port = port
        self.size = size
        self._keepalive_s = keepalive_s
        self._connect_timeout_s = connect_timeout_s
        self.tls = tls
        self._has_name = not _is_literal(host)
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()  # idle and active
        self._connecting = 0
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._generation = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<Pool {self._host}:{self._port} active={self.active} idle={len(self._idle)} "
            f"connecting={self._connecting} queued={len(self._queue)} limit={self.size}>"
        )

    @property
    def active(self) -> int:
        """Connections that carry a request now."""
        return len(self._all) - len(self._idle)

    def take_idle(self, *, careful: bool = False) -> Connection | None:
        """An idle connection, without waiting. O(1). None if there is none, or others have waited for longer.

        careful: for a request that can't be sent twice: one that was used a moment ago, and that the backend has not
        closed, as far as the kernel knows.
        """
        if self._queue:
            return None
        idle = self._idle
        now = self._loop.time()
        while idle:
            connection = idle.pop()
            idle_s = now + self._keepalive_s - connection.idle_until
            if careful and idle_s > CAREFUL_IDLE_S:
                idle.append(connection)  # those below are older still
                return None
            if connection.idle_until > now and (not careful or connection.is_quiet):
                connection.activate()
                return connection
            connection.abort()
        return None

    async def acquire(self, timeout_s: float, *, careful: bool = False) -> Connection:
        """An idle connection (see take_idle), or a new one, or one that comes free within `timeout_s` seconds.

        Raises PoolTimeout if none came free, ConnectFailed or ConnectTimeout if the backend could not be reached;
        in all three cases nothing was sent, so any request may go to another backend.
        """
        deadline = self._loop.time() + timeout_s
        connection = self.take_idle(careful=careful)
        while connection is None or not self._is_good(connection):  # it may close in the moment it is handed over
            if len(self._all) + self._connecting < self.size:
                return await self._open()
            if self._idle and not self._queue:
                self._idle[0].abort()  # the oldest makes room for a new one
                continue
            connection = await self._wait_for_one(deadline - self._loop.time())
        return connection

    def _is_good(self, connection: Connection) -> bool:
        """Whether nothing happened to it between its release and this moment."""
        if connection.state is State.ACTIVE and (connection.requests == 0 or connection.reader.reusable):
            return True
        connection.abort()
        return False

    def release(self, connection: Connection) -> None:
        """Take a connection back after its response; it is closed unless it may be reused."""
        if not connection.is_reusable or connection.generation != self._generation or self._closed:
            connection.abort()
            return
        connection.rest(self._loop.time() + self._keepalive_s)
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                connection.activate()
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def retire(self) -> None:
        """Close idle connections now and active ones as they come back (the address behind the name changed)."""
        self._generation += 1
        self._close_idle()

    async def look_up(self) -> None:
        """Resolve the name again, and retire the connections if one leads to an address that it does not have any more.

        To be called every now and then: new connections resolve it anyway, those that are kept alive never would.
        Nothing happens for a literal address, without connections, and while the name can't be resolved.
        """
        if not self._has_name or not self._all:
            return
        try:
            found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError:
            return  # a resolver that is away is no reason to leave servers that answer
        addresses = {str(info[4][0]) for info in found}
        in_use = {connection.address for connection in self._all if connection.generation == self._generation}
        if left := in_use - addresses - {""}:
            log.info("%s is at %s now, not at %s", self._host, _listed(addresses), _listed(left))
            self.retire()

    async def close(self) -> None:
        """Close everything; requests under way fail."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(PoolTimeout("the gateway is stopping"))
        self._close_idle()
        for connection in list(self._all):
            connection.abort()
        await asyncio.sleep(0)  # transports close in the loop's next turn

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    async def _wait_for_one(self, timeout_s: float) -> Connection | None:
        """A connection that was released, or None when a place to open one came free."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._queue.append(waiter)
        try:
            return await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError:
            raise PoolTimeout(f"all {self.size} connections to the backend are busy") from None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (connection := waiter.result()) is not None:
                connection.abort()  # handed over in the moment in which the request was given up
            raise

    async def _open(self) -> Connection:
        self._connecting += 1
        connection = Connection(self._generation, self._on_close)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._loop.create_connection(lambda: connection, self._host, self._port, ssl=self.tls)
            if self._closed:
                connection.abort()
            if connection.state is State.CLOSED:  # by the backend in the very moment it was made, or by close()
                raise ConnectFailed("the connection was closed as soon as it was made")  # noqa: TRY301 - one way out for all failures
        except BaseException as error:
            self._connecting -= 1
            self._admit_next()
            if isinstance(error, TimeoutError):
                raise ConnectTimeout(f"no connection within {self._connect_timeout_s:g} s") from None
            if isinstance(error, OSError):
                raise ConnectFailed(type(error).__name__) from None
            raise
        self._connecting -= 1
        connection.activate()
        self._all.add(connection)
        if self._sweeper is None:
            self._arm_sweeper()
        return connection

    def _on_close(self, connection: Connection) -> None:
        """A connection has ended, whoever ended it."""
        if connection not in self._all:
            return  # it was still being made: _open tells
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._admit_next()

    def _admit_next(self) -> None:
        """A place came free: the first in the queue may open a connection."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm_sweeper(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """End what is overdue. Armed only while there are connections, so an idle process sleeps."""
        now = self._loop.time()
        for connection in [c for c in self._all if c.deadline < now]:
            connection.expire()
        for connection in [c for c in self._idle if c.idle_until <= now]:
            connection.abort()
        if self._all:
            self._arm_sweeper()
        else:
            self._sweeper = None


def _listed(addresses: set[str]) -> str:
    return ", ".join(sorted(addresses))


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
