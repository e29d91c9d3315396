"""Clients for long bodies: one that reads slowly, one that writes as fast as it may, and many that listen to events.

Raw sockets over asyncio: an HTTP library would add buffers of its own to what is measured.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from bench.harness.process import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 64 * 1024
_SOCKET_BUFFER = 256 * 1024
_MIB = 2**20
_HEAD_LIMIT_S = 10.0
_SAMPLE_INTERVAL_S = 0.1
_CONNECT_BATCH = 100  # handshakes at a time: more than a listen queue holds would be retried by TCP after a second
SPARE_FILES = 512


class StreamError(Exception):
    """A stream did not open, or not with 200."""


@dataclass(frozen=True)
class Moved:
    """mib: what the client read or wrote. growth_mib: the most the gateway's memory stood above where it began."""

    mib: float
    growth_mib: float


@dataclass(frozen=True)
class Heard:
    """delivering: streams on which at least `events` events arrived while all were open. received: events in all."""

    streams: int
    delivering: int
    events: int
    kib_each: float
    received: int


def allow_files(wanted: int) -> int:
    """Raise the soft limit of open files towards `wanted`, for this process and its children; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def streams_possible(asked: int) -> int:
    """As many as the limit of open files allows: a gateway holds two sockets for each."""
    return min(asked, (allow_files(2 * asked + SPARE_FILES) - SPARE_FILES) // 2)


class _Watch:
    """Samples memory while it is entered; `growth_mib` is the most it stood above where it began."""

    def __init__(self, memory: Callable[[], int]) -> None:
        self._memory = memory
        self._before = self._most = memory()

    @property
    def growth_mib(self) -> float:
        return (self._most - self._before) / _MIB

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._task.cancel()
        self._most = max(self._most, self._memory())

    async def _sample(self) -> None:
        while True:
            self._most = max(self._most, self._memory())
            await asyncio.sleep(_SAMPLE_INTERVAL_S)


async def read_slowly(port: int, seconds: float, bytes_per_s: int, memory: Callable[[], int]) -> Moved:
    """GET /download, paced, for `seconds`. memory: bytes now."""
    async with _Watch(memory) as watch:
        reader, writer = await _open(port, "GET /download HTTP/1.1", "")
        read = 0
        try:
            await _expect_200(reader)
            begin = time.monotonic()
            async with asyncio.timeout(seconds):
                while True:
                    read += len(await reader.readexactly(_PIECE))
                    await asyncio.sleep(max(0.0, begin + read / bytes_per_s - time.monotonic()))
        except TimeoutError:
            pass  # the sample is over
        except (OSError, asyncio.IncompleteReadError) as error:
            raise StreamError(f"the download broke off after {read} bytes: {type(error).__name__}") from error
        finally:
            writer.transport.abort()
    return Moved(read / _MIB, watch.growth_mib)


async def write_fast(port: int, seconds: float, total: int, memory: Callable[[], int]) -> Moved:
    """POST /upload of `total` bytes as fast as they are taken, for `seconds` at most. memory: bytes now."""
    async with _Watch(memory) as watch:
        _, writer = await _open(port, "POST /upload HTTP/1.1", f"content-length: {total}\r\n")
        written, piece = 0, b"x" * _PIECE
        try:
            async with asyncio.timeout(seconds):
                while written < total:
                    writer.write(piece)
                    written += len(piece)
                    await writer.drain()
        except TimeoutError:
            pass  # the sample is over
        except OSError as error:
            raise StreamError(f"the upload was broken off after {written} bytes: {type(error).__name__}") from error
        finally:
            written -= writer.transport.get_write_buffer_size()
            writer.transport.abort()
    return Moved(written / _MIB, watch.growth_mib)


class _Listener(asyncio.Protocol):
    """Counts events. The tail kept is shorter than the mark, so nothing is counted twice."""

    _mark = b"data:"

    def __init__(self) -> None:
        self.events = 0
        self.head = b""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(b"GET /events HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        if not self.head:
            self.head = data[:12]
        data = self._tail + data
        self.events += data.count(self._mark)
        self._tail = data[-(len(self._mark) - 1) :]


async def listen(
    port: int, streams: int, events: int, limit_s: float, memory: Callable[[], int], pause_s: float = 0.0
) -> Heard:
    """Open `streams` event streams; when each has an event, wait until each has `events` more, limit_s at most.

    pause_s: after each _CONNECT_BATCH of them.
    """
    loop = asyncio.get_running_loop()
    before = memory()
    listeners: list[_Listener] = []
    try:
        while len(listeners) < streams:
            batch = min(_CONNECT_BATCH, streams - len(listeners))
            opened = await asyncio.gather(
                *(loop.create_connection(_Listener, HOST, port) for _ in range(batch)), return_exceptions=True
            )
            failures = [one for one in opened if isinstance(one, BaseException)]
            if failures:
                raise StreamError(f"stream {len(listeners)} did not open: {type(failures[0]).__name__}")
            listeners += [one[1] for one in opened if not isinstance(one, BaseException)]
            await asyncio.sleep(pause_s)
        await _until(lambda: all(one.events for one in listeners), limit_s)
        at_start = [one.events for one in listeners]
        refused = [one.head for one in listeners if one.head and not one.head.endswith(b" 200")]
        if refused:
            raise StreamError(f"{len(refused)} of {streams} streams were refused: {refused[0]!r}")

        def delivering() -> int:
            return sum(
                bool(first) and one.events >= first + events for one, first in zip(listeners, at_start, strict=True)
            )

        await _until(lambda: delivering() == streams, limit_s)
        grown = memory() - before
        received = sum(one.events for one in listeners)
        return Heard(streams, delivering(), events, grown / 1024 / streams, received)
    finally:
        for one in listeners:
            one.transport.abort()


async def _until(holds: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not holds() and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


async def _open(port: int, line: str, fields: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
    await asyncio.get_running_loop().sock_connect(connection, (HOST, port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=_PIECE)
    writer.write(f"{line}\r\nhost: bench\r\n{fields}\r\n".encode())
    return reader, writer


async def _expect_200(reader: asyncio.StreamReader) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_LIMIT_S)
    except TimeoutError as error:
        raise StreamError(f"no answer within {_HEAD_LIMIT_S:.0f} s") from error
    if head.split(b" ", 2)[1] != b"200":
        raise StreamError(f"refused: {head[:60]!r}")
