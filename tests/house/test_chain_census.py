"""What a request costs with the whole chain on, as counts: API key, limit, lookup, backend or copy.

A change of these numbers is a change in review. Real Valkey, a backend on a loopback socket in this loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastgw.admission.admit import Admit
from fastgw.app import App
from fastgw.background import Drain
from fastgw.settings.load import load
from tests.house.test_request_census import Answering

KEY = b"census-key"
REQUESTS = 200


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the timers that are armed. Not uvloop's: see tests/pure/loop.py."""

    timers = 0

    def call_at(self, *args: Any, **kwargs: Any) -> Any:
        self.timers += 1
        return super().call_at(*args, **kwargs)


class Writes:
    """A transport that counts its writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.count = 0

    def write(self, data: bytes) -> None:
        self.count += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Chain:
    """One process's application, opened as a server opens it."""

    async def open(self, redis_url: str) -> None:
        self.loop: Any = asyncio.get_running_loop()
        self.server = await self.loop.create_server(Answering, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        environment = {
            "FASTAPI_URL": f"http://127.0.0.1:{port}",
            "REDIS_URL": redis_url,
            "AUTH_API_KEYS": f"census:{KEY.decode()}",
            "RATE_LIMIT_MAX_REQUESTS": "1000000",
            "CACHE_ROUTES": "/hit=3600",
            "ROUTER_HEALTH_CHECK_INTERVAL": "86400000",
        }
        self.app = App(load(environment, None), "", Drain())
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self._events.put_nowait({"type": "lifespan.startup"})
        started = asyncio.Event()

        async def send(_message: Any) -> None:
            started.set()

        self.lifespan = asyncio.create_task(self.app({"type": "lifespan"}, self._events.get, send))
        await started.wait()
        self.sends = 0
        self.states: list[bytes] = []
        (self.link,) = (pipeline.link for pipeline in self.store.pipelines)
        self.writes = self.link._transport = Writes(self.link._transport)  # type: ignore[assignment]

    @property
    def admit(self) -> Admit:
        return next(step for step in self.app._gateway.steps if isinstance(step, Admit))

    @property
    def store(self) -> Any:
        return self.admit._store

    async def _send(self, message: Any) -> None:
        self.sends += 1
        if "status" in message:
            assert message["status"] == 200
            self.states.append(dict(message["headers"])[b"x-gateway-cache"])

    async def _receive(self) -> Any:
        raise AssertionError("a request without a body is not received")

    async def get(self, path: str) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"gw"), (b"x-api-key", KEY), (b"accept", b"*/*")],
            "http_version": "1.1",
            "scheme": "http",
            "client": ("203.0.113.9", 40000),
        }
        await self.app(scope, self._receive, self._send)

    async def close(self) -> None:
        self._events.put_nowait({"type": "lifespan.shutdown"})
        await self.lifespan
        self.server.close()
        await self.server.wait_closed()


def run(redis_url: str, question: Any) -> None:
    async def bounded() -> None:
        chain = Chain()
        async with asyncio.timeout(30):
            await chain.open(redis_url)
            try:
                for path in ("/miss", "/hit"):
                    for _ in range(10):
                        await chain.get(path)
                chain.states.clear()
                await question(chain)
            finally:
                await chain.close()

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(bounded())


@pytest.mark.parametrize(("path", "state"), [("/miss", b"MISS"), ("/hit", b"HIT")])
def test_one_request_is_one_write_to_redis_and_two_messages_to_the_client(valkey, path: str, state: bytes) -> None:
    async def question(chain: Chain) -> None:
        tasks = 0

        def factory(loop: Any, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
            nonlocal tasks
            tasks += 1
            return asyncio.Task(coro, loop=loop, **kwargs)

        chain.loop.set_task_factory(factory)
        before, chain.sends, chain.loop.timers = chain.writes.count, 0, 0
        for _ in range(REQUESTS):
            await chain.get(path)
        chain.loop.set_task_factory(None)
        assert chain.states == [state] * REQUESTS
        assert chain.sends == 2 * REQUESTS
        # beside the requests the periodic jobs run, a few times in this moment
        assert REQUESTS <= chain.writes.count - before <= REQUESTS + 10
        assert tasks <= 10
        assert chain.loop.timers < REQUESTS / 2

    run(valkey.url, question)


def test_all_requests_of_a_tick_share_one_write(valkey) -> None:
    async def question(chain: Chain) -> None:
        before = chain.writes.count
        await asyncio.gather(*(chain.get("/hit") for _ in range(100)))
        assert chain.writes.count - before <= 3
        assert chain.states == [b"HIT"] * 100

    run(valkey.url, question)


def test_a_hit_moves_no_body(valkey) -> None:
    async def question(chain: Chain) -> None:
        before = int(valkey.info("total_net_output_bytes"))
        for _ in range(REQUESTS):
            await chain.get("/hit")
        sent = int(valkey.info("total_net_output_bytes")) - before
        assert sent / REQUESTS < 150, "six small integers, and what the periodic jobs and INFO take"

    run(valkey.url, question)
