"""The open-loop client tells what clients waited that came by themselves, a backend that stops for a while included."""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import pytest

from bench.harness.cores import assign
from bench.harness.load import LoadError
from bench.harness.open_loop import Plan, Seen, run

pytestmark = pytest.mark.bench
STOP_S = 0.5
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@contextmanager
def serving(stop_at: float | None, answer: bytes = ANSWER, close_each: int = 0) -> Iterator[int]:
    """A server in a thread; it stops for STOP_S once, stop_at seconds after its first request."""
    ready: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()
    began: list[float] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = 0
        with suppress(asyncio.IncompleteReadError, OSError):
            while served != (close_each or None):
                await reader.readuntil(b"\r\n\r\n")
                if not began:
                    began.append(time.monotonic())
                elif stop_at is not None and len(began) == 1 and time.monotonic() > began[0] + stop_at:
                    began.append(0.0)
                    time.sleep(STOP_S)
                writer.write(answer)
                served += 1
        writer.close()

    async def serve() -> None:
        over = asyncio.Event()
        async with await asyncio.start_server(connection, "127.0.0.1", 0) as server:
            ready.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    port, loop, over = ready.get(timeout=5)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)


def driven(port: int, rate: float = 200, seconds: float = 2, connections: int = 4) -> Seen:
    return run(Plan(port, "/", (), rate, seconds, connections), assign().load)


def test_a_stop_is_charged_with_all_that_would_have_come_meanwhile() -> None:
    """A quarter of the requests fall into the stop: a closed loop over four connections would have seen four."""
    with serving(stop_at=0.7) as port:
        seen = driven(port)
    assert seen.errors == 0
    assert seen.requests == pytest.approx(400, rel=0.2)
    assert seen.max_ms >= STOP_S * 1e3 * 0.9
    assert seen.p90_ms > 100, "requests that were due while the server stood still waited for it"
    assert seen.p50_ms < 100


def test_connections_that_the_server_closes_are_opened_again_and_only_lost_answers_are_errors() -> None:
    with serving(stop_at=None, close_each=5) as port:
        seen = driven(port, seconds=1)
    assert seen.requests == pytest.approx(200, rel=0.3)
    assert seen.errors < 0.2 * seen.requests


def test_refusals_are_errors_and_no_latencies() -> None:
    refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    with serving(stop_at=None, answer=refusal) as port, pytest.raises(LoadError, match="no good answer"):
        driven(port, seconds=0.3)


def test_the_same_seed_sends_at_the_same_times_and_it_prints_json() -> None:
    with serving(stop_at=None) as port:
        plan = Plan(port, "/", (("X-API-Key", "k"),), 300, 0.5, 2, seed=7)
        counts = set()
        for _ in range(2):
            printed = subprocess.run(
                [sys.executable, "-m", "bench.harness.open_loop"],
                input=json.dumps(asdict(plan)),
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            ).stdout
            counts.add(json.loads(printed)["requests"])
    assert len(counts) == 1
