"""The backend of the wire tests: a bare ASGI application that records what reaches it, for a real uvicorn."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs

SEEN: list[dict[str, Any]] = []
EVENTS: list[dict[str, Any]] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await http(scope, receive, send)


def note(what: str, **more: Any) -> None:
    EVENTS.append({"what": what, "at": time.time(), **more})


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    path = scope["path"]
    query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode()).items()}
    if path == "/_seen":
        return await reply(send, 200, json.dumps({"seen": SEEN, "events": EVENTS}).encode())
    if path == "/_reset":
        SEEN.clear()
        EVENTS.clear()
        return await reply(send, 200, b"{}")
    entry: dict[str, Any] = {
        "method": scope["method"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]],
    }
    if path != "/health" and (b"origin", b"https://fastgw.invalid") not in scope["headers"]:  # no check's
        SEEN.append(entry)
    digest, size = hashlib.sha256(), 0
    slow_s = float(query.get("read_every", 0))
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            note("disconnect in request", path=path, received=size)
            return None
        digest.update(message.get("body", b""))
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
        if slow_s:
            await asyncio.sleep(slow_s)
    entry["size"], entry["sha256"] = size, digest.hexdigest()
    handler = PATHS.get(path.split("/")[1], echo)
    await handler(query, receive, send, entry)
    return None


async def reply(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    fields = headers if headers is not None else [(b"content-type", b"application/json")]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*fields, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def echo(query: Any, receive: Any, send: Any, entry: Any) -> None:
    await reply(send, int(query.get("status", 200)), json.dumps(entry).encode())


async def bare(query: Any, receive: Any, send: Any, entry: Any) -> None:
    """A status without a body."""
    await send({"type": "http.response.start", "status": int(query["status"]), "headers": [(b"etag", b'"x"')]})
    await send({"type": "http.response.body", "body": b""})


async def cookies(query: Any, receive: Any, send: Any, entry: Any) -> None:
    fields = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-bytes", b"caf\xe9"), (b"server", b"mine")]
    fields += [(b"connection", b"x-secret"), (b"x-secret", b"1"), (b"keep-alive", b"timeout=5")]
    await reply(send, 200, b"{}", fields)


async def sized(query: Any, receive: Any, send: Any, entry: Any) -> None:
    """`size` bytes, with a length or, with `chunked`, without one."""
    size = int(query["size"])
    fields = [(b"content-type", b"application/octet-stream")]
    if "chunked" not in query:
        fields.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    piece = b"x" * 65536
    left = size
    while left:
        part = piece[: min(left, len(piece))]
        left -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def slow(query: Any, receive: Any, send: Any, entry: Any) -> None:
    """Answers after `s` seconds, unless the client leaves."""
    leaving = asyncio.ensure_future(receive())
    done, _ = await asyncio.wait({leaving}, timeout=float(query.get("s", 1)))
    if done:
        note("left", path="/slow")
        return
    leaving.cancel()
    await reply(send, 200, b'{"slept":true}')


async def events(query: Any, receive: Any, send: Any, entry: Any) -> None:
    """`n` events, one every `every` seconds; notes when the client leaves."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    leaving = asyncio.ensure_future(receive())
    for number in range(int(query.get("n", 5))):
        await send(
            {"type": "http.response.body", "body": f"data: {number} {time.time()}\n\n".encode(), "more_body": True}
        )
        done, _ = await asyncio.wait({leaving}, timeout=float(query.get("every", 0.2)))
        if done:
            note("left", path="/events")
            return
    leaving.cancel()
    await send({"type": "http.response.body", "body": b""})


async def late(query: Any, receive: Any, send: Any, entry: Any) -> None:
    """Head at once, body after `s` seconds."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await asyncio.sleep(float(query.get("s", 1)))
    await send({"type": "http.response.body", "body": b"late"})


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    headers = {k.decode(): v.decode() for k, v in scope["headers"]}
    if scope["path"] == "/ws/denied":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[-1]})
    if scope["path"] == "/ws/about":
        about = {"query": scope["query_string"].decode(), "headers": headers, "path": scope["raw_path"].decode()}
        await send({"type": "websocket.send", "text": json.dumps(about)})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            note("websocket left", code=message.get("code"), reason=message.get("reason"))
            return
        text = message.get("text")
        if text == "die":
            import os

            os._exit(1)
        if text is not None and text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text[6:]), "reason": "as asked"})
            return
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


PATHS = {
    "bare": bare,
    "cookies": cookies,
    "sized": sized,
    "slow": slow,
    "events": events,
    "late": late,
}
