"""The two heads: nothing of a hop passes it, nothing makes a line of its own."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from fastgw.errors import BAD_REQUEST, HEADERS_TOO_LARGE, ErrorKind, GatewayError
from fastgw.forwarding.heads import (
    CHUNKED,
    MAX_HEAD_BYTES,
    NOT_FROM_BACKEND,
    handshake_fields,
    length_line,
    request_head,
    response_fields,
)
from fastgw.protocol.fields import HOP_BY_HOP
from fastgw.upstream.http1 import ResponseReader
from tests.pure.asgi import HOST, accepted, exchange

LOCAL = (ip_network("127.0.0.0/8"),)
Field = tuple[bytes, bytes]


def head_of(*fields: Field, framing: bytes = b"", **how: object) -> tuple[bytes, list[Field]]:
    """The request line and the fields that the backend is sent."""
    x = accepted(exchange(*fields, **how), LOCAL)  # type: ignore[arg-type]
    head = request_head(x, b"backend:8000", framing)
    assert head.endswith(b"\r\n\r\n")
    line, *lines = head[:-4].split(b"\r\n")
    return line, [(name, value) for name, _, value in (one.partition(b": ") for one in lines)]


def values(fields: list[Field], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def test_a_plain_request() -> None:
    line, fields = head_of(HOST, (b"accept", b"*/*"), (b"x-request-id", b"abc"))
    assert line == b"GET /api/v1/queue/stats HTTP/1.1"
    assert sorted(fields) == [
        (b"accept", b"*/*"),
        (b"host", b"backend:8000"),
        (b"via", b"1.1 fastgw"),
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-host", b"gw.example"),
        (b"x-forwarded-proto", b"http"),
        (b"x-request-id", b"abc"),
    ]


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/a/../b",
        b"/a//b",
        b"/%2e%2E/%00?x=%20&y",
        b"/?",
        b"*",
        b"/a?b?c",
        b"/\xc3\xa9".replace(b"\xc3\xa9", b"e"),
    ],
)
def test_the_target_is_passed_byte_for_byte(target: bytes) -> None:
    line, _ = head_of(target=target)
    assert line == b"GET " + (target if target != b"/?" else b"/") + b" HTTP/1.1"


@pytest.mark.parametrize("framing", [length_line(5), CHUNKED], ids=["length", "chunked"])
def test_framing_is_written_anew(framing: bytes) -> None:
    _, fields = head_of(HOST, (b"content-length", b"5"), method="POST", framing=framing)
    assert [f for f in fields if f[0] in {b"content-length", b"transfer-encoding"}] == [
        tuple(framing.split(b": "))  # once, and ours
    ]


@pytest.mark.parametrize(
    "name", sorted(HOP_BY_HOP - {b"transfer-encoding"} | {b"expect", b"x-gone", b"http2-settings"})
)
def test_what_is_of_this_hop_stays_here(name: bytes) -> None:
    value = b"close" if name == b"connection" else b"1"
    _, fields = head_of(HOST, (name, value), (b"connection", b"X-Gone, HTTP2-Settings"), (b"x-kept", b"2"))
    assert values(fields, name) == []
    assert values(fields, b"x-kept") == [b"2"]


def test_all_connection_lines_count() -> None:
    _, fields = head_of(HOST, (b"connection", b"x-a"), (b"x-a", b"1"), (b"connection", b"x-b"), (b"x-b", b"1"))
    assert values(fields, b"x-a") == values(fields, b"x-b") == []


@pytest.mark.parametrize("name", [b"authorization", b"cookie"])
def test_connection_can_t_take_credentials_away(name: bytes) -> None:
    _, fields = head_of(HOST, (b"connection", name), (name, b"secret"))
    assert values(fields, name) == [b"secret"]


def test_what_only_begins_like_an_option_stays() -> None:
    _, fields = head_of(HOST, (b"connection", b"x-a"), (b"x-ab", b"1"))
    assert values(fields, b"x-ab") == [b"1"]


def test_a_stranger_s_claims_are_replaced() -> None:
    claims = [
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"evil"),
        (b"x-real-ip", b"6.6.6.6"),
        (b"forwarded", b"for=6.6.6.6"),
    ]
    _, fields = head_of(HOST, *claims, peer="8.8.8.8")
    assert values(fields, b"x-forwarded-for") == [b"8.8.8.8"]
    assert values(fields, b"x-forwarded-proto") == [b"http"]
    assert values(fields, b"x-forwarded-host") == [b"gw.example"]
    assert values(fields, b"x-real-ip") == values(fields, b"forwarded") == []


def test_a_trusted_proxy_s_words_are_kept_and_added_to() -> None:
    claims = [
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"public.example"),
        (b"x-real-ip", b"1.1.1.1"),
        (b"forwarded", b"for=1.1.1.1"),
        (b"via", b"1.1 nginx"),
    ]
    _, fields = head_of(HOST, *claims, peer="127.0.0.1")
    assert values(fields, b"x-forwarded-for") == [b"1.1.1.1, 127.0.0.1"]
    assert values(fields, b"x-forwarded-proto") == [b"https"]
    assert values(fields, b"x-forwarded-host") == [b"public.example"]
    assert values(fields, b"x-real-ip") == [b"1.1.1.1"]
    assert values(fields, b"forwarded") == [b"for=1.1.1.1"]
    assert values(fields, b"via") == [b"1.1 nginx, 1.1 fastgw"]


def test_several_via_lines_are_all_kept() -> None:
    _, fields = head_of(HOST, (b"via", b"1.0 a"), (b"via", b"1.1 b"))
    assert values(fields, b"via") == [b"1.0 a, 1.1 b, 1.1 fastgw"]


@pytest.mark.parametrize(
    ("field", "absent", "via"),
    [
        ((b"connection", b"x-gone"), b"x-gone", b"1.1 fastgw"),
        ((b"via", b"1.0 a"), b"x-none", b"1.0 a, 1.1 fastgw"),
    ],
    ids=["connection", "via"],
)
def test_a_request_without_host_is_treated_alike(field: Field, absent: bytes, via: bytes) -> None:
    """HTTP/1.0 knows no Host; what else is special must be seen nevertheless."""
    _, fields = head_of(field, (b"x-gone", b"1"), http_version="1.0")
    assert values(fields, absent) == []
    assert values(fields, b"via") == [via]


def test_split_cookies_are_joined() -> None:
    """RFC 9113 8.2.3: cookie crumbs of HTTP/2 must be one field again in HTTP/1.1."""
    _, fields = head_of(HOST, (b"cookie", b"a=1"), (b"cookie", b"b=2"), http_version="2")
    assert values(fields, b"cookie") == [b"a=1; b=2"]


def test_repeated_fields_stay_in_order() -> None:
    _, fields = head_of(HOST, (b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3"))
    assert [f for f in fields if f[0] in {b"x-a", b"x-b"}] == [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]


@pytest.mark.parametrize(
    ("fields", "target", "kind"),
    [
        ([HOST, (b"x-a", b"b\r\nx-evil: 1")], b"/", BAD_REQUEST),
        ([HOST, (b"x-a", b"b\nx-evil: 1")], b"/", BAD_REQUEST),
        ([HOST, (b"x-a", b"b\rx-evil: 1")], b"/", BAD_REQUEST),
        ([HOST, (b"x-a", b"b\x00c")], b"/", BAD_REQUEST),
        ([HOST, (b"x-a\r\nx-evil", b"1")], b"/", BAD_REQUEST),
        ([(b"host", b"a\r\nx-evil: 1")], b"/", BAD_REQUEST),
        ([HOST, (b"via", b"a\r\nx-evil: 1")], b"/", BAD_REQUEST),
        ([HOST], b"/ HTTP/1.1\r\nx-evil: 1\r\n\r\nGET /", BAD_REQUEST),
        ([HOST, (b"cookie", b"a" * MAX_HEAD_BYTES)], b"/", HEADERS_TOO_LARGE),
        ([HOST], b"/" + b"a" * MAX_HEAD_BYTES, HEADERS_TOO_LARGE),
    ],
    ids=[
        "line",
        "bare_lf",
        "bare_cr",
        "nul",
        "in_name",
        "in_host",
        "in_via",
        "in_target",
        "too_large",
        "target_too_large",
    ],
)
def test_refused(fields: list[Field], target: bytes, kind: ErrorKind) -> None:
    with pytest.raises(GatewayError) as refused:
        head_of(*fields, target=target)
    assert refused.value.kind is kind


def test_a_handshake_s_own_fields_are_left_to_it() -> None:
    x = accepted(
        exchange(
            HOST,
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", b"k"),
            (b"sec-websocket-version", b"13"),
            (b"authorization", b"Bearer t"),
            type="websocket",
            scheme="wss",
        )
    )
    fields = handshake_fields(x)
    assert dict(fields) == {
        "authorization": "Bearer t",
        "x-forwarded-for": "203.0.113.9",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "gw.example",
        "x-request-id": x.request_id.decode(),
        "via": "1.1 fastgw",
    }


# -- the response -------------------------------------------------------------------------------------


def back(*fields: Field) -> list[Field]:
    return response_fields(accepted(exchange(HOST, (b"x-request-id", b"abc"))), list(fields))


def test_the_gateway_adds_its_own() -> None:
    fields = dict(back((b"content-type", b"text/plain"), (b"server", b"uvicorn")))
    assert fields[b"content-type"] == b"text/plain"
    assert fields[b"server"] == b"uvicorn"
    assert fields[b"x-request-id"] == b"abc"
    assert fields[b"via"] == b"1.1 fastgw"
    assert fields[b"x-gateway-duration"].endswith(b"ms")
    assert fields[b"server-timing"].startswith(b"gateway;dur=")
    assert b"x-gateway-version" in fields
    assert b"connection" not in fields


def test_without_a_server_field_it_names_itself() -> None:
    assert dict(back())[b"server"] == b"fastgw"


@pytest.mark.parametrize("name", sorted(NOT_FROM_BACKEND))
def test_what_is_not_the_backend_s_to_say_is_dropped(name: bytes) -> None:
    assert b"backend-says" not in values(back((name, b"backend-says")), name)


@pytest.mark.parametrize(
    "lines", [[b"X-Gone"], [b"close, x-gone"], [b"close", b"x-gone"]], ids=["one", "list", "lines"]
)
def test_what_connection_names_is_dropped(lines: list[bytes]) -> None:
    fields = back((b"x-gone", b"1"), *[(b"connection", line) for line in lines], (b"x-kept", b"2"))
    assert values(fields, b"x-gone") == []
    assert values(fields, b"x-kept") == [b"2"]


def test_lengths_and_cookies_pass() -> None:
    fields = back((b"content-length", b"3"), (b"set-cookie", b"a"), (b"set-cookie", b"b"))
    assert values(fields, b"content-length") == [b"3"]
    assert values(fields, b"set-cookie") == [b"a", b"b"]


def test_chunked_coding_does_not_pass() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n")
    assert not {b"transfer-encoding", b"trailer"} & {name for name, _ in back(*reader.headers)}


def test_draining_tells_the_client_to_close() -> None:
    x = accepted(exchange())
    x.must_close = True
    assert values(response_fields(x, []), b"connection") == [b"close"]
