"""What two servers could read in two ways reaches no backend."""

from __future__ import annotations

import time

import pytest

from tests.support.raw_client import RawClient, request
from tests.support.scripted_backend import OK
from tests.support.wait import until

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

AMBIGUOUS = {
    "both_framings": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "two_lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\nabc" + HIDDEN,
    "signed_length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc" + HIDDEN,
    "list_of_lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc" + HIDDEN,
    "hex_length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc" + HIDDEN,
    "other_coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc" + HIDDEN,
    "coding_not_last": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two_codings": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + HIDDEN,
    "coding_in_1_0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "space_before_colon": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc" + HIDDEN,
    "folded_line": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n" + HIDDEN,
    "space_in_name": b"GET / HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n" + HIDDEN,
    "nul_in_value": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n" + HIDDEN,
    "two_hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + HIDDEN,
    "no_host": b"GET / HTTP/1.1\r\n\r\n" + HIDDEN,
    "bad_chunk_size": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"
    + HIDDEN,
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "negative_length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc" + HIDDEN,
    "empty_length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nabc" + HIDDEN,
    "length_beyond_64_bits": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551619\r\n\r\nabc" + HIDDEN,
    "bare_cr_in_value": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 40\r\n\r\n" + HIDDEN,
    "lf_cr_in_value": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\n\rY: b\r\n\r\n" + HIDDEN,
    "first_line_folded": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n" + HIDDEN,
    "no_colon": b"GET / HTTP/1.1\r\nHost: x\r\nXY\r\n\r\n" + HIDDEN,
    "empty_name": b"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n" + HIDDEN,
    "nul_in_name": b"GET / HTTP/1.1\r\nHost: x\r\nX\0Y: a\r\n\r\n" + HIDDEN,
    "bytes_in_name": b"GET / HTTP/1.1\r\nHost: x\r\nX\xe9: a\r\n\r\n" + HIDDEN,
    "space_before_coding_colon": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "control_in_coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "quoted_coding": b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + HIDDEN,
    "chunked_twice": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "other_coding_first": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "space_in_target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "other_version": b"GET / HTTP/3.7\r\nHost: x\r\n\r\n" + HIDDEN,
    "no_version": b"GET /\r\nHost: x\r\n\r\n" + HIDDEN,
    "chunk_too_long_by_its_end": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n"
    + HIDDEN,
    "negative_chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"
    + HIDDEN,
    "hex_prefix_chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"
    + HIDDEN,
    "chunk_beyond_64_bits": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"10000000000000003\r\nabc\r\n0\r\n\r\n" + HIDDEN,
    "lf_in_chunk_extension": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;a\nb\r\nabc\r\n0\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_requests_get_400_or_the_door(to_scripted, scripted, name):
    """The client gets 400, or its connection is closed; no backend sees a complete request, least the hidden one."""
    received = []

    def handle(connection):
        received.append(connection.all())

    scripted.use(handle)
    with RawClient(to_scripted.port) as client:
        client.send(AMBIGUOUS[name])
        client.sock.settimeout(3)
        answer = client.rest()
    until(lambda: len(received) == scripted.connections, 2, "what was forwarded to end")
    assert not [data for data in received if b"smuggled" in data]
    if name == "both_framings":  # RFC 9112 6.3: may be read by its Transfer-Encoding alone, if the connection ends then
        assert answer.count(b"HTTP/1.1 ") == 1
        return
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:80]
    assert not [data for data in received if data.endswith(b"0\r\n\r\n") or b"content-length" in data]


RESPONSES = {
    "both_framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "nul_in_value": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "bare_cr": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: x\r\nContent-Length: 2\r\n\r\nok",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "space_before_colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "other_coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "garbage": b"\0\1\2\3 what?\r\n\r\n",
    "http_2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "long_head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "negative_length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "signed_length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "length_beyond_64_bits": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
    "space_in_name": b"HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nok",
    "empty_name": b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok",
    "no_colon": b"HTTP/1.1 200 OK\r\nXY\r\nContent-Length: 2\r\n\r\nok",
    "control_in_coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked_twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "status_of_two_digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "status_0": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok",
    "unasked_upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
}


@pytest.mark.parametrize("name", RESPONSES)
def test_ambiguous_responses_become_502(to_scripted, scripted, name):
    scripted.answering(RESPONSES[name])
    with RawClient(to_scripted.port) as client:
        client.send(b"GET /regions HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.response()
    assert (response.status, response.error) == (502, "BAD_GATEWAY")


def test_a_second_response_is_never_delivered(to_scripted, scripted):
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    scripted.answering(OK + second, close=False)
    with RawClient(to_scripted.port) as client:
        for _ in range(3):
            client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.response().body == b"ok"
    assert scripted.connections == 3  # none was used again


def test_a_body_that_looks_like_a_request_stays_a_body(gateway, seen):
    with RawClient(gateway.port) as client:
        client.send(b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN)
        assert client.response().json["size"] == len(HIDDEN)
    assert [entry["raw_path"] for entry in seen()["seen"]] == ["/x"]


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", "  chunked  "])
def test_an_odd_spelling_of_chunked_is_chunked(gateway, seen, coding):
    """RFC 9112 7: coding names know no case, and blanks around a value are no part of it."""
    with RawClient(gateway.port) as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:{coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode())
        assert client.response("POST").json["size"] == 3
    assert len(seen()["seen"]) == 1


def test_an_answer_that_comes_too_late_reaches_nobody_else(to_scripted, scripted):
    """The connection of a request that timed out is not handed to the next one."""

    def handle(connection):
        if b"/late" in connection.head():
            time.sleep(0.8)  # FASTAPI_TIMEOUT is half a second here
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        connection.send(OK)

    scripted.use(handle)
    assert request(to_scripted.port, "/late").status == 504
    for _ in range(8):
        assert request(to_scripted.port, "/x").body == b"ok"
        time.sleep(0.06)


@pytest.mark.parametrize("host", ["x y", "x/y", "x?y", "user@x", "<x>", "x:port", "x\\y"])
def test_a_host_that_is_none_gets_400(to_scripted, scripted, host):
    """RFC 9112 3.2: a server must answer 400 to a Host of an invalid value. It would end up in X-Forwarded-Host."""
    scripted.answering(OK)
    assert request(to_scripted.port, "/x", Host=host).status == 400
    assert scripted.connections == 0


@pytest.mark.parametrize("host", ["x", "x:80", "127.0.0.1:3000", "[::1]", "[::1]:3000", "a-b_c.example"])
def test_a_host_that_is_one_is_passed_on(to_scripted, scripted, host):
    scripted.answering(OK)
    assert request(to_scripted.port, "/x", Host=host).status == 200
    assert f"x-forwarded-host: {host}\r\n".encode() in scripted.heads[0]


def test_a_coding_in_a_1_0_response_is_never_the_start_of_another(to_scripted, scripted):
    """RFC 9112 6.1: its framing is taken as faulty, and the connection ends after it."""
    faulty = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    scripted.answering(faulty + OK, close=False)
    for _ in range(2):
        response = request(to_scripted.port, "/x")
        assert (response.status, response.body) == (200, b"ok") or response.status == 502
    assert scripted.connections == 2
