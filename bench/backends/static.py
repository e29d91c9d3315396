"""The backend that is never the bottleneck: every request is answered at once with the same 200 bytes of JSON, kept
alive; on paths that end in /1k, /4k, /5k, /16k, /64k with so much of it. Request bodies are read and forgotten.

nginx's `return` where nginx is installed (about 10 us per request), else the asyncio.Protocol below on uvloop (about
20 us): the same for all peers of one run, and the report says which.
Run as a program: `python -m bench.backends.static PORT`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import uvloop

from bench.harness.process import HOST, Command, free_port, running, working_home
from bench.peers.nginx import nginx_path, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.harness.process import Running

BODY = (
    '{"queued":12,"running":5,"completed":48210,"failed":17,"workers":{"online":6,"busy":5,"idle":1},'
    '"regions":{"asia-east":3,"europe-west":2,"america-north":1},"estimated_wait_seconds":4.2,"updated":1767225600}'
)
OTHERS = ("127.0.0.2", "127.0.0.3")
"""Where it answers too: to a gateway these are other backends."""

_PIECE = "0123456789" * 102  # with quotes and a comma 1 KiB; nginx takes words of up to 4 KiB in its configuration
PIECES = {"1k": 1, "4k": 4, "5k": 5, "16k": 16, "64k": 64}


def long_body(size: str) -> str:
    """A JSON list of strings. size: of PIECES."""
    return "[" + ",".join([f'"{_PIECE}"'] * PIECES[size]) + "]"


_NGINX = """
    server {{
        listen {host}:{port} backlog=4096;
        listen 127.0.0.2:{port};
        listen 127.0.0.3:{port};
        default_type application/json;
        location / {{ return 200 '{body}'; }}
        {longer}
    }}
}}
"""


@contextmanager
def running_static(core: int) -> Iterator[Running]:
    """Started on `core`; `name` says which of the two it is."""
    port = free_port()
    with working_home("backend") as home:
        if nginx_path():
            longer = "\n".join(_location(size, pieces) for size, pieces in PIECES.items())
            command = write_config(home, _NGINX.format(host=HOST, port=port, body=BODY, longer=longer))
            name = "nginx static answer"
        else:
            command = Command(argv=(sys.executable, "-m", "bench.backends.static", str(port)))
            name = "asyncio.Protocol on uvloop"
        with running(name, command, home, port, core) as started:
            yield started


def _location(size: str, pieces: int) -> str:
    return f"""location ~ /{size}$ {{ set $p '"{_PIECE}"'; return 200 '[{",".join(["$p"] * pieces)}]'; }}"""


def _answer(body: str) -> bytes:
    fields = f"server: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}".encode()


_ANSWERS = {**{size.encode(): _answer(long_body(size)) for size in PIECES}, b"": _answer(BODY)}


class _Answer(asyncio.Protocol):
    """One answer per request, once its body has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        data, answers = self._rest + data, []
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head, begin = data[:end], end + 4
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            if len(data) < begin + int(length or 0):
                break
            data = data[begin + int(length or 0) :]
            size = head.partition(b" HTTP/")[0].rpartition(b"/")[2]
            answers.append(_ANSWERS.get(size) or _ANSWERS[b""])
        self._rest = data
        if answers:
            self._transport.write(b"".join(answers))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Answer, [HOST, *OTHERS], port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
