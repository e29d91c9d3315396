"""/gateway/metrics: figures equal a client's own count, over processes and their deaths."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.families import exported, scraped
from tests.support.processes import Gateway, Uvicorn
from tests.support.quiet_app import BODY
from tests.support.raw_client import request
from tests.support.wait import until

REQUESTS = 100_000
BATCH = 50
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def tiny():
    with Uvicorn("tests.support.quiet_app:app") as server:
        yield server


def scrape(gateway, **fields: str) -> str:
    response = request(gateway.port, "/gateway/metrics", **fields)
    assert response.status == 200
    return response.body.decode()


def series(text: str, name: str) -> dict[str, float]:
    """Labels as they are written -> figure."""
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)", text, re.MULTILINE)
    return {labels: float(figure) for labels, figure in found}


def total(gateway, name: str = "gateway_requests_total", part: str = "") -> float:
    return sum(figure for labels, figure in series(scrape(gateway), name).items() if part in labels)


def pipelined(port: int, batches: int) -> Counter[bytes]:
    """Statuses of BATCH requests at a time on one connection."""
    statuses: Counter[bytes] = Counter()
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        for _ in range(batches):
            sock.sendall(b"GET /api/v1/queue/stats HTTP/1.1\r\nHost: x\r\n\r\n" * BATCH)
            data = b""
            while data.count(b"HTTP/1.1 ") < BATCH or not data.endswith(BODY):
                piece = sock.recv(1 << 20)
                assert piece, data[-300:]
                data += piece
            statuses.update(re.findall(rb"HTTP/1\.1 (\d+)", data))
    return statuses


def test_figures_equal_the_clients_own_count_though_a_worker_is_killed(tiny) -> None:
    with Gateway(tiny.url, GATEWAY_WORKERS=2) as gateway, ThreadPoolExecutor(8) as pool:
        each = REQUESTS // 2 // 8 // BATCH
        half = each * 8 * BATCH

        def ask() -> Counter[bytes]:
            return sum(pool.map(lambda _: pipelined(gateway.port, each), range(8)), Counter())

        def has(count: int) -> bool:
            """Whether so many are counted, and timed: that is settled a moment later."""
            text = scrape(gateway)
            names = [f"gateway_{name}_seconds_count" for name in ("request_duration", "overhead", "upstream_duration")]
            return {sum(series(text, name).values()) for name in ("gateway_requests_total", *names)} == {count}

        assert ask() == {b"200": half}
        until(lambda: has(half), 10, "all are counted and timed")
        gateway.workers()[0].send_signal(signal.SIGKILL)
        until(lambda: gateway.log.count(" serves\n") == 3, 20, "another in its place")
        assert has(half), "what it counted is kept"
        assert ask() == {b"200": half}
        until(lambda: has(2 * half), 10, "all are counted and timed")
        assert series(scrape(gateway), "gateway_requests_total") == {
            'method="GET",route="/api/v1/queue/stats",status="200"': 2.0 * half
        }
        until(lambda: series(scrape(gateway), "gateway_processes") == {"": 2.0}, 5, "the dead one's gauges are gone")
        assert gateway.stop() == 0  # here, as its log rightly tells of the kill


def test_what_is_exported_is_what_is_promised(gateways, backend) -> None:
    """Every family that the code, the rules and the dashboard know has the labels there that it has here."""
    gateway = gateways(backend.url, AUTH_ENABLED="true", AUTH_API_KEYS="k3y", CACHE_ENABLED="true")
    request(gateway.port, "/x", **{"X-API-Key": "k3y", "X-Request-Start": "t=1"})
    request(gateway.port, "/x")
    until(lambda: "gateway_backend_up{" in scrape(gateway), 5, "the first gauges")
    promised = exported()
    for name, labels in scraped(scrape(gateway)).items():
        assert labels == promised[name], name
    assert series(scrape(gateway), "gateway_auth_failures_total") == {'reason="missing"': 1.0}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt install prometheus")
def test_promtool_has_nothing_to_say(gateways, backend) -> None:
    gateway = gateways(backend.url, CACHE_ENABLED="true")
    request(gateway.port, "/x")
    until(lambda: "gateway_backend_up{" in scrape(gateway), 5, "the first gauges")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(gateway), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_whatever_clients_send_the_number_of_series_stays(gateways, backend) -> None:
    gateway = gateways(backend.url)

    def send(kind: str, count: int) -> None:
        def one(number: int) -> None:
            method = ("GET", "POST", "BREW", f"M{number}")[number % 4]
            request(gateway.port, f"/{kind}/{number}/{number * 7}", method=method)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(count)))

    send("warm", 40)
    until(lambda: "gateway_backend_up{" in scrape(gateway), 5, "the first gauges")
    before = len(scrape(gateway).splitlines())
    send("then", 2000)
    assert len(scrape(gateway).splitlines()) == before
    assert "then" not in scrape(gateway)


def test_openmetrics_has_exemplars_with_the_trace(gateways, backend) -> None:
    gateway = gateways(backend.url, OTEL_ENABLED="true", OTEL_ZIPKIN_ENDPOINT="http://127.0.0.1:9/api/v2/spans")
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    request(gateway.port, "/x", traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    until(lambda: f'trace_id="{trace_id}"' in scrape(gateway, Accept=OPENMETRICS), 5, "the exemplar")
    assert scrape(gateway, Accept=OPENMETRICS).endswith("# EOF\n")
    assert "trace_id" not in scrape(gateway)


def test_the_page_is_for_operators_and_may_be_off_or_elsewhere(gateways, backend) -> None:
    gateway = gateways(backend.url, METRICS_PATH="/metrics", ADMIN_TOKEN="s3cret", ADMIN_ALLOW="192.0.2.1")
    assert request(gateway.port, "/metrics").status == 403
    assert request(gateway.port, "/metrics", Authorization="Bearer s3cret").status == 200
    assert request(gateway.port, "/gateway/metrics", Authorization="Bearer s3cret").status == 404
    off = gateways(backend.url, METRICS_ENABLED="false")
    assert request(off.port, "/gateway/metrics").status == 404


def test_the_data_of_the_status_page(gateways, backend) -> None:
    gateway = gateways(backend.url, GATEWAY_WORKERS=2)
    for _ in range(20):
        request(gateway.port, "/regions")

    def shown():
        return request(gateway.port, "/gateway/ui/data").json

    data = until(lambda: sum((d := shown())["latency"]["total"]) >= 20 and d["processes"] == 2 and d, 5, "figures")
    assert data["counters"]["statuses"]["200"] >= 20
    assert {"route": "/regions", "requests": 20} in data["routes"]
    assert [len(counts) for counts in (data["latency"]["total"], data["latency"]["overhead"])] == [
        len(data["latency"]["bounds_s"]) + 1
    ] * 2
    assert sum(data["latency"]["total"]) == data["counters"]["requests"]
    (one,) = data["backends"]
    assert (one["url"], one["state"]) == (backend.url, "serving")
    assert data["redis"]["status"] == "connected"


def test_hits_misses_and_lines_say_what_the_header_says(gateways, backend, valkey) -> None:
    gateway = gateways(
        backend.url, REDIS_URL=valkey.url, CACHE_ENABLED="true", CACHE_ROUTES="/regions=60", ACCESS_LOG="true"
    )
    until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    before = {name: total(gateway, f"gateway_cache_{name}_total") for name in ("hits", "misses")}
    said = Counter(request(gateway.port, "/regions").header("x-gateway-cache") for _ in range(20))
    assert said["HIT"] >= 18
    until(lambda: total(gateway, "gateway_cache_hits_total") - before["hits"] == said["HIT"], 5, "each hit is counted")
    assert total(gateway, "gateway_cache_misses_total") - before["misses"] == said["MISS"]
    until(lambda: gateway.log.count("cache=HIT") == said["HIT"], 5, "and has its line")
