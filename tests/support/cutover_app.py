"""A server of the platform as far as a cutover looks at it. The environment says how this one differs from another:
CUTOVER_STATUS (of /regions), CUTOVER_MODEL (in /regions), CUTOVER_DELAY_MS, CUTOVER_HEALTH (status of /health).
"""

from __future__ import annotations

import asyncio
import json
import os
from itertools import count
from typing import Any

STATUS = int(os.environ.get("CUTOVER_STATUS", "200"))
MODEL = os.environ.get("CUTOVER_MODEL", "h100")
DELAY_S = float(os.environ.get("CUTOVER_DELAY_MS", "0")) / 1000
HEALTH = int(os.environ.get("CUTOVER_HEALTH", "200"))
TOKEN = b"a-token-that-works"

asked = count(1)
unsafe: list[str] = []


def answer(method: str, path: str, fields: dict[bytes, bytes]) -> tuple[int, Any]:
    if path.endswith("next-job") or method not in {"GET", "HEAD", "OPTIONS"}:
        unsafe.append(f"{method} {path}")
    match path:
        case "/health":
            return HEALTH, {"status": "healthy"}
        case "/regions":
            return STATUS, [{"code": "europe-west", "model": MODEL}]
        case "/api/v1/queue/stats":
            return 200, {"queued": 3, "answer_number": next(asked), "timestamp": next(asked)}
        case "/api/v1/jobs":
            token = fields.get(b"x-worker-token")
            return (200, {"jobs": []}) if token in {None, TOKEN} else (401, {"detail": "Invalid worker token"})
        case "/echo":
            return 200, {"echo": f"{MODEL} {fields.get(b'x-api-key', b'').decode()}"}
        case "/_unsafe":
            return 200, unsafe
    return 404, {"detail": "Not Found"}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    status, content = answer(scope["method"], scope["path"], dict(scope["headers"]))
    if DELAY_S and scope["path"] != "/health":
        await asyncio.sleep(DELAY_S)
    body = json.dumps(content).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
