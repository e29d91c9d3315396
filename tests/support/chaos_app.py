"""The platform as the chaos test needs it, for a real uvicorn: job submissions are counted where no kill can undo it.

CHAOS_LEDGER names a file, to which each submission appends its client's id in one write before it is answered: what
was written stays in the kernel's cache when the process is killed. CHAOS_SLOW names a file; while it holds a number,
all answers but the health page's take that many seconds longer.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

SLOW = Path(os.environ.get("CHAOS_SLOW", "/nonexistent"))
EVENTS = 8
EVENT_EVERY_S = 0.1


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path = scope["path"]
    if path != "/health" and (seconds := slowness()):
        await asyncio.sleep(seconds)
    if path.endswith("/events"):
        await events(send)
    elif scope["method"] == "POST" and path == "/api/v1/jobs":
        await reply(send, submit(json.loads(body)))
    else:
        await reply(send, {"path": path, "pid": os.getpid()})


def slowness() -> float:
    try:
        return float(SLOW.read_text() or 0)
    except OSError:
        return 0.0


def submit(job: dict[str, Any]) -> dict[str, Any]:
    line = job["client_id"].encode() + b"\n"
    ledger = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        assert os.write(ledger, line) == len(line)
    finally:
        os.close(ledger)
    return {"job_id": job["client_id"], "status": "queued"}


async def reply(send: Any, content: Any) -> None:
    body = json.dumps(content).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def events(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(EVENTS):
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await asyncio.sleep(EVENT_EVERY_S)
    await send({"type": "http.response.body", "body": b""})
