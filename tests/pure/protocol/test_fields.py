"""Names and values of fields."""

from __future__ import annotations

import pytest

from fastgw.protocol.fields import HOP_BY_HOP, MalformedRequest, connection_options, content_length, first, is_token


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (b"close", {b"close"}),
        (b"Keep-Alive, X-Foo", {b"keep-alive", b"x-foo"}),
        (b" a ,\tb,, ", {b"a", b"b"}),
        (b"", set()),
        (b"authorization, cookie, host, content-length, x-forwarded-for, x-foo", {b"x-foo"}),
    ],
    ids=["one", "two", "blanks", "none", "those_that_must_stay"],
)
def test_connection_options(value: bytes, options: set[bytes]) -> None:
    assert connection_options(value) == options


@pytest.mark.parametrize("value", [b"0", b"5", b"007", b"999999999999999999"])
def test_a_plain_length(value: bytes) -> None:
    assert content_length(value) == int(value)


@pytest.mark.parametrize(
    "value",
    [b"", b"+5", b"-5", b" 5", b"5 ", b"5,5", b"5, 5", b"0x5", b"5_0", b"5.0", b"1e3", b"\xb2", b"5\n", b"9" * 19],
    ids=repr,
)
def test_any_other_length_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedRequest):
        content_length(value)


@pytest.mark.parametrize("text", [b"GET", b"x-foo", b"!#$%&'*+-.^_`|~09azAZ"])
def test_tokens(text: bytes) -> None:
    assert is_token(text)


@pytest.mark.parametrize("text", [b"", b"a b", b"a:b", b"a\r\n", b"a\n", b"a\x00", b"\xe9", b'"a"', b"a/b"], ids=repr)
def test_no_tokens(text: bytes) -> None:
    assert not is_token(text)


def test_first_is_the_first() -> None:
    fields = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert (first(fields, b"a"), first(fields, b"b"), first(fields, b"c")) == (b"1", b"2", None)


def test_hop_by_hop_has_what_the_rfc_names() -> None:
    """RFC 9110 7.6.1."""
    named = {b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"}
    assert named <= HOP_BY_HOP
