"""What one plain GET on a warm connection costs, as counts; a change of these numbers is a change in review."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import uvloop

from fastgw.accept import Accept
from fastgw.exchange import Exchange
from fastgw.forwarding.deliver import Deliver, Limits
from fastgw.forwarding.disconnect import TICK_SECONDS, Watch
from fastgw.forwarding.websocket import Tunnel
from fastgw.gateway import Gateway
from fastgw.protocol.forwarded import TrustedProxies
from fastgw.routing.backend import Backend
from fastgw.routing.choose import Choose
from fastgw.telemetry.ledger import Ledger
from fastgw.telemetry.metrics import Metrics
from fastgw.telemetry.observe import SETTLE_S, Observe
from fastgw.telemetry.routes import Routes
from fastgw.upstream.pool import SWEEP_SECONDS, Pool

REQUESTS = 1000
GROWTH_MARGIN = 20
"""Objects that the garbage collector tracks, more than before 1,000 requests: the loop's own odds and ends."""

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'


class CountingLoop(uvloop.Loop):  # type: ignore[misc]
    """uvloop that counts the timers that are armed."""

    timers = 0

    def call_later(self, *args: Any, **kwargs: Any) -> Any:
        self.timers += 1
        return super().call_later(*args, **kwargs)

    def call_at(self, *args: Any, **kwargs: Any) -> Any:
        self.timers += 1
        return super().call_at(*args, **kwargs)


class CountingTransport:
    """A transport that counts its writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)


class Answering(asyncio.Protocol):
    """A backend that answers every read with the same response."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


class Census:
    """The request path of one process and a backend on a loopback socket, both in this loop."""

    async def open(self) -> None:
        self.loop: Any = asyncio.get_running_loop()
        self.server = await self.loop.create_server(Answering, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.pool = Pool("127.0.0.1", port)
        choose = Choose([Backend(f"http://127.0.0.1:{port}", b"127.0.0.1:%d" % port, self.pool)])
        self.watch = Watch()
        limits = Limits(timeout_s=5, pool_timeout_s=1, max_body_bytes=1000)
        self.gateway = Gateway(
            Accept(TrustedProxies([]), 1000),
            Deliver(choose, self.watch, limits),
            Tunnel(choose, 5, None),
            self.observe(),
        )
        self.tasks = 0
        self.sends = 0
        self.statuses: set[int] = set()
        self.loop.set_task_factory(self._task)

    @staticmethod
    def observe() -> Observe:
        """Metrics on, as they are by default."""
        return Observe(Routes(), Metrics(Ledger().claim()), loop=asyncio.get_running_loop())

    def _task(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        self.tasks += 1
        return asyncio.Task(coro, loop=loop, **kwargs)

    async def _send(self, message: Any) -> None:
        self.sends += 1
        if "status" in message:
            self.statuses.add(message["status"])

    async def _receive(self) -> Any:
        raise AssertionError("a request without a body is not received")

    async def get(self) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/queue/stats",
            "raw_path": b"/api/v1/queue/stats",
            "query_string": b"",
            "headers": [(b"host", b"gw"), (b"accept", b"*/*"), (b"user-agent", b"census")],
            "http_version": "1.1",
            "scheme": "http",
            "client": ("203.0.113.9", 40000),
        }
        await self.gateway.http(Exchange(scope, self._receive, self._send))

    async def close(self) -> None:
        self.loop.set_task_factory(None)
        self.watch.close()
        await self.pool.close()
        self.server.close()
        await self.server.wait_closed()


def taken(question: Any) -> None:
    """Answer a question on a warm path: one connection open, all that is made once made."""

    async def run() -> None:
        census = Census()
        await census.open()
        try:
            for _ in range(50):
                await census.get()
            await question(census)
            assert census.statuses == {200}
        finally:
            await census.close()

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(run())


def test_one_request() -> None:
    """No task, no timer beyond the process's one, one write to the backend, two messages to the client."""

    async def question(census: Census) -> None:
        (connection,) = census.pool._all
        transport = CountingTransport(connection._transport)
        connection._transport = transport  # type: ignore[assignment]
        census.tasks = census.sends = census.loop.timers = 0
        await census.get()
        assert census.tasks == 0
        assert census.loop.timers <= 1
        assert transport.writes == 1
        assert census.sends == 2

    taken(question)


def test_timers_and_tasks_do_not_grow_with_requests() -> None:
    """One timer for the watch, the pool's sweeper, and what has ended, whatever the number of requests."""

    async def question(census: Census) -> None:
        census.tasks = census.sends = census.loop.timers = 0
        begun = census.loop.time()
        for _ in range(REQUESTS):
            await census.get()
        ticks = (census.loop.time() - begun) * (1 / TICK_SECONDS + 1 / SWEEP_SECONDS + 1 / SETTLE_S)
        assert census.loop.timers <= ticks + 3
        assert census.loop.timers < REQUESTS / 10
        assert census.tasks == 0
        assert census.sends == 2 * REQUESTS

    taken(question)


def test_nothing_stays_behind() -> None:
    async def question(census: Census) -> None:
        census.gateway.observe.settle()  # else what waits to be, up to 64 requests, is counted or not by chance
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(REQUESTS):
            await census.get()
        census.gateway.observe.settle()
        gc.collect()
        assert len(gc.get_objects()) - before <= GROWTH_MARGIN
        assert len(census.watch) == 0
        assert (len(census.pool._all), len(census.pool._idle), census.pool.active) == (1, 1, 0)
        (connection,) = census.pool._all
        assert connection.requests >= REQUESTS

    taken(question)


def test_requests_leave_no_garbage_for_the_collector() -> None:
    """Reference cycles would cost a collection every few hundred requests, in which all requests wait."""

    async def question(census: Census) -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await census.get()
            assert gc.collect() <= GROWTH_MARGIN
        finally:
            gc.enable()

    taken(question)
