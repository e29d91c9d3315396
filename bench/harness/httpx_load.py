"""A closed-loop load generator over httpx; prints JSON.

`python -m bench.harness.httpx_load URL CONNECTIONS SECONDS FIELDS BODY_BYTES`; FIELDS: request header fields, a JSON
object. BODY_BYTES: above 0 it is a POST.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import httpx
import uvloop

from bench.harness.stats import percentile


async def _load(url: str, connections: int, seconds: int, fields: dict[str, str], size: int) -> dict[str, float]:
    method, body = ("POST", b"x" * size) if size else ("GET", None)
    millis: list[float] = []
    errors = 0
    started = time.perf_counter()

    async def one_connection() -> None:
        nonlocal errors
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=limits, timeout=5, trust_env=False, headers=fields) as client:
            while (begin := time.perf_counter()) < started + seconds:
                try:
                    good = (await client.request(method, url, content=body)).status_code < 400
                except httpx.HTTPError:
                    good = False
                errors += not good
                millis.append((time.perf_counter() - begin) * 1e3)

    await asyncio.gather(*(one_connection() for _ in range(connections)))
    took = time.perf_counter() - started
    millis.sort()
    return {
        "requests": len(millis),
        "seconds": took,
        "p50_ms": percentile(millis, 50),
        "p99_ms": percentile(millis, 99),
        "errors": errors,
    }


if __name__ == "__main__":
    target, connected, lasting, sent, posted = sys.argv[1:]
    print(json.dumps(uvloop.run(_load(target, int(connected), int(lasting), json.loads(sent), int(posted)))))
