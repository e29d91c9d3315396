"""httpx_naive: what one would write first: an ASGI callable that streams through httpx.AsyncClient.

Served as fastgw is, by granian with one worker on uvloop; the difference to fastgw is the client and the path, not the
server. `app` is the ASGI callable; the address of the backend comes as BENCH_BACKEND.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx

from bench.harness.process import HOST, Command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from bench.harness.process import Place

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

_HOP_BY_HOP = frozenset(
    b"connection host keep-alive te trailer transfer-encoding upgrade".split()  # codespell:ignore te
)
_BACKEND = httpx.URL(os.environ.get("BENCH_BACKEND", "http://127.0.0.1:8000"))
_client: list[httpx.AsyncClient] = []  # made in the loop that uses it


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _shared_client() -> httpx.AsyncClient:
    if not _client:
        limits = httpx.Limits(max_connections=4096, max_keepalive_connections=256)
        _client.append(httpx.AsyncClient(limits=limits, timeout=60, trust_env=False))
    return _client[0]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI 3, http only."""
    if scope["type"] != "http":
        return
    client = _shared_client()
    headers = [(name, value) for name, value in scope["headers"] if name not in _HOP_BY_HOP]
    has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    url = _BACKEND.copy_with(raw_path=target)
    content = _body(receive) if has_body else None
    request = client.build_request(scope["method"], url, headers=headers, content=content)
    response = await client.send(request, stream=True)
    try:
        kept = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _HOP_BY_HOP]
        await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
        async for chunk in response.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await response.aclose()


class HttpxNaive:
    """The peer that shows why fastgw has an HTTP client of its own."""

    name = "httpx_naive"

    def version(self) -> str:
        """The client and the server."""
        return f"httpx {version('httpx')}, granian {version('granian')}"

    def missing(self) -> str | None:
        """Never: fastgw depends on httpx and granian."""
        return None

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """Granian's command line, with its defaults but for one worker, uvloop and less logging."""
        server = (sys.executable, "-m", "granian", "--interface", "asgi", "--workers", "1", "--loop", "uvloop")
        listen = ("--host", HOST, "--port", str(place.port), "--backlog", "4096", "--log-level", "warning", "--no-ws")
        return Command(
            argv=(*server, *listen, "bench.peers.httpx_naive:app"),
            env={"BENCH_BACKEND": f"http://{HOST}:{place.backend_port}"},
        )
