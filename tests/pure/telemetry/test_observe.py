"""What is made of a request's end: figures, a line, spans."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from fastgw.accept import Accept
from fastgw.exchange import End
from fastgw.protocol.forwarded import TrustedProxies
from fastgw.settings.values import networks
from fastgw.telemetry import families
from fastgw.telemetry.access_log import AccessLog
from fastgw.telemetry.exposition import Total
from fastgw.telemetry.ledger import Ledger
from fastgw.telemetry.metrics import Metrics, queued_s
from fastgw.telemetry.observe import BATCH, Observe, room_of
from fastgw.telemetry.routes import Routes
from fastgw.telemetry.spans import Encoder, Span
from fastgw.telemetry.tracing import LATE_PER_S, Tracing
from tests.pure.asgi import HOST, accepted, exchange

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
SAMPLED = (b"traceparent", b"00-%b-%b-01" % (TRACE, SPAN))
NOT_SAMPLED = (b"traceparent", b"00-%b-%b-00" % (TRACE, SPAN))


class Lines:
    def __init__(self) -> None:
        self.all: list[bytes] = []

    def add(self, line: bytes) -> None:
        self.all.append(line)


class Seen:
    """An Observe with all on, and what came of it."""

    def __init__(self, ratio: float = 1.0, trusts: str = "all", form: str = "json") -> None:
        self.ledger, self.spans, self.lines = Ledger(), list[Span](), Lines()
        tracing = Tracing(self.spans.append, ratio, slow_s=0.5, trusts=trusts)
        log = AccessLog(self.lines, form)  # type: ignore[arg-type]
        self.observe = Observe(Routes(), Metrics(self.ledger.claim()), log, tracing)

    def end(self, x, status=200, **facts):
        self.observe.begin(x)
        x.status, x.head_sent, x.end = status, bool(status), End.COMPLETE
        for name, value in facts.items():
            setattr(x, name, value)
        self.observe(x)
        return x

    @property
    def total(self) -> Total:
        return Total(self.ledger)

    @property
    def line(self):
        return json.loads(self.lines.all[-1])


def request(*fields, target=b"/api/v1/jobs/7", method="GET", trusted=(), peer="203.0.113.9"):
    return accepted(exchange(HOST, *fields, target=target, method=method, peer=peer), trusted)


# -- figures ------------------------------------------------------------------------------------------


def test_a_request_is_counted_timed_and_by_its_template() -> None:
    seen = Seen()
    x = request()
    x.started -= 0.003
    seen.end(
        x, own_s=0.0009, upstream_s=0.002, backend="b:1", attempts=3, cache_fields=((b"x-gateway-cache", b"MISS"),)
    )
    total = seen.total
    assert total.of(families.REQUESTS) == {("GET", "/api/v1/jobs/{id}", "200"): [1.0]}
    cells = total.of(families.DURATION)[("/api/v1/jobs/{id}",)]
    assert sum(cells[:-1]) == 1
    assert 0.003 <= cells[-1] < 0.1
    assert total.of(families.OVERHEAD)[()][2] == 1
    assert total.of(families.UPSTREAM)[("b:1",)][3] == 1
    assert (total.sum_of(families.RETRIES), total.sum_of(families.MISSES), total.sum_of(families.HITS)) == (2, 1, 0)


def test_what_went_wrong_is_counted_by_reason() -> None:
    seen = Seen()
    seen.end(request(), 429, limited=True)
    seen.end(request(), 401, refused_for="wrong")
    seen.end(request(), 502, failures=(("b:1", "connect_failed"), ("b:2", "read_timeout")))
    seen.end(request(), 200, failures=(("b:1", "connection_lost"),))
    total = seen.total
    assert total.sum_of(families.REJECTED) == 1
    assert total.of(families.AUTH_FAILURES) == {("wrong",): [1.0]}
    assert sorted(total.of(families.PROXY_ERRORS)) == [
        ("b:1", "connect_failed"),
        ("b:1", "connection_lost"),
        ("b:2", "read_timeout"),
    ]


def test_who_left_before_an_answer_counts_as_499() -> None:
    seen = Seen()
    seen.end(request(), 0, end=End.CLIENT_GONE)
    assert seen.total.of(families.REQUESTS) == {("GET", "/api/v1/jobs/{id}", "499"): [1.0]}
    assert seen.line["statusCode"] == 499
    assert seen.line["end"] == "client gone"


def test_ten_thousand_inventions_leave_the_series_as_they_were() -> None:
    """Of paths, methods and status codes."""
    seen, rng = Seen(ratio=0.0), random.Random(7)

    def invent(count: int) -> None:
        for _ in range(count):
            path = b"/" + bytes(rng.choices(b"abc/{}%20", k=rng.randrange(30)))
            method = rng.choice(["GET", "POST", "".join(rng.choices("ABCXYZ", k=rng.randrange(1, 12)))])
            seen.end(request(target=path.replace(b"?", b""), method=method), rng.randrange(100, 1000))

    for status in range(100, 1000):  # all that there can be of the two routes that such paths have
        for method in ("GET", "POST", "BREW"):
            for path in (b"/nothing/of/ours", b"/"):
                seen.end(request(target=path, method=method), status)
    before = len(seen.total.cells)
    held = len(seen.observe._metrics._requests)
    invent(10_000)
    assert len(seen.total.cells) == before
    assert len(seen.observe._metrics._requests) == held
    assert seen.total.sum_of(families.SERIES_DROPPED) == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"t=999.75", 0.25),
        (b"999.75", 0.25),
        (b"999750", 0.25),
        (b"t=999750000", 0.25),
        (b"1000.5", 0.0),
        (b"t=1", None),
        (b"t=2000", None),
        (b"soon", None),
        (b"", None),
        (b"nan", None),
        (b"inf", None),
        (b"-5", None),
    ],
)
def test_time_in_the_queue(value: bytes, seconds: float | None) -> None:
    assert queued_s(value, 1000.0) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(("peer", "counts"), [("10.0.0.1", True), ("203.0.113.9", False)])
def test_only_a_trusted_proxy_tells_of_the_queue(peer: str, counts: bool) -> None:
    seen = Seen()
    seen.end(
        request((b"x-request-start", b"t=%f" % __import__("time").time()), trusted=networks("10.0.0.0/8"), peer=peer)
    )
    assert bool(seen.total.of(families.QUEUE)) is counts


def test_a_fault_is_counted_by_its_room() -> None:
    with pytest.raises(AttributeError) as fault:
        Accept(TrustedProxies([]), 1)(None)  # type: ignore[arg-type]
    assert room_of(fault.value) == "accept"
    seen = Seen()
    seen.observe.fault(fault.value)
    assert seen.total.of(families.PLUGIN_ERRORS)[("accept",)] == [1.0]
    assert seen.total.sum_of(families.PLUGIN_ERRORS) == 1


def test_observing_never_raises(caplog) -> None:
    seen = Seen()
    x = request()
    x.scope["query_string"] = 7  # type: ignore[index]
    seen.end(x)
    assert "could not be observed" in caplog.text


# -- lines --------------------------------------------------------------------------------------------


def test_a_line_tells_what_became_of_it_and_no_secret() -> None:
    seen = Seen()
    x = request(SAMPLED, (b"authorization", b"Bearer hush"), target=b"/api/v1/jobs/7?token=hush&a=1")
    seen.end(x, upstream_s=0.0015, backend="b:1", identity="key:ops", cache_fields=((b"x-gateway-cache", b"HIT"),))
    line = seen.line
    assert line["message"] == "proxy GET /api/v1/jobs/7?token=***&a=1 200"
    assert line["requestId"] == x.request_id.decode()
    assert line["traceId"] == TRACE.decode()
    assert (line["method"], line["path"], line["statusCode"]) == ("GET", "/api/v1/jobs/7?token=***&a=1", 200)
    assert (line["upstream"], line["cached"], line["client"]) == (1.5, "HIT", "203.0.113.9")
    assert line["route"] == "/api/v1/jobs/{id}"
    assert line["duration"] > 0
    assert line["level"] == "info"
    assert b"hush" not in b"".join(seen.lines.all)
    assert not any("hush" in str(span.tags) for span in seen.spans)


def test_text_is_for_people() -> None:
    seen = Seen(form="text")
    seen.end(request(), 502, backend="b:1")
    (line,) = seen.lines.all
    assert line.endswith(b"\n")
    assert b" proxy GET /api/v1/jobs/7 502 " in line
    assert b"backend=b:1" in line


def test_a_line_cannot_be_forged() -> None:
    for form in ("json", "text"):
        seen = Seen(form=form)
        seen.end(request(target=b"/a%0a\n{}\x1b"))
        assert seen.lines.all[0].count(b"\n") == 1
        assert b"\x1b" not in seen.lines.all[0]


# -- spans --------------------------------------------------------------------------------------------


def sent(x) -> dict[str, str]:
    """The trace fields that a backend is told."""
    return dict(line.split(": ", 1) for line in x.trace.lines.decode().splitlines())


def test_a_request_without_a_context_begins_a_trace() -> None:
    seen = Seen()
    x = seen.end(request())
    version, trace_id, span_id, flags = sent(x)["traceparent"].split("-")
    assert (version, flags, len(trace_id), len(span_id)) == ("00", "03", 32, 16)
    (span,) = seen.spans
    assert (span.trace_id.decode(), span.span_id.decode(), span.parent_id) == (trace_id, span_id, b"")
    assert span.name == "gateway:proxy"


def test_a_context_is_gone_on_with_and_its_state_kept() -> None:
    seen = Seen(ratio=0.0)
    x = seen.end(request(SAMPLED, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")))
    fields = sent(x)
    assert fields["traceparent"].split("-")[1] == TRACE.decode()
    assert fields["traceparent"].split("-")[2] != SPAN.decode()
    assert fields["tracestate"] == "a=1,b=2"
    assert (seen.spans[0].trace_id, seen.spans[0].parent_id) == (TRACE, SPAN), "the caller has decided"
    assert x.trace.lines.count(b"\r\n") == 2


@pytest.mark.parametrize(
    "fields",
    [
        [(b"traceparent", b"00-junk")],
        [SAMPLED, SAMPLED],
        [(b"tracestate", b"a=1")],
        [(b"traceparent", b"00-%b-%b-01" % (b"0" * 32, SPAN)), (b"tracestate", b"a=1")],
    ],
)
def test_an_invalid_context_is_replaced_whole(fields) -> None:
    x = Seen().end(request(*fields))
    assert sent(x).keys() == {"traceparent"}
    assert x.trace.trace_id != TRACE
    assert x.trace.parent_id == b""


@pytest.mark.parametrize(
    ("trusts", "peer", "believed"),
    [
        ("all", "203.0.113.9", True),
        ("proxies", "203.0.113.9", False),
        ("proxies", "10.0.0.1", True),
        ("none", "10.0.0.1", False),
    ],
)
def test_whose_context_is_believed_is_a_setting(trusts: str, peer: str, believed: bool) -> None:
    x = Seen(trusts=trusts).end(request(SAMPLED, trusted=networks("10.0.0.0/8"), peer=peer))
    assert (x.trace.trace_id == TRACE) is believed


def test_what_the_caller_does_not_sample_is_not_sampled_but_passed_on() -> None:
    seen = Seen()
    x = seen.end(request(NOT_SAMPLED))
    assert sent(x)["traceparent"].endswith("-00")
    assert seen.spans == []


def test_errors_and_slow_ones_are_kept_though_not_sampled() -> None:
    seen = Seen(ratio=0.0)
    seen.end(request())
    assert seen.spans == []
    x = seen.end(request(), 502)
    seen.end(request(), 200, end=End.BROKE_IN_BODY)
    seen.end(request(), 200, upstream_s=0.6)
    assert [span.tags.get("error.type") for span in seen.spans] == ["502", "backend broke in body", None]
    assert seen.spans[0].span_id == x.trace.span_id, "the one that the backend was told"
    seen.end(request(target=b"/api/v1/jobs/sync", method="POST"), 200, upstream_s=60)
    assert len(seen.spans) == 3, "slow by design"


def test_a_storm_of_errors_is_not_a_storm_of_spans() -> None:
    seen = Seen(ratio=0.0)
    for _ in range(10 * LATE_PER_S):
        seen.end(request(), 503)
    assert LATE_PER_S <= len(seen.spans) <= 3 * LATE_PER_S  # a second may turn in between


def test_the_ratio_holds() -> None:
    seen = Seen(ratio=0.25)
    for _ in range(4000):
        seen.end(request())
    assert 850 < len(seen.spans) < 1150


def test_zipkin_is_told_in_its_own_form() -> None:
    seen = Seen()
    x = request(SAMPLED, target=b"/api/v1/jobs/7?a=1")
    seen.observe.begin(x)
    x.stage("redis", x.started, **{"db.system.name": "redis"})
    seen.end(x, 200, backend="b:1", attempts=1, limited=False)
    spans = json.loads(Encoder("me").serialize(seen.spans, None))
    root, *_ = spans
    assert root["traceId"] == TRACE.decode()
    assert root["parentId"] == SPAN.decode()
    assert root["kind"] == "SERVER"
    assert root["localEndpoint"] == {"serviceName": "me"}
    assert isinstance(root["timestamp"], int)
    assert root["duration"] >= 1
    assert all(isinstance(value, str) for value in root["tags"].values())
    assert root["tags"]["http.route"] == "/api/v1/jobs/{id}"
    assert root["tags"]["fastgw.rate_limited"] == "false"
    assert root["tags"]["url.query"] == "a=1"


# -- together -----------------------------------------------------------------------------------------


class Loop:
    """Timers that the test rings."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, _seconds: float, ring: Any) -> None:
        self.timers.append(ring)


def test_requests_are_counted_at_once_and_the_rest_is_settled_together() -> None:
    seen, loop = Seen(), Loop()
    seen.observe._loop = loop  # type: ignore[assignment]
    for _ in range(3):
        seen.end(request())
    assert seen.total.sum_of(families.REQUESTS) == 3
    assert (seen.lines.all, seen.spans, len(loop.timers)) == ([], [], 1)
    loop.timers.pop()()
    assert (len(seen.lines.all), len(seen.spans)) == (3, 3)
    assert sum(seen.total.of(families.DURATION)[("/api/v1/jobs/{id}",)][:-1]) == 3
    for _ in range(BATCH):
        seen.end(request())
    assert len(seen.lines.all) == 3 + BATCH, "so many do not wait"
    assert len(loop.timers) == 1
