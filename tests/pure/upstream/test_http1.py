"""ResponseReader: each case is fed whole, byte by byte, and with bytes of another response behind it."""

from __future__ import annotations

import pytest

from fastgw.upstream.errors import ProtocolFault
from fastgw.upstream.http1 import MAX_HEAD_BYTES, MAX_INTERIM_RESPONSES, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def fed(reader: ResponseReader, data: bytes, step: int = 0) -> ResponseReader:
    """Feed all of it: at once, or `step` bytes at a time."""
    step = step or len(data)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader


def read(data: bytes, method: bytes = b"GET", *, step: int = 0) -> ResponseReader:
    """A new reader that was fed all of it."""
    reader = ResponseReader()
    reader.begin(method)
    return fed(reader, data, step)


def each_way(data: bytes, method: bytes = b"GET") -> list[ResponseReader]:
    return [read(data, method), read(data, method, step=1), read(data, method, step=7)]


GOOD = {
    "length": (OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc"),
    "length_zero": (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "chunked": (CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 200, b"abc"),
    "chunked_name_in_capitals": (OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, b"a"),
    "chunk_extension": (CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n", 200, b"abc"),
    "chunk_size_in_hex": (CHUNKED + b"A\r\n0123456789\r\n0\r\n\r\n", 200, b"0123456789"),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", 200, b"abc"),
    "no_reason": (b"HTTP/1.1 404\r\nContent-Length: 1\r\n\r\na", 404, b"a"),
    "empty_value": (OK + b"X-A:\r\nContent-Length: 1\r\n\r\na", 200, b"a"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204_with_length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    "304_with_length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, b""),
    "100_first": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", 200, b"a"),
    "103_first": (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", 200, b"a"),
    "100_with_length": (b"HTTP/1.1 100 C\r\nContent-Length: 9\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", 200, b"a"),
    "interim_run": (
        b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM_RESPONSES + OK + b"Content-Length: 1\r\n\r\na",
        200,
        b"a",
    ),
    "http_1_0_kept_alive": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", 200, b"a"),
    "unasked_upgrade_offer": (
        OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\na",
        200,
        b"a",
    ),
}


@pytest.mark.parametrize(("data", "status", "body"), GOOD.values(), ids=GOOD)
def test_complete_and_reusable_however_it_is_cut(data: bytes, status: int, body: bytes) -> None:
    for reader in each_way(data):
        assert (reader.status, reader.complete, reader.reusable) == (status, True, True)
        assert reader.take() == body


@pytest.mark.parametrize(("data", "status", "body"), GOOD.values(), ids=GOOD)
def test_a_second_response_is_never_delivered(data: bytes, status: int, body: bytes) -> None:
    for reader in [*each_way(data + SECOND), read(data)]:
        if reader.reusable:
            reader.feed(SECOND)
        assert (reader.status, reader.complete, reader.reusable) == (status, True, False)
        assert reader.take() == body


@pytest.mark.parametrize(("data", "status", "body"), GOOD.values(), ids=GOOD)
def test_not_complete_before_its_last_byte(data: bytes, status: int, body: bytes) -> None:
    reader = ResponseReader()
    for at in range(len(data)):
        assert not reader.complete, f"complete after {at} of {len(data)} bytes"
        reader.feed(data[at : at + 1])
    assert reader.complete


FAULTY = {
    "length_and_chunked": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "chunked_and_length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "two_equal_lengths": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two_lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "list_of_lengths": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed_length": OK + b"Content-Length: +3\r\n\r\nabc",
    "negative_length": OK + b"Content-Length: -3\r\n\r\nabc",
    "hex_length": OK + b"Content-Length: 0x3\r\n\r\nabc",
    "empty_length": OK + b"Content-Length: \r\n\r\nabc",
    "overlong_length": OK + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "chunk_size_no_hex": CHUNKED + b"zz\r\n",
    "chunk_size_0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk_size_negative": CHUNKED + b"-3\r\nabc\r\n",
    "chunk_size_then_blank": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "chunk_size_overflow": CHUNKED + b"fffffffffffffffff\r\nabc\r\n",
    "chunk_longer_than_said": CHUNKED + b"3\r\nabcd\r\n",
    "chunk_bare_lf": CHUNKED + b"3\nabc\n0\n\n",
    "chunk_data_bare_lf": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "chunk_extension_bare_lf": CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "obs_fold": OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "blank_line_start": OK + b" X-A: b\r\nContent-Length: 0\r\n\r\n",
    "nul_in_value": OK + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "nul_in_name": OK + b"X\x00A: b\r\nContent-Length: 0\r\n\r\n",
    "control_in_value": OK + b"X-A: b\x01c\r\nContent-Length: 0\r\n\r\n",
    "bare_lf_after_field": OK + b"X-A: b\nContent-Length: 0\r\n\r\n",
    "bare_lf_after_head": OK + b"Content-Length: 0\r\n\n",
    "bare_lf_after_status": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "bare_cr_in_value": OK + b"X-A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "bare_cr_in_reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "blank_before_colon": OK + b"Content-Length : 0\r\n\r\n",
    "blank_in_name": OK + b"X A: 0\r\n\r\n",
    "no_colon": OK + b"XA\r\n\r\n",
    "no_name": OK + b": a\r\n\r\n",
    "gzip": OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "gzip_and_chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked_twice_in_a_line": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "chunked_twice_in_two_lines": OK
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "nearly_chunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "empty_coding": OK + b"Transfer-Encoding: \r\n\r\nabc",
    "101": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "101_without_upgrade": b"HTTP/1.1 101 Switching\r\n\r\n",
    "endless_interim": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1),
    "status_below_100": b"HTTP/1.1 099 What\r\nContent-Length: 1\r\n\r\na",
    "status_of_two_digits": b"HTTP/1.1 20 What\r\nContent-Length: 1\r\n\r\na",
    "status_of_four_digits": b"HTTP/1.1 2000 What\r\nContent-Length: 1\r\n\r\na",
    "http_0_9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http_1_2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http_2_0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http_2": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a_request": b"GET / HTTP/1.1\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "tls_alert": b"\x15\x03\x01\x00\x02\x02\x16",
    "head_over_the_limit": OK + b"X-A: " + b"a" * (MAX_HEAD_BYTES + 1000) + b"\r\nContent-Length: 0\r\n\r\n",
    "many_fields_over_the_limit": OK + b"X-A: aaaaaaaaaa\r\n" * 5000 + b"Content-Length: 0\r\n\r\n",
    "trailers_over_the_limit": CHUNKED + b"0\r\nX-A: " + b"a" * (MAX_HEAD_BYTES + 1000) + b"\r\n\r\n",
}


@pytest.mark.parametrize("step", [0, 1, 7], ids=["whole", "byte_by_byte", "by_sevens"])
@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY)
def test_refused_however_it_is_cut(data: bytes, step: int) -> None:
    reader = ResponseReader()
    with pytest.raises(ProtocolFault) as fault:
        fed(reader, data, step)
    assert fault.value.reason
    assert not reader.complete


@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY)
def test_refused_with_bytes_behind_it(data: bytes) -> None:
    with pytest.raises(ProtocolFault):
        read(data + SECOND)


CUT = {
    "nothing": b"",
    "status_line": b"HTTP/1.1 200",
    "head": OK + b"Content-Length: 3\r\n",
    "interim_only": b"HTTP/1.1 100 Continue\r\n\r\n",
    "length": OK + b"Content-Length: 3\r\n\r\nab",
    "length_no_body": OK + b"Content-Length: 3\r\n\r\n",
    "chunked_before_the_last": CHUNKED + b"3\r\nabc\r\n",
    "chunked_in_a_chunk": CHUNKED + b"3\r\nab",
    "chunked_no_body": CHUNKED,
    "chunked_in_the_last": CHUNKED + b"3\r\nabc\r\n0\r\n",
    "http_1_0_chunked": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT)
def test_an_end_of_file_in_the_middle_is_never_an_end(data: bytes) -> None:
    for step in (0, 1):
        reader = read(data, step=step) if data else ResponseReader()
        assert reader.eof() is False
        assert (reader.complete, reader.reusable) == (False, False)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_until_close_ends_by_end_of_file_alone(version: bytes) -> None:
    for reader in each_way(b"HTTP/" + version + b" 200 OK\r\nContent-Type: text/plain\r\n\r\nabc" + SECOND):
        assert not reader.complete
        assert reader.eof() is True
        assert (reader.complete, reader.reusable, reader.length) == (True, False, None)
        assert reader.take() == b"abc" + SECOND  # without a length, all that comes is body


def test_an_end_of_file_after_a_complete_response_is_no_fault() -> None:
    reader = read(OK + b"Content-Length: 1\r\n\r\na")
    assert reader.eof() is True
    assert not reader.reusable


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close\r\n\r\na", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, close\r\n\r\na", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", False),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na", True),
    ],
    ids=["close", "close_in_capitals", "close_in_a_list", "http_1_0", "http_1_0_chunked", "keep_alive"],
)
def test_reusable_is_what_the_backend_says(data: bytes, reusable: bool) -> None:
    for reader in each_way(data):
        assert (reader.complete, reader.reusable, reader.take()) == (True, reusable, b"a")


HEAD_ANSWERS = {
    "length": (OK + b"Content-Length: 3\r\n\r\n", True),
    "chunked": (CHUNKED, True),
    "interim_first": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 3\r\n\r\n", True),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", True),
    "close": (OK + b"Connection: close\r\nContent-Length: 3\r\n\r\n", False),
    "http_1_0": (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", False),
}


@pytest.mark.parametrize(("data", "reusable"), HEAD_ANSWERS.values(), ids=HEAD_ANSWERS)
def test_the_answer_to_head_ends_with_its_head(data: bytes, reusable: bool) -> None:
    for reader in each_way(data, b"HEAD"):
        assert (reader.complete, reader.reusable, reader.take()) == (True, reusable, b"")


def test_after_head_comes_the_next_response() -> None:
    reader = read(OK + b"Content-Length: 6\r\n\r\n", b"HEAD")
    reader.begin(b"GET")
    reader.feed(SECOND)
    assert (reader.complete, reader.reusable, reader.take()) == (True, True, b"SECRET")


def test_a_body_after_the_answer_to_head_spoils_the_connection() -> None:
    for data in (OK + b"Content-Length: 3\r\n\r\nabc", OK + b"Content-Length: 3\r\n\r\n" + SECOND):
        for reader in each_way(data, b"HEAD"):
            assert (reader.complete, reader.reusable, reader.take()) == (True, False, b"")


def test_many_responses_on_one_connection() -> None:
    reader = ResponseReader()
    for data, status, body in GOOD.values():
        reader.begin(b"GET")
        reader.feed(data)
        assert (reader.status, reader.complete, reader.reusable, reader.take()) == (status, True, True, body)


def test_begin_forgets_everything() -> None:
    reader = read(OK + b"Content-Length: 3\r\nX-A: b\r\n\r\nabc")
    reader.begin(b"GET")
    assert (reader.status, reader.headers, reader.length, reader.buffered, reader.take()) == (0, [], None, 0, b"")
    assert not reader.head_complete
    assert not reader.complete


def test_field_names_are_lower_case_and_values_as_they_came() -> None:
    for reader in each_way(OK + b"X-Ray: A b\r\nSet-Cookie: a\r\nSet-Cookie: b\xff\r\nContent-Length: 0\r\n\r\n"):
        assert reader.headers == [
            (b"x-ray", b"A b"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b\xff"),
            (b"content-length", b"0"),
        ]
        assert reader.header(b"set-cookie") == b"a"
        assert reader.header(b"absent") is None


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    """RFC 9110 5.5: a recipient excludes leading and trailing white space."""
    for reader in each_way(OK + b"X-A: \t b c \t\r\nContent-Length: 3 \r\n\r\nabc"):
        assert reader.headers == [(b"x-a", b"b c"), (b"content-length", b"3")]
        assert reader.complete


def test_interim_fields_and_trailers_are_dropped() -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED + b"1\r\na\r\n0\r\nX-Trailer: y\r\n\r\n"
    for reader in each_way(data):
        assert reader.headers == [(b"transfer-encoding", b"chunked")]
        assert reader.complete


def test_a_large_body_does_not_count_as_head() -> None:
    body = b"x" * (4 * MAX_HEAD_BYTES)
    for step in (0, 1000):
        reader = read(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body, step=step)
        assert reader.take() == body
        assert reader.complete


def test_a_head_just_below_the_limit_is_taken() -> None:
    data = OK + b"X-A: " + b"a" * (MAX_HEAD_BYTES - 100) + b"\r\nContent-Length: 0\r\n\r\n"
    for step in (0, 1, 1000):
        assert read(data, step=step).complete


@pytest.mark.parametrize(
    ("kind", "is_stream"),
    [
        (b"text/event-stream", True),
        (b"Text/Event-Stream; charset=utf-8", True),
        (b"text/plain", False),
        (b"application/json", False),
    ],
)
def test_event_streams_are_told_by_their_type(kind: bytes, is_stream: bool) -> None:
    assert read(OK + b"Content-Type: " + kind + b"\r\n\r\n").is_event_stream() is is_stream


def test_repr_tells_the_state() -> None:
    reader = ResponseReader()
    assert repr(reader) == "<ResponseReader head status=0 buffered=0>"
    reader.feed(OK + b"Content-Length: 3\r\n\r\nab")
    assert repr(reader) == "<ResponseReader body status=200 buffered=2>"
    reader.feed(b"c")
    assert repr(reader) == "<ResponseReader complete status=200 buffered=3>"
