"""WebSockets pass through: messages, subprotocols, close codes, refusals."""

from __future__ import annotations

import json
import socket

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.processes import Uvicorn
from tests.support.raw_client import request
from tests.support.wait import until


@pytest.fixture
def url(gateway):
    return f"ws://127.0.0.1:{gateway.port}/ws"


def close_of(websocket):
    """The close code and reason that the client sees."""
    try:
        while True:
            websocket.recv(5)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else None


@pytest.mark.parametrize(
    "message",
    ["hello", "", "caf\xe9 \u4e2d\u6587", b"\0\1\2", b"", "x" * 1_000_000, b"y" * 1_000_000],
    ids=["text", "empty", "unicode", "binary", "empty_binary", "large_text", "large_binary"],
)
def test_messages_come_back_as_they_went(url, message):
    with connect(url) as websocket:
        websocket.send(message)
        assert websocket.recv(10) == message


def test_fragmented_messages_arrive_whole(url):
    with connect(url) as websocket:
        websocket.send(iter(["one ", "two ", "three"]))
        assert websocket.recv(5) == "one two three"


def test_many_messages_keep_their_order(url):
    with connect(url) as websocket:
        for number in range(500):
            websocket.send(str(number))
        assert [websocket.recv(5) for _ in range(500)] == [str(number) for number in range(500)]


def test_pings_are_answered(url):
    with connect(url) as websocket:
        assert websocket.ping(b"are you there").wait(2)


def test_the_backend_chooses_the_subprotocol(url):
    with connect(url, subprotocols=["a", "b"]) as websocket:
        assert websocket.subprotocol == "b"
    with connect(url) as websocket:
        assert websocket.subprotocol is None


def test_the_handshakes_query_and_fields_reach_the_backend(url):
    with connect(f"{url}/about?a=%20b&c", additional_headers={"Authorization": "Bearer t", "X-Own": "1"}) as websocket:
        about = json.loads(websocket.recv(5))
    assert (about["path"], about["query"]) == ("/ws/about", "a=%20b&c")
    headers = about["headers"]
    assert (headers["authorization"], headers["x-own"], headers["via"]) == ("Bearer t", "1", "1.1 fastgw")
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert len(headers["x-request-id"]) == 36


@pytest.mark.parametrize("code", [1000, 1001, 4001])
def test_the_backends_close_code_and_reason_reach_the_client(url, code):
    with connect(url) as websocket:
        websocket.send(f"close {code}")
        assert close_of(websocket) == (code, "as asked")


@pytest.mark.parametrize("code", [1000, 4002])
def test_the_clients_close_code_reaches_the_backend(url, seen, code):
    with connect(url) as websocket:
        websocket.send("x")
        websocket.recv(5)
        websocket.close(code, "done")
    event = until(lambda: [e for e in seen()["events"] if e["what"] == "websocket left"], 3)[0]
    assert event["code"] == code


def test_a_client_that_vanishes_ends_the_backends_side(url, seen):
    with connect(url) as websocket:
        websocket.send("x")
        websocket.recv(5)
        websocket.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: [e for e in seen()["events"] if e["what"] == "websocket left"], 3)


def test_a_refused_handshake_is_passed_on(gateway, url):
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{url}/denied")
    response = caught.value.response
    assert response.status_code == 403
    assert response.headers["x-request-id"]
    assert request(gateway.port, "/x").status == 200


def test_a_backend_that_dies_closes_the_client_with_a_reason(gateways):
    with Uvicorn("tests.support.app:app") as server:
        gateway = gateways(server.url)
        with connect(f"ws://127.0.0.1:{gateway.port}/ws") as websocket:
            websocket.send("die")
            code, reason = close_of(websocket)
    assert code == 1011
    assert reason


def test_a_handshake_without_a_backend_is_502(gateways):
    from tests.support.ports import RefusingPort

    port = RefusingPort()
    gateway = gateways(f"http://127.0.0.1:{port.port}")
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{gateway.port}/ws")
    assert caught.value.response.status_code == 502
    port.close()
