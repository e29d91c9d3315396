"""The backend of the cache tests: says what it is told to say about caching, and counts how often it was asked.

Any path answers {"n": how often this path was asked, "who": the request's credentials, "lang": Accept-Language}, with
    ?h=name:value   a response field (repeatable)      ?status=404      ?sleep=0.2 seconds before the head
    ?etag=x         an ETag, and 304 where it matches  ?pad=5000        bytes more in the body
    ?drip=0.1       the body in two halves, that many seconds apart
/_set?status=500 answers everything so until /_set?status=0; /_asked gives the counts; /_job?id=1&status=running sets a
job, which /api/v1/jobs/1 tells. next-job hands out a number that is never the same.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import count
from typing import Any
from urllib.parse import parse_qs

ASKED: Counter[str] = Counter()
CONDITIONS: list[str] = []
JOBS: dict[str, str] = {}
FORCED = {"status": 0}
NUMBERS = count(1)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
    while (await receive()).get("more_body"):
        pass
    path = scope["path"]
    if path == "/health":
        await answer(send, 200, {}, [])
    elif path.startswith("/_"):
        await answer(send, 200, order(path, query), [])
    else:
        ASKED[path] += 1
        await serve(scope, ASKED[path], query, send)


def order(path: str, query: dict[str, list[str]]) -> Any:
    if path == "/_asked":
        return {"asked": ASKED, "conditions": CONDITIONS}
    if path == "/_reset":
        ASKED.clear()
        CONDITIONS.clear()
        JOBS.clear()
        FORCED["status"] = 0
    elif path == "/_job":
        JOBS[query["id"][0]] = query["status"][0]
    elif path == "/_set":
        FORCED["status"] = int(query["status"][0])
    return {}


async def serve(scope: dict[str, Any], number: int, query: dict[str, list[str]], send: Any) -> None:
    path = scope["path"]
    fields = [tuple(part.strip().encode() for part in h.split(":", 1)) for h in query.get("h", [])]
    given = {k.decode(): v.decode("latin-1") for k, v in scope["headers"]}
    await asyncio.sleep(float(query.get("sleep", ["0"])[0]))
    if FORCED["status"]:
        return await answer(send, FORCED["status"], {"n": number}, [])
    if path.endswith("/next-job"):
        return await answer(send, 200, {"job_id": next(NUMBERS)}, fields)
    if path.startswith("/api/v1/jobs/") and scope["method"] == "GET":
        status = JOBS.get(path.rsplit("/", 1)[1], "running")
        return await answer(send, 200, {"status": status, "n": number}, fields)
    if "etag" in query:
        etag = f'"{query["etag"][0]}"'
        fields.append((b"etag", etag.encode()))
        if "if-none-match" in given:
            CONDITIONS.append(given["if-none-match"])
            if given["if-none-match"] == etag:
                return await answer(send, 304, None, fields)
    who = [given.get(name) for name in ("x-api-key", "x-worker-token", "authorization", "cookie")]
    content = {"n": number, "who": who, "lang": given.get("accept-language")}
    content["pad"] = "x" * int(query.get("pad", ["0"])[0])
    return await answer(send, int(query.get("status", ["200"])[0]), content, fields, float(query.get("drip", ["0"])[0]))


async def answer(send: Any, status: int, content: Any, fields: list[Any], drip_s: float = 0.0) -> None:
    body = b"" if content is None else json.dumps(content).encode()
    names = {name.lower() for name, _ in fields}
    if content is not None and b"content-type" not in names:
        fields.append((b"content-type", b"application/json"))
    if status != 304:
        fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if drip_s:
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await asyncio.sleep(drip_s)
        body = body[half:]
    await send({"type": "http.response.body", "body": body})
