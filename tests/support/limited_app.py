"""A backend of known capacity for a real uvicorn: WORKERS jobs at a time, JOB_S each, the rest waits in order."""

from __future__ import annotations

import asyncio
from typing import Any

WORKERS = 4
JOB_S = 0.010

places = asyncio.Semaphore(WORKERS)
in_flight = most = done = 0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global in_flight, most, done  # noqa: PLW0603 - one process, one counter
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    body = b'{"ok": true}'
    if scope["path"] == "/_seen":
        body = b'{"in_flight": %d, "most": %d, "done": %d}' % (in_flight, most, done)
        most = in_flight
    elif scope["path"] != "/health" and scope["method"] != "OPTIONS":  # no check's
        in_flight += 1
        most = max(most, in_flight)
        try:
            async with places:
                await asyncio.sleep(float(scope["query_string"] or JOB_S))
        finally:
            in_flight -= 1
        done += 1
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
