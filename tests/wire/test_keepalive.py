"""Connections to backends are used again when that is safe, and only then."""

from __future__ import annotations

import time

import pytest

from tests.support.processes import Uvicorn
from tests.support.raw_client import RawClient, request
from tests.support.scripted_backend import OK
from tests.support.wait import until


def keep_answering(response=OK, after=None):
    """Answer every request on a connection; `after` is called after each answer."""

    def handle(connection):
        while connection.head():
            connection.send(response)
            if after is not None:
                after(connection)

    return handle


def test_connections_are_reused(to_scripted, scripted):
    scripted.use(keep_answering())
    for _ in range(5):
        assert request(to_scripted.port, "/x").body == b"ok"
    assert scripted.connections == 1


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["close", "http_1_0", "500", "503"],
)
def test_connections_that_may_be_closed_are_not_reused(to_scripted, scripted, response):
    scripted.use(keep_answering(response))
    for _ in range(3):
        assert request(to_scripted.port, "/x").body == b"ok"
    assert scripted.connections == 3


def test_an_idle_connection_that_the_backend_closes_is_not_handed_out(to_scripted, scripted):
    scripted.use(lambda connection: (connection.head(), connection.send(OK)))  # and closes
    for _ in range(5):
        assert request(to_scripted.port, "/x").status == 200
        time.sleep(0.05)
    assert scripted.connections == 5


def test_unsolicited_bytes_drop_an_idle_connection(to_scripted, scripted):
    def poison(connection):
        time.sleep(0.05)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")

    scripted.use(keep_answering(after=poison))
    for _ in range(3):
        assert request(to_scripted.port, "/x").body == b"ok"
        time.sleep(0.15)
    assert scripted.connections == 3


def test_idle_connections_are_closed_before_the_backend_would(to_scripted, scripted):
    """FASTAPI_KEEPALIVE is 1.5 s here."""
    closed = []

    def handle(connection):
        connection.head()
        connection.send(OK)
        begun = time.monotonic()
        connection.until_closed()
        closed.append(time.monotonic() - begun)

    scripted.use(handle)
    assert request(to_scripted.port, "/x").status == 200
    until(lambda: closed, 4, "the idle connection being closed")
    assert 1.3 < closed[0] < 2.2


def close_on_the_second(connection):
    """Answer the first request of a connection; at the second, read it and close without a byte."""
    if connection.head():
        connection.send(OK)
        connection.head()


def reset_on_the_second(connection):
    """The same, by a reset."""
    close_on_the_second(connection)
    connection.reset()


@pytest.mark.parametrize("ending", [close_on_the_second, reset_on_the_second])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_safe_request_lost_on_a_reused_connection_is_sent_again(to_scripted, scripted, method, ending):
    scripted.use(ending)
    for _ in range(4):
        assert request(to_scripted.port, "/health", method).status == 200


def test_a_safe_request_whose_answer_had_begun_is_not_sent_again(to_scripted, scripted):
    def handle(connection):
        connection.head()
        connection.send(OK)
        if connection.head():
            connection.send(b"HTTP/1.1 20")

    scripted.use(handle)
    assert request(to_scripted.port, "/health").status == 200
    assert request(to_scripted.port, "/health").status == 502
    assert scripted.connections == 1


@pytest.mark.parametrize("ending", [close_on_the_second, reset_on_the_second])
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/api/v1/jobs"),
        ("GET", "/api/v1/workers/w1/next-job"),
        ("GET", "/unknown"),
        ("DELETE", "/api/v1/jobs/1"),
    ],
)
def test_a_request_that_may_have_run_is_never_sent_again(to_scripted, scripted, method, target, ending):
    scripted.use(ending)
    assert request(to_scripted.port, "/health").status == 200
    before = len(scripted.heads)
    response = request(to_scripted.port, target, method, body=b"{}" if method == "POST" else None)
    assert response.status == 502
    assert len(scripted.heads) == before  # no further connection was opened for it


def test_a_safe_request_lost_on_a_fresh_connection_is_not_repeated_for_ever(to_scripted, scripted):
    scripted.use(lambda connection: connection.head())
    assert request(to_scripted.port, "/health").status == 502
    assert scripted.connections == 1


def test_a_posts_reset_on_a_fresh_connection_is_502_once(to_scripted, scripted):
    scripted.use(lambda connection: (connection.head(), connection.reset()))
    assert request(to_scripted.port, "/api/v1/jobs", "POST", body=b"{}").status == 502
    assert scripted.connections == 1


def test_client_connections_are_kept_alive(gateway):
    with RawClient(gateway.port) as client:
        for number in range(3):
            client.send(b"GET /n%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            assert client.response().json["raw_path"] == f"/n{number}"


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("GET", b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        ("POST", OK),
    ],
    ids=["404", "chunked", "204", "large", "head", "post"],
)
def test_every_whole_response_leaves_a_connection_for_the_next(to_scripted, scripted, method, response):
    def handle(connection):
        while connection.head():
            connection.send(response)

    scripted.use(handle)
    for _ in range(3):
        assert request(to_scripted.port, "/x", method).is_complete
    assert scripted.connections == 1


def test_a_keepalive_below_uvicorns_costs_no_post(gateways):
    """uvicorn closes idle connections after a second here, the gateway after 0.7, whatever the pauses."""
    with Uvicorn("tests.support.app:app", "--timeout-keep-alive", "1") as server:
        gateway = gateways(server.url, FASTAPI_KEEPALIVE=700)
        for pause_s in (0.68, 0.72, 0.98, 1.02):
            assert request(gateway.port, "/x", "POST", body=b"x").status == 200
            time.sleep(pause_s)


@pytest.mark.parametrize(("method", "connections"), [("GET", 1), ("POST", 2)])
def test_what_can_not_be_sent_twice_gets_no_connection_that_may_be_closing(to_scripted, scripted, method, connections):
    """One that was idle for over a second may be near the end of the backend's keep-alive: a safe request risks it."""
    scripted.use(keep_answering())
    for _ in range(2):
        assert request(to_scripted.port, "/health", method, body=b"{}" if method == "POST" else None).status == 200
        time.sleep(1.1)
    assert scripted.connections == connections
