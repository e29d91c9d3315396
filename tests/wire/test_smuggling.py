"""What two servers could read in two ways reaches no backend."""

from __future__ import annotations

import pytest

from tests.support.raw_client import RawClient
from tests.support.scripted_backend import OK

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
