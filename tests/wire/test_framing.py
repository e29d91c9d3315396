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
