"""Accept: what is refused, who the client is, how the request is called."""

from __future__ import annotations

from ipaddress import ip_network
from uuid import RFC_4122, UUID

import pytest

from fastgw.accept import MAX_FIELDS
from fastgw.errors import BAD_REQUEST, HEADERS_TOO_LARGE, METHOD_NOT_ALLOWED, PAYLOAD_TOO_LARGE, ErrorKind, GatewayError
from fastgw.protocol.framing import NO_BODY, UNKNOWN_LENGTH
from tests.pure.asgi import HOST, VERSION_4_ID, accepted, exchange

LOCAL = (ip_network("127.0.0.0/8"),)
CL, TE = b"content-length", b"transfer-encoding"


@pytest.mark.parametrize(
    ("fields", "version", "kind"),
    [
        ([(b"accept", b"*/*")], "1.1", BAD_REQUEST),
        ([HOST, HOST], "1.1", BAD_REQUEST),
        ([HOST, (b"host", b"other")], "2", BAD_REQUEST),
        ([(b"host", b"")], "1.1", BAD_REQUEST),
        ([HOST, (CL, b"1"), (TE, b"chunked")], "1.1", BAD_REQUEST),
        ([HOST, (CL, b"1"), (CL, b"1")], "1.1", BAD_REQUEST),
        ([HOST, (CL, b"1, 1")], "1.1", BAD_REQUEST),
        ([HOST, (TE, b"gzip")], "1.1", BAD_REQUEST),
        ([HOST, (TE, b"chunked")], "1.0", BAD_REQUEST),
        ([HOST, (CL, b"1001")], "1.1", PAYLOAD_TOO_LARGE),
        ([HOST, (CL, b"1001")], "2", PAYLOAD_TOO_LARGE),
        ([HOST, *[(b"x", b"y")] * MAX_FIELDS], "1.1", HEADERS_TOO_LARGE),
    ],
    ids=[
        "no_host",
        "two_hosts",
        "two_different_hosts",
        "empty_host",
        "length_and_chunked",
        "two_lengths",
        "list_of_lengths",
        "gzip",
        "chunked_in_1_0",
        "too_large",
        "too_large_2",
        "too_many_fields",
    ],
)
def test_refused(fields: list[tuple[bytes, bytes]], version: str, kind: ErrorKind) -> None:
    x = exchange(*fields, method="POST", http_version=version)
    with pytest.raises(GatewayError) as refused:
        accepted(x)
    assert refused.value.kind is kind
    assert x.request_id, "a refusal too has an id to ask about"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_never_forwarded(method: str) -> None:
    with pytest.raises(GatewayError) as refused:
        accepted(exchange(method=method))
    assert refused.value.kind is METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    ("fields", "version", "length"),
    [
        ([HOST], "1.1", NO_BODY),
        ([(b"accept", b"*/*")], "1.0", NO_BODY),
        ([HOST], "2", UNKNOWN_LENGTH),
        ([HOST, (CL, b"1000")], "1.1", 1000),
        ([HOST, (TE, b"chunked")], "1.1", UNKNOWN_LENGTH),
        ([HOST, *[(b"x", b"y")] * (MAX_FIELDS - 1)], "1.1", NO_BODY),
    ],
    ids=["plain", "no_host_1_0", "http_2", "just_not_too_large", "chunked", "just_not_too_many"],
)
def test_accepted(fields: list[tuple[bytes, bytes]], version: str, length: int) -> None:
    assert accepted(exchange(*fields, http_version=version)).body_length == length


@pytest.mark.parametrize(
    "value",
    [VERSION_4_ID.encode(), b"abc", b"A.b_c-1", b"a" * 128],
    ids=["uuid", "word", "signs", "longest"],
)
def test_a_sane_request_id_is_kept(value: bytes) -> None:
    assert accepted(exchange(HOST, (b"x-request-id", value))).request_id == value


@pytest.mark.parametrize(
    "value",
    [b"", b"a" * 129, b"a b", b"a\n", b'a"', b"a\r\nx: y", b"<script>", b"\xff", b"a\x00"],
    ids=["empty", "too_long", "blank", "line_feed", "quote", "line", "tag", "not_ascii", "nul"],
)
def test_any_other_is_replaced_by_a_uuid(value: bytes) -> None:
    made = accepted(exchange(HOST, (b"x-request-id", value))).request_id
    assert UUID(made.decode()).version == 4


def test_new_ids_are_uuids_of_version_4_and_differ() -> None:
    ids = {accepted(exchange()).request_id for _ in range(2000)}
    assert len(ids) == 2000
    for made in ids:
        one = UUID(made.decode())
        assert (one.version, one.variant) == (4, RFC_4122)
        assert str(one).encode() == made


def test_a_trusted_peer_s_chain_is_believed() -> None:
    chain = (HOST, (b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.1.1.1"))
    trusted = accepted(exchange(*chain, peer="127.0.0.1"), LOCAL)
    assert (trusted.client, trusted.is_peer_trusted) == ("1.1.1.1", True)
    assert trusted.forwarded_for == b"6.6.6.6, 1.1.1.1"
    stranger = accepted(exchange(*chain, peer="8.8.8.8"), LOCAL)
    assert (stranger.client, stranger.is_peer_trusted) == ("8.8.8.8", False)
