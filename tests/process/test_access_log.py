"""What `fastgw serve` writes to stdout, and what a stdout that nobody reads costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from tests.support.load import Load
from tests.support.ports import free_port
from tests.support.processes import ROOT, SETTINGS, Gateway
from tests.support.raw_client import RawClient, request
from tests.support.wait import until


def lines(gateway: Gateway) -> list[dict[str, object]]:
    return [json.loads(line) for line in gateway.log.splitlines()]


def accesses(gateway: Gateway) -> list[dict[str, object]]:
    return [line for line in lines(gateway) if str(line["message"]).startswith("proxy ")]


@pytest.fixture
def chatty(gateways, backend):
    return gateways(backend.url, LOG_FORMAT="json", ACCESS_LOG="true", GATEWAY_WORKERS=2)


def test_every_line_is_json_and_each_request_has_one(chatty) -> None:
    before = len(accesses(chatty))
    ids = {request(chatty.port, f"/x/{number}?api_key=hush").header("x-request-id") for number in range(200)}
    found = until(lambda: len(a := accesses(chatty)) >= before + 200 and a[before:], 5, "the lines")
    assert {line["requestId"] for line in found} == ids
    one = found[0]
    assert one["message"].startswith("proxy GET /x/")
    assert one["path"].endswith("?api_key=***")
    assert (one["statusCode"], one["method"], one["client"], one["route"]) == (200, "GET", "127.0.0.1", "other")
    assert 0 < one["upstream"] <= one["duration"]
    assert "hush" not in chatty.log
    assert [line for line in lines(chatty) if str(line["message"]).endswith(" serves")]


def test_however_a_request_ends_it_has_a_line(gateways, scripted) -> None:
    gateway = gateways(
        scripted.url, LOG_FORMAT="json", ACCESS_LOG="true", FASTAPI_TIMEOUT=500, ROUTER_HEALTH_PATH="/_health"
    )

    def breaks_in_body(connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    def never(connection) -> None:
        connection.head()
        connection.until_closed()

    scripted.use(breaks_in_body)
    with RawClient(gateway.port) as client:
        client.send(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        client.rest()
    scripted.use(never)
    assert request(gateway.port, "/silent").status == 504
    with RawClient(gateway.port) as client:
        client.send(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
    with RawClient(gateway.port) as client:
        client.send(b"GET /no-host HTTP/1.1\r\n\r\n")
        client.rest()
    until(lambda: len(accesses(gateway)) >= 4, 5, "four lines")
    ends = {line["path"]: (line["statusCode"], line["end"]) for line in accesses(gateway)}
    assert ends["/broken"] == (200, "backend broke in body")
    assert ends["/silent"][0] == 504
    assert ends["/left"] == (499, "client gone")
    assert ends["/no-host"][0] == 400


def test_the_last_requests_before_the_end_have_their_lines(backend) -> None:
    with Gateway(backend.url, LOG_FORMAT="json", ACCESS_LOG="true", SHUTDOWN_GRACE_SECONDS=1) as gateway:
        path = gateway.log_path
        copy = path.with_suffix(".copy")
        os.link(path, copy)  # stop() removes the other
        try:
            with RawClient(gateway.port) as client:
                for number in range(300):
                    client.send(f"GET /last/{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    client.response()
                gateway.process.terminate()
                while gateway.process.poll() is None:  # on through the notice, in which it still answers
                    try:
                        client.send(b"GET /last/of-all HTTP/1.1\r\nHost: x\r\n\r\n")
                        answered = client.response().header("connection") == "close"
                    except OSError:
                        break
                    if answered:
                        break
            gateway.stop()
            logged = copy.read_text()
        finally:
            copy.unlink()
    assert all(f'"path":"/last/{number}"' in logged for number in range(300))
    assert '"path":"/last/of-all"' in logged


def test_text(gateways, backend) -> None:
    gateway = gateways(backend.url, ACCESS_LOG="true")
    request(gateway.port, "/x?token=hush")
    until(lambda: " proxy GET /x?token=*** 200 " in gateway.log, 5, "the line")


def serve(backend_url: str, stdout: int) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    env |= {
        "PYTHONPATH": str(ROOT), "GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "GATEWAY_WORKERS": "1",
        "FASTAPI_URL": backend_url, "RATE_LIMIT_ENABLED": "false", "AUTH_ENABLED": "false",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "fastgw", "serve"], env=env, stdout=stdout, stderr=subprocess.DEVNULL, cwd="/tmp"
    )
    until(lambda: up(port), 20, "the start")
    return process, port


def up(port: int) -> bool:
    try:
        return request(port, "/gateway/health/live").status == 200
    except OSError:
        return False


def test_a_stdout_that_nobody_reads_holds_nobody_up(backend) -> None:
    """A pipe takes 64 KiB, then writers wait; 20,000 lines are 6 MB."""
    out, into = os.pipe()
    process, port = serve(backend.url, into)
    try:
        answers = Load(port, count=20_000).wait()
        assert {answer.status for answer in answers} == {200}
        assert max(answer.seconds for answer in answers) < 2
        text = request(port, "/gateway/metrics").body.decode()
        dropped = until(
            lambda: next(
                (
                    float(line.split()[1])
                    for line in request(port, "/gateway/metrics").body.decode().splitlines()
                    if line.startswith("gateway_log_lines_dropped_total")
                ),
                0.0,
            ),
            5,
            "lines are dropped, and counted",
        )
        assert dropped > 100, text
    finally:
        process.terminate()
        assert process.wait(15) == 0, "the end does not wait for stdout either"
        os.close(out)
        os.close(into)


def test_a_closed_stdout_holds_nobody_up(backend) -> None:
    out, into = os.pipe()
    process, port = serve(backend.url, into)
    os.close(into)
    os.close(out)
    try:
        assert {answer.status for answer in Load(port, count=2000).wait()} == {200}
    finally:
        process.terminate()
        assert process.wait(15) == 0
