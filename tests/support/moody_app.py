"""A backend with moods: answers everything with the status it was told, and counts how often it was asked.

/health            200, or what /_set?health=503 says
anything else      200, or what /_set?status=500 says; /_set?sleep=2.5: after so many seconds, unless the client leaves
/_asked            {"health": [when], "other": [when]}: monotonic seconds of each time
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any
from urllib.parse import parse_qsl

MOOD: dict[str, float] = {"health": 200, "status": 200, "sleep": 0}
HEALTH: list[float] = []
OTHER: list[float] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    path, status, content = scope["path"], 200, {"pid": os.getpid()}
    if path == "/_set":
        MOOD.update({name: float(value) for name, value in parse_qsl(scope["query_string"].decode())})
    elif path == "/_asked":
        content = {"health": HEALTH, "other": OTHER}
    elif path == "/health":
        HEALTH.append(time.monotonic())
        status = int(MOOD["health"])
    elif scope["method"] != "OPTIONS":  # a check's question for a CORS policy
        OTHER.append(time.monotonic())
        if MOOD["sleep"]:
            leaving = asyncio.ensure_future(receive())
            if (await asyncio.wait({leaving}, timeout=MOOD["sleep"]))[0]:
                return
            leaving.cancel()
        status = int(MOOD["status"])
    body = json.dumps(content).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
