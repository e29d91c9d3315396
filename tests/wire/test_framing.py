"""Responses of every framing and every way to end: the right status, or a broken connection; never a false end."""

from __future__ import annotations

import time

import pytest

from tests.support.raw_client import RawClient, request


def ask(gateway, method="GET", extra=b""):
    # a safe route: a connection that the last script closed right after its answer may be tried first
    with RawClient(gateway.port) as client:
        client.send(b"%b /regions HTTP/1.1\r\nHost: x\r\n%b\r\n" % (method.encode(), extra))
        return client.response(method)


WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "until_close": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "until_close_1_0": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "early_hints_first": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "continue_first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "no_reason": b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_responses_arrive_whole(to_scripted, scripted, name):
    scripted.answering(WHOLE[name])
    response = ask(to_scripted)
    assert (response.status, response.body, response.is_complete) == (200, b"hello", True)
    assert response.header("x-trailer") is None
    assert response.header("link") is None


@pytest.mark.parametrize("name", WHOLE)
def test_whole_responses_arrive_whole_byte_by_byte(to_scripted, scripted, name):
    def handle(connection):
        connection.head()
        for byte in WHOLE[name]:
            connection.send(bytes([byte]))
            time.sleep(0.001)

    scripted.use(handle)
    response = ask(to_scripted)
    assert (response.status, response.body, response.is_complete) == (200, b"hello", True)


BROKEN_BEFORE = {
    "closed_at_once": b"",
    "half_status_line": b"HTTP/1.1 20",
    "half_head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "only_interim": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN_BEFORE)
def test_a_response_that_ends_before_its_head_is_502(to_scripted, scripted, name):
    scripted.answering(BROKEN_BEFORE[name])
    response = ask(to_scripted)
    assert (response.status, response.error) == (502, "BAD_GATEWAY")


def test_a_reset_before_the_head_is_502(to_scripted, scripted):
    scripted.use(lambda connection: (connection.head(), connection.reset()))
    assert ask(to_scripted).status == 502


BROKEN_IN_BODY = {
    "half_length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello",
    "half_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello",
    "between_chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "no_last_line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "bad_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    "events": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
}


@pytest.mark.parametrize("pause_s", [0, 0.1])
@pytest.mark.parametrize("name", BROKEN_IN_BODY)
def test_a_response_cut_short_never_looks_complete(to_scripted, scripted, name, pause_s):
    head, _, body = BROKEN_IN_BODY[name].partition(b"\r\n\r\n")

    def handle(connection):
        connection.head()
        connection.send(head + b"\r\n\r\n")
        time.sleep(pause_s)
        connection.send(body)
        time.sleep(pause_s)

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /regions HTTP/1.1\r\nHost: x\r\n\r\n")
        data = client.rest()
    if data.startswith(b"HTTP/1.1 502"):
        assert name == "bad_chunk"  # it came in one piece with the head, before anything was passed on
        return
    assert b"0\r\n\r\n" not in data
    assert len(data.partition(b"\r\n\r\n")[2]) < 1000


def test_a_reset_in_a_body_until_close_is_not_an_end(to_scripted, scripted):
    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
        time.sleep(0.1)
        connection.reset()

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /regions HTTP/1.1\r\nHost: x\r\n\r\n")
        data = client.rest()
    assert b"0\r\n\r\n" not in data


def test_a_response_before_the_request_ends_is_delivered(to_scripted, scripted):
    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        time.sleep(0.3)

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        response = client.response("POST")
    assert (response.status, response.body) == (413, b"big")


def test_a_client_that_waits_for_100_gets_it_and_then_its_answer(gateway):
    with RawClient(gateway.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.sock.recv(100).startswith(b"HTTP/1.1 100")
        client.send(b"abc")
        response = client.response("POST")
    assert response.status == 200
    assert response.json["size"] == 3


def test_the_head_of_a_slow_body_does_not_wait_for_it(gateway):
    with RawClient(gateway.port) as client:
        begun = time.monotonic()
        client.send(b"GET /late?s=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.sock.recv(12) == b"HTTP/1.1 200"
        assert time.monotonic() - begun < 0.8


def test_a_late_body_is_complete(gateway):
    response = request(gateway.port, "/late?s=0.2")
    assert (response.body, response.is_complete) == (b"late", True)


@pytest.mark.parametrize("name", [*BROKEN_IN_BODY, "until_close"])
def test_a_reset_in_the_body_never_looks_like_its_end(to_scripted, scripted, name):
    response = BROKEN_IN_BODY.get(name, WHOLE["until_close"])

    def handle(connection):
        connection.head()
        connection.send(response)
        time.sleep(0.1)
        connection.reset()

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /regions HTTP/1.1\r\nHost: x\r\n\r\n")
        data = client.rest()
    assert b"0\r\n\r\n" not in data
    # a reset may overtake what the client has not read yet, even the head
    assert not data or data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 502"))


@pytest.mark.parametrize("name", ["half_chunk", "between_chunks"])
def test_a_1_0_client_is_told_of_a_broken_body_by_a_reset(to_scripted, scripted, name):
    """It knows no chunks: an orderly end of the connection would be the end of the body."""
    head, _, body = BROKEN_IN_BODY[name].partition(b"\r\n\r\n")

    def handle(connection):
        connection.head()
        connection.send(head + b"\r\n\r\n" + body)
        time.sleep(0.2)

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /regions HTTP/1.0\r\nHost: x\r\n\r\n")
        assert client.ends_by_reset()


@pytest.mark.parametrize("name", ["length", "chunked", "until_close"])
def test_a_1_0_client_gets_no_chunks(to_scripted, scripted, name):
    scripted.answering(WHOLE[name])
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /regions HTTP/1.0\r\nHost: x\r\n\r\n")
        head, _, body = client.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"hello"


@pytest.mark.parametrize("framing", ["Content-Length: 8000000", "Transfer-Encoding: chunked"])
def test_an_early_answer_is_delivered_though_the_client_still_sends(to_scripted, scripted, framing):
    """The backend answers and closes at once: what it resets must not cost the client its answer."""

    def handle(connection):
        connection.head()
        connection.send(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")

    scripted.use(handle)
    piece = b"x" * 80000
    if "chunked" in framing:
        piece = b"%x\r\n%b\r\n" % (len(piece), piece)
    with RawClient(to_scripted.port) as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        client.send(piece)
        response = client.response("POST")
    assert (response.status, response.body) == (413, b"big")


def test_a_connection_answered_early_is_not_reused(to_scripted, scripted):
    def handle(connection):
        while connection.head():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        assert client.response("POST").body == b"ok"
    assert request(to_scripted.port, "/y").body == b"ok"
    assert scripted.connections == 2


def test_a_client_that_waits_for_100_may_get_its_answer_instead(to_scripted, scripted):
    """A refusal before the body: the body is never asked for, or has no taker; the client gets the refusal."""
    scripted.answering(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    with RawClient(to_scripted.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\nExpect: 100-continue\r\n\r\n")
        first = client.sock.recv(12)
        if first == b"HTTP/1.1 100":  # the gateway asked for the body by itself, which it may (RFC 9110 10.1.1)
            assert client.sock.recv(100).endswith(b"\r\n\r\n")
            client.send(b"x" * 300)
            first = client.sock.recv(12)
        assert first == b"HTTP/1.1 401"


def test_many_interim_responses_end_in_the_final_one_or_502(to_scripted, scripted):
    scripted.answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 200 + WHOLE["length"])
    response = ask(to_scripted)
    assert response.body == b"hello" if response.status == 200 else response.status == 502
