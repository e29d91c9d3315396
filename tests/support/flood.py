"""Load from a process of its own: `python -m tests.support.flood closed|open PORT PATH AMOUNT SECONDS MOST`; JSON is
what comes out.

closed: AMOUNT connections, each asks again when it has its answer. open: AMOUNT requests per second by chance, whatever
becomes of them, on kept-alive connections as many as it takes, MOST of them
at most; latency counts from the moment a request was due.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from typing import Any

from tests.support.processes import ROOT

MAX_CONNECTIONS = 2000


class Client(asyncio.Protocol):
    """A kept-alive connection that carries one GET at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.data = b""
        self.due = 0.0
        self.is_closed = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, due: float) -> None:
        self.due, self.data = due, b""
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]):
            self.load.note(int(head[9:12]), self.due)
            self.load.over(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self.due:
            self.load.note(0, self.due)


class Load:
    def __init__(self, kind: str, port: int, path: str, amount: float, seconds: float, most: int) -> None:
        self.is_closed_loop = kind == "closed"
        self.port, self.amount, self.seconds, self.most = port, amount, seconds, most
        self.request = b"GET %b HTTP/1.1\r\nhost: load.test\r\n\r\n" % path.encode()
        self.answers: list[tuple[float, int, float]] = []  # when since the start, status, seconds
        self.idle: deque[Client] = deque()
        self.opened = 0
        self.dropped = 0

    def note(self, status: int, due: float) -> None:
        now = time.perf_counter()
        self.answers.append((now - self.begun, status, now - due))

    def over(self, client: Client) -> None:
        client.due = 0.0
        if not self.is_closed_loop:
            self.idle.append(client)
        elif time.perf_counter() < self.end:
            client.ask(time.perf_counter())

    async def open(self) -> Client:
        self.opened += 1
        _, client = await asyncio.get_running_loop().create_connection(lambda: Client(self), "127.0.0.1", self.port)
        return client

    async def run(self) -> dict[str, Any]:
        first = [await self.open() for _ in range(int(self.amount) if self.is_closed_loop else 64)]
        self.begun = time.perf_counter()
        self.end = self.begun + self.seconds
        if self.is_closed_loop:
            for client in first:
                client.ask(self.begun)
            await asyncio.sleep(self.seconds)
        else:
            self.idle += first
            await self.arrive()
        offered = len(self.answers)
        await asyncio.sleep(1.5)  # what is still under way
        return {
            "opened": self.opened,
            "dropped": self.dropped,
            "statuses": Counter(status for _, status, _ in self.answers),
            "offered": offered,
            "answers": [(round(at, 4), status, round(took, 5)) for at, status, took in self.answers],
        }

    async def arrive(self) -> None:
        chance = random.Random(1)
        due = self.begun
        tasks = set()
        while due < self.end:
            due += chance.expovariate(self.amount)
            if (wait := due - time.perf_counter()) > 0.001:
                await asyncio.sleep(wait)
            while self.idle and self.idle[-1].is_closed:
                self.idle.pop()
            if self.idle:
                self.idle.pop().ask(due)
            elif self.opened < self.most:
                task = asyncio.create_task(self.ask_anew(due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                self.dropped += 1

    async def ask_anew(self, due: float) -> None:
        (await self.open()).ask(due)


def start(
    kind: str, port: int, path: str, amount: float, seconds: float, most: int = MAX_CONNECTIONS
) -> subprocess.Popen[bytes]:
    """Begin; `result` gives what came of it."""
    numbers = (str(amount), str(seconds), str(most))
    command = [sys.executable, "-m", "tests.support.flood", kind, str(port), path, *numbers]
    out = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe would be full before anybody reads it
    process = subprocess.Popen(command, cwd=ROOT, stdout=out)
    process.out = out
    return process


def result(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    with process.out as out:
        assert process.wait(60) == 0
        out.seek(0)
        return dict(json.loads(out.read()))


if __name__ == "__main__":
    import uvloop

    kind, port, path, amount, seconds, most = sys.argv[1:]
    print(json.dumps(uvloop.run(Load(kind, int(port), path, float(amount), float(seconds), int(most)).run())))
