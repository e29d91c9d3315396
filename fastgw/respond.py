"""Writes an answer of the gateway's own to the client: an error in the JSON shape, or one of its pages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw import __version__
from fastgw.exchange import End

if TYPE_CHECKING:
    from fastgw.errors import GatewayError
    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields

JSON: Final = (b"content-type", b"application/json")
_SERVER: Final = (b"server", b"fastgw")
_VERSION: Final = (b"x-gateway-version", __version__.encode())
CLOSE: Final = (b"connection", b"close")
SAME_FIELDS: Final = (_SERVER, _VERSION)
"""What every answer of the gateway's own says, whatever was asked."""

_NO_STORE: Final = (b"cache-control", b"no-store")
MESSAGES: Final = {
    "http": ("http.response.start", "http.response.body"),
    "websocket": ("websocket.http.response.start", "websocket.http.response.body"),
}
"""A refused WebSocket handshake is answered by HTTP (ASGI's websocket denial response)."""


@dataclass(slots=True)
class Answer:
    """A complete answer that no backend was asked for."""

    status: int
    body: bytes
    fields: Fields = field(default_factory=lambda: [JSON])
    end: End = End.REFUSED
    """How the exchange ends with it. CACHED: the fields are a backend's, complete with length and server."""


def json_answer(status: int, content: Any) -> Answer:
    """An answer whose body is `content` as JSON. It is not to be stored by anyone: it tells of this moment."""
    return Answer(status, orjson.dumps(content), [JSON, _NO_STORE])


def error_answer(error: GatewayError, request_id: bytes) -> Answer:
    """The error as `{"error": {"code", "message", "requestId", "retryAfter"?}}`; Retry-After where it helps."""
    kind = error.kind
    content: dict[str, Any] = {"code": kind.code, "message": error.message, "requestId": request_id.decode()}
    fields = [JSON, _NO_STORE]
    if error.retry_after_s is not None:
        content["retryAfter"] = seconds = math.ceil(error.retry_after_s)
        fields.append((b"retry-after", b"%d" % seconds))
    return Answer(kind.status, orjson.dumps({"error": content}), fields)


def own_fields(x: Exchange) -> Fields:
    """What every answer says of the gateway: request id, version, time, and its own share of it (Server-Timing).

    Milliseconds with two decimals: perf_counter is finer, but a hundredth is what can be told apart from noise.
    """
    total_s = perf_counter() - x.started
    x.own_s = own_s = total_s - x.upstream_s - x.client_s
    fields = [
        (b"x-request-id", x.request_id),
        _VERSION,
        (b"x-gateway-duration", b"%.2fms" % (total_s * 1e3)),
        (b"server-timing", b"gateway;dur=%.2f, backend;dur=%.2f" % (own_s * 1e3, x.upstream_s * 1e3)),
    ]
    fields += x.limit_fields
    fields += x.cache_fields
    if x.must_close:
        fields.append(CLOSE)
    return fields


async def respond(x: Exchange, answer: Answer) -> None:
    """Send an answer in one piece; for HEAD, and as a 304, its head only, with the length that the body would have."""
    x.status = answer.status
    x.head_sent = True
    x.end = answer.end
    if answer.end is End.CACHED:
        kept = answer.fields if x.cors is None else x.cors.of_kept(answer.fields)
        fields = kept + own_fields(x)
    else:
        fields = [*answer.fields, _SERVER, *own_fields(x)]
        if answer.status != 204:  # which has none (RFC 9110 8.6)
            fields.append((b"content-length", b"%d" % len(answer.body)))
        if x.attempts:
            fields.append((b"x-gateway-attempts", b"%d" % x.attempts))
        if x.cors is not None:
            fields += x.cors.of_gateway(answer.status)
    start, body = MESSAGES[x.scope["type"]]
    await x.send({"type": start, "status": answer.status, "headers": fields})
    is_head_only = x.method == b"HEAD" or answer.status == 304
    await x.send({"type": body, "body": b"" if is_head_only else answer.body})
