"""WebSockets pass through: messages, subprotocols, close codes, refusals."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct
import time

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


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def accept_key(head):
    """Sec-WebSocket-Accept for this handshake (RFC 6455 4.2.2)."""
    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")).split()[1]
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def accept(connection):
    """Read a handshake and accept it; returns its head."""
    head = connection.head()
    connection.send(SWITCHING + b"Sec-WebSocket-Accept: " + accept_key(head) + b"\r\n\r\n")
    return head


@pytest.fixture
def scripted_url(to_scripted):
    return f"ws://127.0.0.1:{to_scripted.port}/ws"


def test_a_close_without_a_code_is_passed_on_as_one(url, seen):
    """RFC 6455 7.1.5: code 1005 stands for none; uvicorn reports so, or as a normal close."""
    with connect(url) as websocket:
        websocket.send("x")
        websocket.recv(5)
        websocket.socket.sendall(b"\x88\x80\0\0\0\0")  # a close frame without a payload, masked
        event = until(lambda: [e for e in seen()["events"] if e["what"] == "websocket left"], 3)[0]
    assert event["code"] in {1000, 1005}


def test_a_client_that_resets_ends_the_backends_side(url, seen):
    with connect(url) as websocket:
        websocket.send("x")
        websocket.recv(5)
        websocket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        websocket.socket.shutdown(socket.SHUT_RD)
        websocket.socket.close()
        until(lambda: [e for e in seen()["events"] if e["what"] == "websocket left"], 3)


@pytest.mark.parametrize("ending", ["end", "reset", "half_frame", "garbage"])
def test_a_backend_that_breaks_off_closes_the_client_as_abnormal(scripted_url, scripted, ending):
    """Never 1000, which would say that all is done, and never a hang."""

    def handle(connection):
        accept(connection)
        if ending == "half_frame":
            connection.send(b"\x81\x7dhalf")
        if ending == "garbage":
            connection.send(b"\xff\xff\xff\xff")
            connection.sock.recv(100)  # the gateway's close frame
        if ending == "reset":
            time.sleep(0.1)
            connection.reset()

    scripted.use(handle)
    with connect(scripted_url) as websocket:
        code, reason = close_of(websocket)
    assert code in {1002, 1011, 1012, 1014}
    assert isinstance(reason, str)


@pytest.mark.parametrize(
    ("status", "line"),
    [(401, b"WWW-Authenticate: Bearer"), (404, b"X-Own: 1"), (426, b"Upgrade: x"), (503, b"Retry-After: 3")],
)
def test_a_backends_own_refusal_reaches_the_client_whole(scripted_url, scripted, status, line):
    scripted.answering(b"HTTP/1.1 %d No\r\n%b\r\nContent-Length: 4\r\n\r\nwhy?" % (status, line))
    with pytest.raises(InvalidStatus) as caught:
        connect(scripted_url)
    response = caught.value.response
    assert (response.status_code, response.body) == (status, b"why?")
    if status != 426:  # its Upgrade ends at this hop
        name, _, value = line.decode().partition(": ")
        assert response.headers[name] == value


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        SWITCHING + b"\r\n",
        SWITCHING + b"Sec-WebSocket-Accept: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"garbage\r\n\r\n",
    ],
    ids=["closed", "no_key", "wrong_key", "no_upgrade", "garbage"],
)
def test_a_faulty_handshake_opens_nothing(scripted_url, scripted, answer):
    scripted.answering(answer)
    with pytest.raises(InvalidStatus) as caught:
        connect(scripted_url)
    assert caught.value.response.status_code in ({200, 502} if b"200 OK" in answer else {502})


def test_a_handshake_that_is_not_answered_is_504_in_time(gateways, scripted):
    gateway = gateways(scripted.url, FASTAPI_TIMEOUT=500, FASTAPI_CONNECT_TIMEOUT=500, ROUTER_HEALTH_PATH="/_health")
    scripted.use(lambda connection: connection.until_closed())
    begun = time.monotonic()
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{gateway.port}/ws")
    assert caught.value.response.status_code == 504
    assert time.monotonic() - begun < 2


def test_a_handshake_may_take_as_long_as_any_answer(gateways, scripted):
    """FASTAPI_CONNECT_TIMEOUT is for connecting; the answer has FASTAPI_TIMEOUT, as every first byte."""

    def handle(connection):
        time.sleep(0.8)
        accept(connection)
        connection.send(b"\x81\x02hi")
        connection.sock.recv(100)  # the close frame

    scripted.use(handle)
    gateway = gateways(scripted.url, FASTAPI_TIMEOUT=5000, FASTAPI_CONNECT_TIMEOUT=300, ROUTER_HEALTH_PATH="/_health")
    with connect(f"ws://127.0.0.1:{gateway.port}/ws") as websocket:
        assert websocket.recv(3) == "hi"


def test_silence_does_not_end_a_websocket(url, gateways, backend):
    """FASTAPI_TIMEOUT is for answers: who waits for the next message may wait."""
    gateway = gateways(backend.url, FASTAPI_TIMEOUT=300)
    with connect(f"ws://127.0.0.1:{gateway.port}/ws") as websocket:
        time.sleep(1)
        websocket.send("still here")
        assert websocket.recv(3) == "still here"


def test_a_message_beyond_the_limit_closes_the_websocket(url):
    """17 MiB; the limit is 16. RFC 6455 7.4.1: 1009, too big; an end without a code will do, 1000 or a hang will not."""  # noqa: E501 - one line of a script
    with connect(url, max_size=None) as websocket:
        with contextlib.suppress(ConnectionClosed, OSError):
            websocket.send(b"x" * (17 * 1024 * 1024))
        closed = close_of(websocket)
    assert closed is None or closed[0] in {1005, 1009, 1011}


def test_handshake_fields_of_one_connection_end_here(scripted_url, scripted):
    heads = []

    def handle(connection):
        heads.append(accept(connection))
        connection.sock.recv(100)  # the close frame

    scripted.use(handle)
    fields = {"Connection": "Upgrade, X-Hop", "X-Hop": "1", "Proxy-Authorization": "Basic eDp5", "X-Stays": "1"}
    with connect(scripted_url, additional_headers=fields):
        until(lambda: heads, 2)
    names = [line.partition(b":")[0].lower() for line in heads[0].split(b"\r\n")[1:]]
    assert b"x-stays" in names
    assert not {b"proxy-authorization", b"x-hop"} & set(names)
    assert names.count(b"host") == names.count(b"connection") == names.count(b"sec-websocket-key") == 1


def test_other_requests_are_served_while_websockets_are_open(gateway, url):
    with contextlib.ExitStack() as stack:
        websockets = [stack.enter_context(connect(url)) for _ in range(20)]
        assert request(gateway.port, "/x").status == 200
        for number, websocket in enumerate(websockets):
            websocket.send(str(number))
        assert [websocket.recv(5) for websocket in websockets] == [str(number) for number in range(20)]
