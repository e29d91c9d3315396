"""The syntax of Idempotency-Key, and what makes two requests the same."""

from __future__ import annotations

import pytest

from fastgw.idempotency.fingerprint import MAX_KEY_BYTES, BadKey, fingerprint, idempotency_key, record_name

UUID = b"8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'"%b"' % UUID, UUID),  # the draft's form
        (UUID, UUID),  # what clients send
        (b"KG5LxwFBepaKHyUD", b"KG5LxwFBepaKHyUD"),
        (b"order/2024:17+x=", b"order/2024:17+x="),
        (b":YWJj:", b":YWJj:"),
        (b"42", b"42"),
        (b'"two words"', b"two words"),
        (rb'"a \"quoted\" \\ one"', rb'a "quoted" \ one'),
        (b'"a";version=1', b"a"),
        (b"x" * MAX_KEY_BYTES, b"x" * MAX_KEY_BYTES),
        (b'"%b"' % (rb"\\" * MAX_KEY_BYTES), b"\\" * MAX_KEY_BYTES),
    ],
)
def test_a_key_is_a_string_or_one_word(value: bytes, key: bytes) -> None:
    assert idempotency_key([value]) == key


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b'""',
        b'"open',
        b'open"',
        b'"a"b',
        b'"a", "b"',
        b"a,b",
        b"a b",
        b"a;b=1",
        b"caf\xe9",
        b'"caf\xe9"',
        b"a\tb",
        b"a\x7f",
        rb'"\x"',
        b"x" * (MAX_KEY_BYTES + 1),
        b'"%b"' % (b"x" * (MAX_KEY_BYTES + 1)),
        b'"%b"' % (b"x" * 100_000),
    ],
)
def test_what_could_be_read_in_two_ways_or_is_too_long_is_none(value: bytes) -> None:
    with pytest.raises(BadKey) as raised:
        idempotency_key([value])
    assert value[:5] not in str(raised.value).encode() or not value.strip(b'"')


@pytest.mark.parametrize("lines", [[b"a", b"a"], [b"a", b"b"], [b"a"] * 50])
def test_a_repeated_field_is_none(lines: list[bytes]) -> None:
    with pytest.raises(BadKey, match="more than one"):
        idempotency_key(lines)


def test_a_record_belongs_to_an_identity() -> None:
    names = {record_name(scope, key) for scope, key in ((b"", b"ab"), (b"a", b"b"), (b"ab", b""), (b"b", b"ab"))}
    assert len(names) == 4
    assert {len(name) for name in names} == {32}
    assert record_name(b"s", UUID) == record_name(b"s", UUID)
    assert UUID not in record_name(b"", UUID)


def test_each_part_of_a_request_counts() -> None:
    parts = (b"POST", b"/api/v1/jobs?x=1", b"application/json", b'{"a":1}')
    same = fingerprint(*parts)
    assert len(same) == 64
    assert fingerprint(*parts) == same
    for number in range(4):
        changed = [part + b"x" if n == number else part for n, part in enumerate(parts)]
        assert fingerprint(*changed) != same


def test_a_part_can_not_look_like_the_next_ones_beginning() -> None:
    assert fingerprint(b"POST", b"/a", b"b", b"") != fingerprint(b"POST", b"/ab", b"", b"")
    assert fingerprint(b"POST", b"/a", b"b", b"c") != fingerprint(b"POST", b"/a", b"bc", b"")
    assert fingerprint(b"POST", b"/a", b"", b"1:c") != fingerprint(b"POST", b"/a", b"c", b"")
