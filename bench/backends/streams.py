"""The backend of streams_memory: long bodies and event streams. `python -m bench.backends.streams PORT`.

GET  /download  200, Content-Length 1 GiB, as fast as it is taken
POST /upload    reads its body at 1 MiB/s, then 200
GET  /events    200, text/event-stream, chunked: one event at once, then one each second, for ever
GET  /slow      200, a small answer after 50 ms
GET  (others)   200, a small answer
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvloop

from bench.harness.process import HOST, Command, free_port, running, working_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness.process import Running

BODY_BYTES = 2**30
SLOW_BYTES_PER_S = 2**20
EVENT_INTERVAL_S = 1.0
SLOW_S = 0.05
_PIECE = 64 * 1024
_SOCKET_BUFFER = 256 * 1024  # small, so that the kernel does not swallow seconds of a slow body


@contextmanager
def running_streams(core: int) -> Iterator[Running]:
    """Started on `core`."""
    port = free_port()
    command = Command(argv=(sys.executable, "-m", "bench.backends.streams", str(port)))
    with working_home("streams") as home, running("streams", command, home, port, core) as started:
        yield started


async def _download(writer: asyncio.StreamWriter) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n".encode())
    piece = b"x" * _PIECE
    for _ in range(BODY_BYTES // _PIECE):
        writer.write(piece)
        await writer.drain()


async def _upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads until the client ends: whether framed by length or chunked does not matter for the pace."""
    read = 0
    while read < BODY_BYTES:
        data = await reader.read(_PIECE)
        if not data:
            return
        read += len(data)
        await asyncio.sleep(len(data) / SLOW_BYTES_PER_S)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


async def _events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    event = b'data: {"job_id":"b5a1","status":"processing"}\n\n'
    while True:
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(EVENT_INTERVAL_S)


async def _connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/download":
                await _download(writer)
            elif path == b"/upload":
                await _upload(reader, writer)
            elif path == b"/events":
                await _events(writer)
            else:
                if path == b"/slow":
                    await asyncio.sleep(SLOW_S)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
    writer.close()


async def _serve(port: int) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)  # inherited by what it accepts
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
    listener.bind((HOST, port))
    server = await asyncio.start_server(_connection, sock=listener, backlog=4096, limit=_PIECE)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
