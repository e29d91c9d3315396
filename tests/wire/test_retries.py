"""A backend fails at some stage of a request, beside one that is well: what is safe is answered, nothing runs twice."""

from __future__ import annotations

import socket
import time

import pytest

from tests.support.processes import Gateway
from tests.support.raw_client import RawClient, request
from tests.support.scripted_backend import ScriptedBackend

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
SAFE, JOBS, NEXT = "/api/v1/queue/stats", "/api/v1/jobs", "/api/v1/workers/w1/next-job"
TIMEOUT_S = 1.0
SETTINGS = {
    "FASTAPI_TIMEOUT": int(TIMEOUT_S * 1e3),
    "ROUTER_HEALTH_PATH": "/_health",
    "ROUTER_HEALTH_CHECK_INTERVAL": 60_000,  # here only requests show what a backend is worth
}


def answers(connection):
    while head := connection.head():
        connection.send(GOOD.removesuffix(b"good") if head.startswith(b"HEAD") else GOOD)


def closes_unread(connection):
    pass


def closes(connection):
    connection.head()


def resets(connection):
    connection.head()
    connection.reset()


def talks_another_protocol(connection):
    connection.head()
    connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")


def sends_noise(connection):
    connection.head()
    connection.send(bytes(range(256)) * 8)


def breaks_off_in_the_status_line(connection):
    connection.head()
    connection.send(b"HTTP/1.1 20")


def breaks_off_in_the_head(connection):
    connection.head()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Len")


def frames_it_twice(connection):
    connection.head()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def breaks_off_before_the_body(connection):
    connection.head()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")


def is_silent(connection):
    connection.until_closed()


def is_silent_in_the_head(connection):
    connection.head()
    connection.send(b"HTTP/1.1 200 OK\r\n")
    connection.until_closed()


def then(trouble):
    """The first request on a connection is answered, the second meets the trouble."""

    def handle(connection):
        if connection.head():
            connection.send(GOOD)
            trouble(connection)

    handle.__name__ = f"then_{trouble.__name__}"
    return handle


AT_ONCE = [
    closes_unread,
    closes,
    resets,
    talks_another_protocol,
    sends_noise,
    breaks_off_in_the_status_line,
    breaks_off_in_the_head,
    frames_it_twice,
    breaks_off_before_the_body,  # the last, see below
]
SILENT = [is_silent, is_silent_in_the_head]
KEPT_ALIVE = [then(closes), then(resets), then(sends_noise)]
UNSAFE = [("POST", JOBS), ("GET", NEXT), ("GET", "/unknown"), ("DELETE", "/api/v1/jobs/1")]


@pytest.fixture(scope="module")
def pair():
    """A gateway before two scripted backends."""
    one, other = ScriptedBackend(), ScriptedBackend()
    one.use(answers)
    other.use(answers)
    with Gateway(f"{one.url},{other.url}", **SETTINGS) as gateway:
        yield gateway, one, other
    one.close()
    other.close()


@pytest.fixture
def two(pair):
    """The same, both well, with no failure in a row and no connection."""
    gateway, *backends = pair
    for backend in backends:
        backend.use(answers)
    for _ in range(4):
        assert request(gateway.port, SAFE).body == b"good"
    for backend in backends:
        backend.use(answers)
    return gateway, *backends


def ask(gateway, method, target, times=2):
    return [request(gateway.port, target, method, body=b"{}" if method == "POST" else None) for _ in range(times)]


@pytest.mark.parametrize(
    ("method", "trouble"),
    # the answer to HEAD is whole without a body
    [("GET", one) for one in [*AT_ONCE, *SILENT]] + [("HEAD", one) for one in [*AT_ONCE[:-1], *SILENT]],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_safe_request_is_answered_by_the_other(two, trouble, method):
    gateway, bad, good = two
    bad.use(trouble)
    begun = time.monotonic()
    responses = ask(gateway, method, SAFE)
    assert [response.status for response in responses] == [200, 200]
    assert sorted(response.header("x-gateway-attempts") for response in responses) == ["1", "2"]
    assert (len(bad.heads), len(good.heads)) == (1, 1)  # the good one's connection was kept alive
    assert time.monotonic() - begun < TIMEOUT_S


@pytest.mark.parametrize("trouble", [*AT_ONCE, *SILENT], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("method", "target"), UNSAFE[:2])
def test_what_may_have_run_is_sent_once(two, trouble, method, target):
    gateway, bad, good = two
    bad.use(trouble)
    responses = ask(gateway, method, target)
    if trouble is breaks_off_before_the_body:  # the head may be passed on before it breaks
        assert len([one for one in responses if one.status == 200 and one.is_complete]) == 1
    else:
        failure = 504 if trouble in SILENT else 502
        assert sorted(response.status for response in responses) == [200, failure]
    assert (len(bad.heads), len(good.heads)) == (1, 1)


@pytest.mark.parametrize("trouble", KEPT_ALIVE, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("method", "target"), [("GET", SAFE), *UNSAFE])
def test_a_connection_that_fails_on_its_second_request(two, trouble, method, target):
    gateway, bad, good = two
    bad.use(trouble)
    assert [response.status for response in ask(gateway, "GET", SAFE)] == [200, 200]  # one connection to each
    statuses = sorted(response.status for response in ask(gateway, method, target))
    assert statuses == ([200, 200] if target == SAFE else [200, 502])
    assert (bad.connections, good.connections) == (1, 1)


@pytest.mark.parametrize(("method", "target"), [("GET", SAFE), ("POST", JOBS), ("GET", NEXT)])
def test_who_is_down_is_passed_over_by_any_request(method, target):
    down, good = ScriptedBackend(), ScriptedBackend()
    good.use(answers)
    with Gateway(f"{down.url},{good.url}", **SETTINGS) as gateway:
        down._listener.shutdown(socket.SHUT_RDWR)  # which wakes its accept, so that the port refuses from now on
        down.close()
        responses = ask(gateway, method, target, 8)
    assert {response.status for response in responses} == {200}
    attempts = [response.header("x-gateway-attempts") for response in responses]
    assert attempts.count("2") == 2  # then it is known
    assert set(attempts) == {"1", "2"}
    good.close()


def test_the_deadline_is_kept_when_all_are_silent(two):
    gateway, *backends = two
    for backend in backends:
        backend.use(is_silent)
    begun = time.monotonic()
    response = request(gateway.port, SAFE)
    assert response.status == 504
    assert TIMEOUT_S - 0.1 < time.monotonic() - begun < TIMEOUT_S + 0.3
    assert [len(backend.heads) for backend in backends] == [1, 1]


def test_a_response_that_breaks_in_its_body_is_not_asked_for_again(two):
    def breaks_off(connection):
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ngood")
        time.sleep(0.1)

    gateway, bad, good = two
    bad.use(breaks_off)
    responses = ask(gateway, "GET", SAFE)
    assert sorted(response.is_complete for response in responses) == [False, True]
    assert (len(bad.heads), len(good.heads)) == (1, 1)


def test_a_server_error_is_an_answer(two):
    def fails(connection):
        connection.head()
        connection.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nX-Gateway-Attempts: 7\r\n\r\noops")

    gateway, bad, _ = two
    bad.use(fails)
    responses = ask(gateway, "GET", SAFE)
    assert sorted(response.status for response in responses) == [200, 500]
    assert [response.all("x-gateway-attempts") for response in responses] == [["1"], ["1"]]


def test_a_streamed_upload_whose_backend_fails_is_not_sent_again(two):
    gateway, bad, good = two

    def takes_some(connection):
        connection.head()
        connection.sock.recv(65536)

    def takes_all(connection):
        connection.head()
        missing = 300_000 - len(connection.data)
        while missing > 0 and (piece := connection.sock.recv(65536)):
            missing -= len(piece)
        connection.send(GOOD)  # only now: a request that is answered before its end is broken off
        connection.until_closed()

    bad.use(takes_some)
    good.use(takes_all)
    statuses = []
    for _ in range(2):
        with RawClient(gateway.port) as client:
            client.send(b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + bytes(100_000))
            time.sleep(0.1)
            try:
                client.send(bytes(200_000))
                statuses.append(client.response().status)
            except OSError:
                statuses.append(502)  # answered and closed while it was still sending
    assert sorted(statuses) == [200, 502]
    assert (len(bad.heads), len(good.heads)) == (1, 1)


def test_errors_tell_how_often_it_was_tried(two):
    gateway, *backends = two
    for backend in backends:
        backend.use(closes)
    response = request(gateway.port, SAFE)
    assert (response.status, response.header("x-gateway-attempts")) == (502, "2")
