"""Traces: ids decided at the beginning of a request, spans made at its end, when all is known.

    begin   the client's context or a new one, sampled or not; what the backend is told (W3C Trace Context)
    end     sampled: the span `gateway:proxy`, and one for Redis and for each try at a backend
            not sampled, but an error or slow: the span `gateway:proxy` alone, LATE_PER_S a second at most

No span object exists while a request is under way, so one that is not sampled costs two random numbers and a line for
the backend: see bench/README.md. The backend's own span is a child of `gateway:proxy`.
"""

from __future__ import annotations

import re
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from fastgw.exchange import End, Trace
from fastgw.protocol import traceparent
from fastgw.telemetry import redact
from fastgw.telemetry.spans import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.exchange import Exchange
    from fastgw.telemetry.routes import Route

LATE_PER_S: Final = 100
"""Spans a second and process for errors and slow requests that were not sampled: a storm of errors costs no more."""

LONG_BY_DESIGN: Final = (b"/api/v1/jobs/sync", b"/next-job")
"""Ends of paths that wait for minutes when all is well: never slow."""

_LINE: Final = b"traceparent: 00-%b%016x-%016x-%b\r\n"
_TRACE_ID: Final = slice(16, 48)
_SPAN_ID: Final = slice(49, 65)

_ENDS: Final = re.compile(rb"[\r\n\0]")
"""What would make a line of its own; the server has refused it already."""

new_tuple: Final = tuple.__new__
"""A Trace in half the time."""

MAX_TAG: Final = 256

LOW_56: Final = (1 << 56) - 1
"""The bits of a trace id that decide whether it is sampled, so that all who go by them decide alike."""

COMPLETE: Final = End.COMPLETE
BROKEN: Final = (End.BROKE_IN_BODY, End.BROKE_BEFORE_HEAD, End.FAILED)


class Tracing:
    """Decides which requests are traced, and tells of them."""

    def __init__(self, emit: Callable[[Span], None], ratio: float, slow_s: float, *, trusts: str) -> None:
        """emit: takes spans. ratio: of traces that begin here, how many are sampled.

        slow_s: a request whose head takes longer is kept even if it was not sampled. trusts: whose trace context is
        gone on with: all, proxies (those of TRUSTED_PROXIES), or none.
        """
        self._emit = emit
        self._threshold = int(ratio * (LOW_56 + 1))
        self._slow_s = slow_s
        self._trusts = trusts
        self._bits = Random().getrandbits  # noqa: S311 - ids are names, not secrets
        # half of a trace's id is the process's: its last 7 bytes are what must be random (Trace Context 2, 3.2.2.5.1)
        self._start = b"%016x" % (self._bits(64) or 1)
        self._late_second = 0
        self._late = 0

    def begin(self, x: Exchange) -> None:
        """Sets x.trace. After accept."""
        bits = self._bits
        if x.trace_fields and (self._trusts == "all" or (self._trusts == "proxies" and x.is_peer_trusted)):
            parent = parent_of(x)
            if parent is not None:
                x.trace = _child(x, parent, b"%016x" % (bits(64) or 1))
                return
        number = bits(64)
        is_sampled = number & LOW_56 < self._threshold
        # one line, and the ids cut out of it: half the time of three
        lines = _LINE % (self._start, number, bits(64) or 1, b"03" if is_sampled else b"02")
        x.trace = new_tuple(Trace, (lines[_TRACE_ID], lines[_SPAN_ID], b"", is_sampled, lines))

    def end(self, x: Exchange, route: Route, seconds: float, ended: float) -> None:
        """The request has ended. ended: seconds since the epoch."""
        trace = x.trace
        if not trace.is_sampled:
            if x.status < 500 and x.end is COMPLETE and x.own_s + x.upstream_s <= self._slow_s:
                return  # the common case
            if not self._is_worth_keeping(x):
                return
        started = ended - seconds
        ids = trace.trace_id, trace.span_id, trace.parent_id
        self._emit(Span(ids, "gateway:proxy", "SERVER", (started, seconds), tags_of(x, route)))
        if not trace.is_sampled:
            return
        bits = self._bits
        for name, begun, took_s, tags in x.stages:
            ids = trace.trace_id, b"%016x" % (bits(64) or 1), trace.span_id
            self._emit(Span(ids, name, "CLIENT", (started + begun - x.started, took_s), tags))

    def _is_worth_keeping(self, x: Exchange) -> bool:
        is_good = x.status < 500 and (x.end is COMPLETE or x.end not in BROKEN)
        if is_good and (x.own_s + x.upstream_s <= self._slow_s or x.raw_path.endswith(LONG_BY_DESIGN)):
            return False
        second = int(monotonic())
        if second != self._late_second:
            self._late_second, self._late = second, 0
        self._late += 1
        return self._late <= LATE_PER_S


def parent_of(x: Exchange) -> traceparent.Parent | None:
    """The client's trace context; None if there is none, more than one, or none that is valid."""
    values = [value for name, value in x.trace_fields if name == b"traceparent"]
    return traceparent.parse(values[0]) if len(values) == 1 else None


def _child(x: Exchange, parent: traceparent.Parent, span_id: bytes) -> Trace:
    """The client's trace goes on; its state is kept."""
    lines = b"traceparent: 00-%b-%b-%02x\r\n" % (parent.trace_id, span_id, parent.flags)
    state = traceparent.state([value for name, value in x.trace_fields if name == b"tracestate"])
    if state:
        lines += b"tracestate: %b\r\n" % state
    return Trace(parent.trace_id, span_id, parent.span_id, bool(parent.flags & traceparent.SAMPLED), lines)


def pass_on(x: Exchange) -> None:
    """Without tracing: the client's trace context goes to the backend as it came."""
    if x.trace_fields:
        fields = [b"%b: %b\r\n" % (name, value) for name, value in x.trace_fields if not _ENDS.search(value)]
        x.trace = Trace(lines=b"".join(fields))


def tags_of(x: Exchange, route: Route) -> dict[str, str]:
    """The attributes of `gateway:proxy`: OpenTelemetry's HTTP conventions, and what the gateway has done."""
    scope = x.scope
    tags = {
        "http.request.method": x.method.decode("latin-1"),
        "url.path": route.shown,
        "url.scheme": scope["scheme"],
        "http.route": route.template,
        "http.response.status_code": str(x.status),
        "client.address": x.client,
        "network.protocol.version": x.http_version,
        "server.address": x.host.decode("latin-1"),
        "fastgw.request_id": x.request_id.decode("latin-1"),
        "fastgw.rate_limited": "true" if x.limited else "false",
        "fastgw.end": x.end._value_,
    }
    if scope["query_string"]:
        tags["url.query"] = redact.target(redact.query_of(scope["query_string"]), b"")
    if state := x.cache_state:
        tags["fastgw.cache"] = state.decode()
        tags["fastgw.cache_hit"] = "true" if state == b"HIT" else "false"
    if x.backend:
        tags["fastgw.backend"] = x.backend
        tags["fastgw.attempts"] = str(x.attempts)
    agent = next((value for name, value in x.headers if name == b"user-agent"), b"")
    if agent:
        tags["user_agent.original"] = agent[:MAX_TAG].decode("latin-1")
    if x.status >= 500 or x.end in BROKEN:
        tags["error.type"] = str(x.status) if x.end is COMPLETE else x.end.value
        tags["error"] = "true"  # Zipkin's own sign
    return tags
