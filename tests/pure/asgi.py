"""Exchanges without a server: a scope, a scripted `receive`, a recording `send`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastgw.accept import Accept
from fastgw.exchange import Exchange
from fastgw.protocol.forwarded import TrustedProxies

HOST = (b"host", b"gw.example")
VERSION_4_ID = "b0e4a1f0-0000-4000-8000-000000000001"


class Client:
    """The client's side of an exchange. `events` are received in order; after the last, `receive` waits."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.waiting = 0
        self._events: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()
        for event in events:
            self._events.put_nowait(event)

    def say(self, event: dict[str, Any] | Exception) -> None:
        self._events.put_nowait(event)

    def leave(self) -> None:
        self.say({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        self.waiting += 1
        try:
            event = await self._events.get()
        finally:
            self.waiting -= 1
        if isinstance(event, Exception):
            raise event
        return event

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def fields(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


def piece(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def exchange(
    *fields: tuple[bytes, bytes],
    method: str = "GET",
    target: bytes = b"/api/v1/queue/stats",
    client: Client | None = None,
    **scope: Any,
) -> Exchange:
    """An exchange as granian would begin it. Without fields it has a Host; scope: http_version, peer, scheme, type."""
    client = client or Client()
    path, _, query = target.partition(b"?")
    return Exchange(
        {
            "type": scope.get("type", "http"),
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": list(fields) or [HOST],
            "http_version": scope.get("http_version", "1.1"),
            "scheme": scope.get("scheme", "http"),
            "client": (scope.get("peer", "203.0.113.9"), 40000),
        },
        client.receive,
        client.send,
    )


def accepted(x: Exchange, trusted: tuple[Any, ...] = (), max_body_bytes: int = 1000) -> Exchange:
    Accept(TrustedProxies(trusted), max_body_bytes)(x)
    return x
