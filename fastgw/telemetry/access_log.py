"""One line per request, at its end: JSON, or text for a terminal.

JSON is put together by hand where that is safe, and by orjson where a part would need escapes: 1.3 us instead of 3.6.
"""

from __future__ import annotations

from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.exchange import End
from fastgw.telemetry import redact
from fastgw.telemetry.redact import is_plain

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.telemetry.routes import Route
    from fastgw.telemetry.writer import LogWriter

WARNING_FROM: Final = 500
"""Status from which a line is a warning."""

_COMMON: Final = (
    b'{"time":"%b","level":"%b","message":"proxy %b %b %d","requestId":"%b","method":"%b","path":"%b","route":"%b",'
    b'"statusCode":%d,"duration":%.3f,"upstream":%.3f,"client":"%b","end":"%b"'
)
_ENDS: Final = {end.value: end.value.encode() for end in End}


class AccessLog:
    """Writes the lines of a process."""

    def __init__(self, writer: LogWriter, form: str) -> None:
        """form: json or text."""
        self._add = writer.add
        self._make = _json if form == "json" else _text
        self._second = 0
        self._second_text = b""

    def request(self, x: Exchange, route: Route, seconds: float, ended: float) -> None:
        """One request has ended, `seconds` after it began. ended: seconds since the epoch. x.status must be set."""
        second = int(ended)
        if second != self._second:
            self._second = second
            self._second_text = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second)).encode()
        self._add(self._make(x, route, seconds, b"%b%03dZ" % (self._second_text, (ended - second) * 1000)))


def _json(x: Exchange, route: Route, seconds: float, at: bytes) -> bytes:
    """{time, level, message, requestId, method, path, route, statusCode, duration, upstream, client, end, ...}.

    duration and upstream: milliseconds; the latter is the wait for the head of the backend's answer. cached: as
    X-Gateway-Cache says. What there is nothing to say of is left out.
    """
    status, method, path = x.status, x.method, route.shown_bytes
    is_simple = route.is_plain
    if query := x.scope["query_string"]:
        shown = redact.target(x.raw_path, query)
        is_simple = is_plain(shown) is not None
        path = shown.encode()
    if not (is_simple and method.isalpha()):
        return _escaped(x, route, seconds, at)
    line = _COMMON % (
        at,
        b"info" if status < WARNING_FROM else b"warning",
        method,
        path,
        status,
        x.request_id,
        method,
        path,
        route.template_bytes,
        status,
        seconds * 1e3,
        x.upstream_s * 1e3,
        x.client.encode(),
        _ENDS[x.end._value_],
    )
    if x.trace.trace_id:
        line += b',"traceId":"%b"' % x.trace.trace_id
    if state := x.cache_state:
        line += b',"cached":"%b"' % state
    if x.backend:
        line += b',"backend":"%b"' % x.backend.encode()
    if x.attempts > 1 or x.identity or x.failures or x.limited:
        line += b"," + orjson.dumps(_more(x))[1:-1]
    return line + b"}\n"


def _more(x: Exchange) -> dict[str, Any]:
    """What few requests have."""
    more: dict[str, Any] = {}
    if x.identity:
        more["identity"] = x.identity
    if x.attempts > 1:
        more["attempts"] = x.attempts
    if x.failures:
        more["failures"] = [f"{backend}: {reason}" for backend, reason in x.failures]
    if x.limited:
        more["rateLimited"] = True
    return more


def _escaped(x: Exchange, route: Route, seconds: float, at: bytes) -> bytes:
    """The same line, its parts escaped."""
    path = redact.target(x.raw_path, x.scope["query_string"])
    method = x.method.decode("latin-1")
    line = {
        "time": at.decode(),
        "level": "info" if x.status < WARNING_FROM else "warning",
        "message": f"proxy {method} {path} {x.status}",
        "requestId": x.request_id.decode("latin-1"),
        "method": method,
        "path": path,
        "route": route.template,
        "statusCode": x.status,
        "duration": round(seconds * 1e3, 3),
        "upstream": round(x.upstream_s * 1e3, 3),
        "client": x.client,
        "end": x.end.value,
    }
    if x.trace.trace_id:
        line["traceId"] = x.trace.trace_id.decode()
    if state := x.cache_state:
        line["cached"] = state.decode()
    if x.backend:
        line["backend"] = x.backend
    return orjson.dumps(line | _more(x), None, orjson.OPT_APPEND_NEWLINE)


def _text(x: Exchange, _route: Route, seconds: float, at: bytes) -> bytes:
    path = redact.target(x.raw_path, x.scope["query_string"])
    cached = x.cache_state.decode() or "-"
    line = (
        f"{at.decode()} proxy {x.method.decode('latin-1')} {path} {x.status} {seconds * 1e3:.2f}ms "
        f"upstream={x.upstream_s * 1e3:.2f}ms cache={cached} client={x.client} backend={x.backend or '-'} "
        f"id={x.request_id.decode('latin-1')} {x.end.value}\n"
    )
    return line.encode("ascii", "backslashreplace")
