"""A client that leaves costs the backend nothing more."""

from __future__ import annotations

import time

import pytest

from tests.support.raw_client import RawClient, request
from tests.support.wait import until

LIMIT_S = 0.1
SLACK_S = 0.25
"""The promise is 100 ms; a shared machine may add to what is measured here."""


def closes_within(times, left):
    until(lambda: times, 5, "the backend's connection being closed")
    return times[0] - left


@pytest.mark.parametrize("way", ["awaiting the head", "in a body", "in an event stream"])
def test_the_backends_connection_is_closed_when_the_client_leaves(to_scripted, scripted, way, record_property):
    times = []

    def handle(connection):
        connection.head()
        if way == "in a body":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        elif way == "in an event stream":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        connection.until_closed()
        times.append(time.time())

    scripted.use(handle)
    client = RawClient(to_scripted.port)
    client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    client.close()
    took = closes_within(times, time.time())
    record_property("took_ms", round(took * 1e3, 1))
    assert took < LIMIT_S + SLACK_S


def test_a_client_that_leaves_at_once_is_noticed_too(to_scripted, scripted):
    times = []

    def handle(connection):
        connection.head()
        connection.until_closed()
        times.append(time.time())

    scripted.use(handle)
    client = RawClient(to_scripted.port)
    client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: scripted.connections, 2)
    client.close()
    assert closes_within(times, time.time()) < LIMIT_S + SLACK_S


def test_a_posts_client_that_leaves_is_noticed(to_scripted, scripted):
    """Its body was read to the end, so it is no upload any more."""
    times = []

    def handle(connection):
        connection.head()
        connection.until_closed()
        times.append(time.time())

    scripted.use(handle)
    client = RawClient(to_scripted.port)
    client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    time.sleep(0.2)
    client.close()
    assert closes_within(times, time.time()) < LIMIT_S + SLACK_S


@pytest.mark.parametrize("framing", ["Content-Length: 1000000", "Transfer-Encoding: chunked"])
def test_a_client_that_leaves_in_its_upload_leaves_no_complete_request(to_scripted, scripted, framing):
    received = []
    scripted.use(lambda connection: received.append(connection.all()))
    client = RawClient(to_scripted.port)
    client.send(f"POST /x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
    client.send(b"5\r\nhello\r\n" if "chunked" in framing else b"hello")
    time.sleep(0.2)
    client.close()
    until(lambda: received, 2, "the backend's connection being closed")
    assert not received[0].endswith(b"0\r\n\r\n")
    assert len(received[0]) < 1000


def test_a_real_server_sees_the_disconnect(gateway, seen):
    client = RawClient(gateway.port)
    client.send(b"GET /slow?s=5 HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    left = time.time()
    client.close()
    event = until(lambda: [e for e in seen()["events"] if e["what"] == "left"], 3, "the server's noticing")[0]
    assert event["at"] - left < LIMIT_S + SLACK_S


def test_connections_of_the_departed_are_not_reused(gateway):
    for _ in range(5):
        client = RawClient(gateway.port)
        client.send(b"GET /slow?s=5 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.06)
        client.close()
    for _ in range(5):
        assert request(gateway.port, "/after").json["raw_path"] == "/after"
