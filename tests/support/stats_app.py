"""A backend whose every answer is 5 KB of queue statistics, as JSON that the platform could write, each one different.

The response is of the size that the guide plans with, and full of quotes, which take two bytes each in Redis.
"""

from __future__ import annotations

import json
import zlib
from random import Random
from typing import Any

SIZE = 5_000
REGIONS = ("asia-east", "asia-south", "europe-west", "europe-east", "america-north", "america-south", "oceania")
STATES = ("online", "idle", "busy", "going_offline", "offline")


def stats(seed: bytes) -> bytes:
    """5,000 bytes, give or take one job."""
    random = Random(zlib.crc32(seed))
    content: dict[str, Any] = {
        "total_jobs": random.randrange(10_000),
        "regions": {region: {"queued": random.randrange(500), "wait_s": random.random()} for region in REGIONS},
        "jobs": [],
    }
    while len(body := json.dumps(content).encode()) < SIZE - 60:
        content["jobs"].append(
            {
                "job_id": f"{random.getrandbits(64):016x}",
                "worker_id": f"worker-{random.randrange(50)}",
                "region": random.choice(REGIONS),
                "state": random.choice(STATES),
                "priority": random.randrange(10),
                "estimated_wait_seconds": round(random.uniform(0, 600), 2),
            }
        )
    return body


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    body = stats(scope["query_string"])
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})
