"""The gateway's own answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgw import __version__
from fastgw.errors import ALL, ErrorKind, GatewayError
from fastgw.exchange import End, Exchange
from fastgw.respond import error_answer, json_answer, own_fields, respond
from tests.pure.asgi import Client, accepted, exchange
from tests.pure.loop import in_loop


@pytest.mark.parametrize("kind", ALL, ids=[kind.code for kind in ALL])
def test_an_error_is_json_in_the_one_shape(kind: ErrorKind) -> None:
    answer = error_answer(GatewayError(kind, "why"), b"id-1")
    content = json.loads(answer.body)
    expected: dict[str, Any] = {"code": kind.code, "message": f"{kind.message}: why", "requestId": "id-1"}
    if kind.retry_after_s is not None:
        expected["retryAfter"] = kind.retry_after_s
    assert content == {"error": expected}
    assert answer.status == kind.status
    fields = dict(answer.fields)
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"cache-control"] == b"no-store"
    assert (b"retry-after" in fields) == (kind.retry_after_s is not None)


@pytest.mark.parametrize(
    ("method", "kind", "body"),
    [("GET", "http", b'{"a":1}'), ("HEAD", "http", b""), ("GET", "websocket", b'{"a":1}')],
)
@in_loop
async def test_an_answer_is_two_messages(method: str, kind: str, body: bytes) -> None:
    client = Client()
    x = accepted(exchange(method=method, type=kind, client=client))
    await respond(x, json_answer(200, {"a": 1}))
    prefix = "http.response" if kind == "http" else "websocket.http.response"
    assert [message["type"] for message in client.sent] == [f"{prefix}.start", f"{prefix}.body"]
    assert client.fields[b"content-length"] == b"7"
    assert client.fields[b"server"] == b"fastgw"
    assert client.body == body
    assert (x.status, x.head_sent, x.end) == (200, True, End.REFUSED)


def test_every_answer_says_who_and_how_long() -> None:
    x: Exchange = accepted(exchange())
    x.upstream_s = 0.002
    fields = dict(own_fields(x))
    assert fields[b"x-request-id"] == x.request_id
    assert fields[b"x-gateway-version"] == __version__.encode()
    assert fields[b"x-gateway-duration"].removesuffix(b"ms").replace(b".", b"").isdigit()
    assert fields[b"server-timing"].endswith(b"backend;dur=2.00")
    assert b"connection" not in fields
    x.must_close = True
    assert dict(own_fields(x))[b"connection"] == b"close"
