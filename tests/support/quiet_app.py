"""A backend that answers everything with 200 and repeats nothing of what it was told: no credential comes back."""

from __future__ import annotations

from typing import Any

BODY = b'{"queued": 3, "status": "completed", "job_id": "1"}'


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY)), (b"etag", b'"x"')]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": BODY})
