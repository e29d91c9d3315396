"""One request, one trace: through the gateway to an instrumented FastAPI server; and a collector that is away."""

from __future__ import annotations

import os
import secrets
import time

import psutil
import pytest

from tests.support.collector import Collector
from tests.support.load import Load
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.wait import until

PATH = "/api/v1/queue/stats"


@pytest.fixture(scope="module")
def collector():
    with Collector() as one:
        yield one


@pytest.fixture(scope="module")
def fastapi(collector):
    os.environ["COLLECTOR_URL"] = collector.url
    try:
        with Uvicorn("tests.support.traced_app:app") as server:
            yield server
    finally:
        del os.environ["COLLECTOR_URL"]


@pytest.fixture
def traced(gateways, fastapi, collector, valkey):
    return gateways(
        fastapi.url,
        REDIS_URL=valkey.url,
        OTEL_ENABLED="true",
        OTEL_ZIPKIN_ENDPOINT=collector.url,
        RATE_LIMIT_ENABLED="true",
        RATE_LIMIT_MAX_REQUESTS=10000,
        CACHE_ENABLED="true",
        CACHE_ROUTES="none",
    )


def context(flags: str = "01") -> tuple[str, str, str]:
    """A client's trace id, span id, and traceparent."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{flags}"


def by_name(spans):
    return {(span["localEndpoint"]["serviceName"], span["name"].lower()): span for span in spans}


def test_one_request_is_one_trace_and_the_servers_span_is_the_gateways_child(traced, collector) -> None:
    trace_id, span_id, traceparent = context()
    response = request(traced.port, f"{PATH}?token=hush", traceparent=traceparent, tracestate="vendor=1")
    assert response.status == 200
    seen_by_server = response.json
    spans = collector.of(trace_id, 6)
    ours = {name: span for (service, name), span in by_name(spans).items() if service == "acip-gpu-gateway"}
    root = ours["gateway:proxy"]
    assert (root["parentId"], root["kind"]) == (span_id, "SERVER")
    assert set(ours) == {"gateway:proxy", "redis", "backend"}
    assert ours["redis"]["parentId"] == ours["backend"]["parentId"] == root["id"]
    server = next(
        span
        for span in spans
        if span["localEndpoint"]["serviceName"] == "fastapi-server" and span.get("kind") == "SERVER"
    )
    assert server["parentId"] == root["id"]
    assert seen_by_server["traceparent"] == f"00-{trace_id}-{root['id']}-01"
    assert seen_by_server["tracestate"] == "vendor=1"
    assert root["tags"]["http.route"] == PATH
    assert root["tags"]["http.response.status_code"] == "200"
    assert root["tags"]["fastgw.rate_limited"] == "false"
    assert root["tags"]["fastgw.cache_hit"] == "false"
    assert root["tags"]["url.query"] == "token=***"
    for child in (ours["redis"], ours["backend"], server):
        assert child["timestamp"] >= root["timestamp"] - 2000
        assert child["timestamp"] + child["duration"] <= root["timestamp"] + root["duration"] + 2000


def test_without_a_context_the_trace_begins_here(traced, collector) -> None:
    traceparent = request(traced.port, PATH).json["traceparent"]
    trace_id = traceparent.split("-")[1]
    root = by_name(collector.of(trace_id, 6))["acip-gpu-gateway", "gateway:proxy"]
    assert "parentId" not in root


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-{t}-{s}-01", True),
        ("01-{t}-{s}-01-more", True),
        ("ff-{t}-{s}-01", False),
        ("00-{t}-{s}-01-more", False),
        ("garbage", False),
    ],
)
def test_what_is_invalid_is_replaced_and_unknown_versions_are_taken(traced, sent: str, kept: bool) -> None:
    trace_id, span_id, _ = context()
    told = request(traced.port, PATH, traceparent=sent.format(t=trace_id, s=span_id)).json["traceparent"]
    assert (told.split("-")[1] == trace_id) is kept
    assert told.startswith("00-")


def test_errors_and_slow_requests_are_kept_though_nothing_is_sampled(gateways, fastapi, collector) -> None:
    gateway = gateways(
        fastapi.url, OTEL_ENABLED="true", OTEL_ZIPKIN_ENDPOINT=collector.url, OTEL_SAMPLE_RATIO=0, OTEL_SLOW_MS=200
    )
    traceparent = request(gateway.port, PATH).json["traceparent"]
    assert traceparent.endswith("-02"), "not sampled, and the id is random"
    ids = {}
    for path in ("/boom", "/slow"):
        trace_id, span_id, told = context("00")
        request(gateway.port, path, traceparent=told)
        (span,) = collector.of(trace_id, 1)
        ids[path] = span
        assert (span["name"], span["parentId"]) == ("gateway:proxy", span_id)
    assert ids["/boom"]["tags"]["error.type"] == "500"
    assert ids["/slow"]["duration"] > 200_000
    assert not [span for span in collector.spans if span["traceId"] == traceparent.split("-")[1]]


def test_without_tracing_the_context_is_passed_on_as_it_came(gateways, fastapi) -> None:
    gateway = gateways(fastapi.url)
    _, _, traceparent = context()
    seen = request(gateway.port, PATH, traceparent=traceparent, tracestate="a=1").json
    assert seen == {"traceparent": traceparent, "tracestate": "a=1"}
    assert request(gateway.port, PATH).json == {}


@pytest.mark.parametrize("how", ["away", "refuses", "hangs"])
def test_a_collector_that_fails_costs_no_request_and_bounded_memory(valkey, backend, how: str) -> None:
    collector = Collector()
    if how != "away":
        collector.start()
    collector.answer = 500 if how == "refuses" else 202
    collector.hang_s = 30.0 if how == "hangs" else 0.0
    with Gateway(backend.url, REDIS_URL=valkey.url, OTEL_ENABLED="true", OTEL_ZIPKIN_ENDPOINT=collector.url) as gateway:
        assert {answer.status for answer in Load(gateway.port, count=1000).wait()} == {200}
        memory = psutil.Process(gateway.worker().pid).memory_info().rss
        answers = Load(gateway.port, count=8000).wait()
        assert {answer.status for answer in answers} == {200}
        assert psutil.Process(gateway.worker().pid).memory_info().rss - memory < 24e6
        until(lambda: "does not take spans" in gateway.log, 12, "it is told")
        assert gateway.log.count("does not take spans") == 1
        begun = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - begun < 8, "the end does not wait for it"
    collector.stop()


def test_a_collector_that_comes_back_gets_spans_again(backend, valkey) -> None:
    collector = Collector()
    with Gateway(backend.url, REDIS_URL=valkey.url, OTEL_ENABLED="true", OTEL_ZIPKIN_ENDPOINT=collector.url) as gateway:
        request(gateway.port, "/x")
        until(lambda: "does not take spans" in gateway.log, 8, "it is told")
        collector.start()
        trace_id, _, traceparent = context()
        request(gateway.port, "/x", traceparent=traceparent)
        assert collector.of(trace_id, 2)
        until(lambda: "takes spans again" in gateway.log, 5, "it is told")
        text = request(gateway.port, "/gateway/metrics").body.decode()
        assert "gateway_spans_dropped_total" in text
    collector.stop()
    assert not collector.problems
