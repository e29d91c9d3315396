"""Closed-loop load on keep-alive connections, in a thread of its own; what each request took and who answered it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import Any, Self


class Answer:
    """What came of one request. status: 0 if the connection failed."""

    def __init__(self, status: int, seconds: float, body: bytes) -> None:
        self.status = status
        self.seconds = seconds
        self.body = body

    @property
    def host(self) -> str:
        """Which backend answered: it echoes the Host field that it was sent."""
        return dict(json.loads(self.body)["headers"])["host"]


class Load:
    """`clients` connections, each sending the next request when the last was answered, until it is left or `count`."""

    def __init__(self, port: int, *, clients: int = 8, count: int = 0, head: str = "", pause_s: float = 0.0) -> None:
        """count: requests in all; 0: no bound. head: further header lines, each with its line end."""
        self.answers: list[Answer] = []
        self._request = f"GET /x HTTP/1.1\r\nHost: gateway.test\r\n{head}\r\n".encode()
        self._port, self._clients, self._left, self._pause_s = port, clients, count or 1 << 60, pause_s
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left = 0
        self._thread.join(30)

    def wait(self, seconds: float = 60) -> list[Answer]:
        """Until `count` is reached."""
        self._thread.start()
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"{len(self.answers)} answers only"
        return self.answers

    @property
    def failures(self) -> list[int]:
        return [answer.status for answer in self.answers if answer.status != 200]

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._clients)))

    async def _client(self) -> None:
        connection: Any = None
        while self._left > 0:
            self._left -= 1
            begun = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self._port)
                status, body, is_last = await self._ask(*connection)
            except (OSError, asyncio.IncompleteReadError):
                status, body, is_last = 0, b"", True
            self.answers.append(Answer(status, time.perf_counter() - begun, body))
            if connection and is_last:
                connection = await close(connection[1])
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
        if connection:
            await close(connection[1])

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection ends with it."""
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields[b"content-length"]))
        return int(head[9:12]), body, fields.get(b"connection") == b"close"


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def percentile(answers: list[Answer], share: float) -> float:
    """Seconds that so large a share of the requests took at most."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(share * len(times)))]
