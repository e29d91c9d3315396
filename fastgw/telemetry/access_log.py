"""One line per request, at its end: JSON, or text for a terminal."""

from __future__ import annotations

from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.telemetry import redact

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.telemetry.writer import LogWriter

NEWLINE: Final = orjson.OPT_APPEND_NEWLINE
WARNING_FROM: Final = 500


class AccessLog:
    """Writes the lines of a process."""

    def __init__(self, writer: LogWriter, form: str) -> None:
        """form: json or text."""
        self._add = writer.add
        self._make = _json if form == "json" else _text
        self._second = 0
        self._second_text = ""

    def request(self, x: Exchange, route: str, seconds: float, ended: float) -> None:
        """One request has ended, `seconds` after it began. ended: seconds since the epoch. x.status must be set."""
        second = int(ended)
        if second != self._second:
            self._second = second
            self._second_text = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second))
        self._add(self._make(x, route, seconds, f"{self._second_text}{int((ended - second) * 1000):03d}Z"))


def _json(x: Exchange, route: str, seconds: float, at: str) -> bytes:
    """{time, level, message, requestId, traceId?, method, path, route, statusCode, duration, upstream, ...}.

    duration and upstream: milliseconds; the latter is the wait for the head of the backend's answer. cached: as
    X-Gateway-Cache says. What there is nothing to say of is left out.
    """
    status = x.status
    method = x.method.decode("latin-1")
    path = redact.target(x.raw_path, x.scope["query_string"])
    line: dict[str, Any] = {
        "time": at,
        "level": "info" if status < WARNING_FROM else "warning",
        "message": f"proxy {method} {path} {status}",
        "requestId": x.request_id.decode("latin-1"),
        "method": method,
        "path": path,
        "route": route,
        "statusCode": status,
        "duration": round(seconds * 1e3, 3),
        "upstream": round(x.upstream_s * 1e3, 3),
        "client": x.client,
        "end": x.end.value,
    }
    if x.trace_id:
        line["traceId"] = x.trace_id.decode()
    if x.cache_fields:
        line["cached"] = x.cache_fields[0][1].decode()
    if x.backend:
        line["backend"] = x.backend
    if x.identity:
        line["identity"] = x.identity
    if x.attempts > 1:
        line["attempts"] = x.attempts
    if x.failures:
        line["failures"] = [f"{backend}: {reason}" for backend, reason in x.failures]
    if x.limited:
        line["rateLimited"] = True
    return orjson.dumps(line, None, NEWLINE)


def _text(x: Exchange, _route: str, seconds: float, at: str) -> bytes:
    path = redact.target(x.raw_path, x.scope["query_string"])
    cached = x.cache_fields[0][1].decode() if x.cache_fields else "-"
    line = (
        f"{at} proxy {x.method.decode('latin-1')} {path} {x.status} {seconds * 1e3:.2f}ms "
        f"upstream={x.upstream_s * 1e3:.2f}ms cache={cached} client={x.client} backend={x.backend or '-'} "
        f"id={x.request_id.decode('latin-1')} {x.end.value}\n"
    )
    return line.encode("ascii", "backslashreplace")
