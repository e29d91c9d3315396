"""Failures before the answer: the right status, code and shape, within the time allowed."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from tests.support.ports import DeafPort, RefusingPort
from tests.support.raw_client import RawClient, request

MIB = 1024 * 1024


def check_shape(response, status, code):
    assert (response.status, response.error) == (status, code)
    assert response.header("content-type") == "application/json"
    assert response.json["error"]["requestId"] == response.header("x-request-id")
    assert response.json["error"]["message"]


def test_a_refused_connection_is_502(gateways):
    port = RefusingPort()
    gateway = gateways(f"http://127.0.0.1:{port.port}")
    for method in ("GET", "POST"):
        check_shape(request(gateway.port, "/x", method, body=b"x" if method == "POST" else None), 502, "BAD_GATEWAY")
    port.close()


def test_a_full_pool_is_503_with_retry_after(gateways, backend):
    gateway = gateways(backend.url, FASTAPI_POOL_SIZE=1, FASTAPI_POOL_TIMEOUT=200)
    slow = threading.Thread(target=lambda: request(gateway.port, "/slow?s=1.5"))
    slow.start()
    time.sleep(0.3)
    begun = time.monotonic()
    response = request(gateway.port, "/x")
    check_shape(response, 503, "SERVICE_UNAVAILABLE")
    assert 0.1 < time.monotonic() - begun < 1.0
    assert response.header("retry-after") == "1"
    assert response.json["error"]["retryAfter"] == 1
    slow.join()
    assert request(gateway.port, "/x").status == 200


def test_who_waits_for_a_connection_gets_the_one_that_comes_free(gateways, backend):
    gateway = gateways(backend.url, FASTAPI_POOL_SIZE=1, FASTAPI_POOL_TIMEOUT=5000)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(request(gateway.port, "/slow?s=0.2").status)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 4


@pytest.mark.parametrize("script", ["silent", "interim_only", "slow_head"])
def test_a_backend_that_is_silent_is_504(to_scripted, scripted, script):
    def handle(connection):
        connection.head()
        if script == "interim_only":
            connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        if script == "slow_head":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"x" * 100:
                connection.send(bytes([byte]))
                time.sleep(0.02)
        connection.until_closed()

    scripted.use(handle)
    begun = time.monotonic()
    check_shape(request(to_scripted.port, "/x"), 504, "GATEWAY_TIMEOUT")
    assert 0.4 < time.monotonic() - begun < 1.5


def test_silence_in_a_body_breaks_the_response_off(to_scripted, scripted):
    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        connection.until_closed()

    scripted.use(handle)
    begun = time.monotonic()
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"0\r\n\r\n" not in client.rest()
    assert 0.4 < time.monotonic() - begun < 1.5


def test_an_event_stream_may_be_silent_for_longer(to_scripted, scripted):
    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n")
        time.sleep(1.2)
        connection.send(b"data: 2\n\n")

    scripted.use(handle)
    response = request(to_scripted.port, "/x")
    assert (response.body, response.is_complete) == (b"data: 1\n\ndata: 2\n\n", True)


@pytest.mark.parametrize(
    ("query", "status"),
    [("?timeout=5", 200), ("", 200), ("?timeout=abc", 200), ("?timeout=-1", 200), ("?timeout=inf", 200)],
)
def test_jobs_sync_may_take_its_own_time(to_scripted, scripted, query, status):
    """FASTAPI_TIMEOUT is half a second here; the sync call answers after one."""

    def handle(connection):
        connection.head()
        time.sleep(1)
        # it says that it closes: the POST that follows must not meet a connection that is just ending
        connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")

    scripted.use(handle)
    assert request(to_scripted.port, f"/api/v1/jobs/sync{query}", "POST", body=b"{}").status == status
    assert request(to_scripted.port, f"/api/v1/jobs{query}", "POST", body=b"{}").status == 504


@pytest.fixture
def small(gateways, scripted):
    """A gateway that takes bodies of 1 MiB at most."""
    return gateways(scripted.url, MAX_BODY_BYTES=MIB, FASTAPI_TIMEOUT=3000, ROUTER_HEALTH_PATH="/_health")


def test_a_body_that_announces_too_much_never_reaches_a_backend(small, scripted):
    scripted.use(lambda connection: None)
    with RawClient(small.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MIB + 1))
        check_shape(client.response("POST"), 413, "PAYLOAD_TOO_LARGE")
    assert scripted.connections == 0


def test_a_chunked_body_that_grows_too_large_is_cut_off(small, scripted):
    received = []
    scripted.use(lambda connection: received.append(connection.all()))
    with RawClient(small.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(20):
                client.send(piece)
        except OSError:
            pass  # the gateway has closed already
        check_shape(client.response("POST"), 413, "PAYLOAD_TOO_LARGE")
    time.sleep(0.2)
    assert not any(data.endswith(b"0\r\n\r\n") for data in received)


def test_a_body_of_the_largest_size_is_let_in(gateways, backend):
    gateway = gateways(backend.url, MAX_BODY_BYTES=MIB)
    assert request(gateway.port, "/up", "POST", body=b"x" * MIB).json["size"] == MIB


@pytest.mark.parametrize("fields", [101, 60], ids=["many", "large"])
def test_too_many_or_too_large_fields_are_refused(gateway, seen, fields):
    value = b"x" * (10 if fields > 100 else 1000)
    with RawClient(gateway.port) as client:
        client.send(
            b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %b\r\n" % (n, value) for n in range(fields)) + b"\r\n"
        )
        answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 431")
    assert seen()["seen"] == []


@pytest.mark.parametrize("path", ["/gateway", "/gateway/", "/gateway/nope", "/gateway/health/x", "/%67ateway/nope"])
def test_unknown_pages_of_the_gateway_are_404_and_never_forwarded(gateway, seen, path):
    check_shape(request(gateway.port, path), 404, "NOT_FOUND")
    assert seen()["seen"] == []


def test_pages_answer_get_and_head_only(gateway):
    response = request(gateway.port, "/gateway/health", "POST", body=b"")
    check_shape(response, 405, "METHOD_NOT_ALLOWED")
    assert response.header("allow") == "GET, HEAD"
    assert request(gateway.port, "/gateway/health", "HEAD").body == b""


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_backend_that_does_not_accept_is_504(gateways, method):
    port = DeafPort()
    gateway = gateways(f"http://127.0.0.1:{port.port}", FASTAPI_CONNECT_TIMEOUT=300)
    begun = time.monotonic()
    check_shape(request(gateway.port, "/x", method, body=b"x" if method == "POST" else None), 504, "GATEWAY_TIMEOUT")
    assert 0.25 < time.monotonic() - begun < 1.5
    port.close()


def test_a_body_that_announces_too_much_is_refused_before_it_is_asked_for(small, scripted):
    scripted.use(lambda connection: None)
    with RawClient(small.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (MIB + 1))
        assert client.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 413"
        check_shape(client.response("POST"), 413, "PAYLOAD_TOO_LARGE")
    assert scripted.connections == 0


@pytest.mark.parametrize(
    "lines", [b"Host: x\r\nHost: y", b"Host: x\r\nContent-Length: +3", b"X: no-host"], ids=["hosts", "length", "none"]
)
def test_a_refusal_of_the_gateways_own_has_the_shape(gateway, seen, lines):
    with RawClient(gateway.port) as client:
        client.send(b"POST /x HTTP/1.1\r\n%b\r\n\r\n" % lines)
        response = client.response("POST")
    assert response.status == 400
    if response.body:  # what the server's parser refuses never reaches the gateway, and has no body
        check_shape(response, 400, "BAD_REQUEST")
    assert seen()["seen"] == []


def test_the_clients_request_id_is_in_its_error(gateway):
    response = request(gateway.port, "/gateway/none", X_Request_ID="mine-1")
    assert response.json["error"]["requestId"] == response.header("x-request-id") == "mine-1"


def test_an_error_names_no_address_of_a_backend(gateways):
    port = RefusingPort()
    gateway = gateways(f"http://127.0.0.1:{port.port}")
    assert str(port.port) not in request(gateway.port, "/x").body.decode()
    port.close()


def test_a_backends_failure_leaves_the_clients_connection_in_step(to_scripted, scripted):
    scripted.use(lambda connection: connection.head())
    with RawClient(to_scripted.port) as client:
        for _ in range(3):
            client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            check_shape(client.response(), 502, "BAD_GATEWAY")


def test_a_name_that_does_not_resolve_is_502(gateways):
    gateway = gateways("http://no-such-host.invalid:8000")
    check_shape(request(gateway.port, "/x"), 502, "BAD_GATEWAY")
