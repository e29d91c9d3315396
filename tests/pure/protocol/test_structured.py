"""Structured fields: all types, and nothing that is almost one."""

from __future__ import annotations

import contextlib

import pytest

from fastgw.protocol.structured import NotStructured, Token, dictionary, item, string


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"-42", -42),
        (b"0042", 42),
        (b"999999999999999", 999_999_999_999_999),
        (b"4.5", 4.5),
        (b"-1.123", -1.123),
        (b'""', ""),
        (b'"a b"', "a b"),
        (rb'"a\"b\\c"', r"a\"b\c".replace(r"\"", '"')),
        (b"*foo/bar:baz", Token("*foo/bar:baz")),
        (b"?1", True),
        (b"?0", False),
        (b":aGVsbG8=:", b"hello"),
        (b":aGVsbG8:", b"hello"),
        (b"::", b""),
        (b"@1659578233", 1659578233),
        (b"@-1", -1),
        (b'%"f%c3%bc"', "f\u00fc"),
        (b"  5  ", 5),
        (b'5;a;b=?0; c="x";d=:aGk=:', 5),
    ],
    ids=repr,
)
def test_items(text: bytes, value: object) -> None:
    found = item(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"\t5",
        b"5 6",
        b"5,6",
        b"-",
        b"+5",
        b"--5",
        b"1.",
        b".5",
        b"1.1234",
        b"1.2.3",
        b"1234567890123.1",
        b"1" * 16,
        b'"',
        b'"a',
        rb'"a\x"',
        b'"\x7f"',
        b'"\xe9"',
        b"'a'",
        b"?2",
        b"?",
        b"?true",
        b":a:",
        b":a b:",
        b":aGVsbG8",
        b"@1.5",
        b"@",
        b'%"%C3%BC"',
        b'%"%ff"',
        b'%"%c3"',
        b'%"%"',
        b"a;",
        b"a;B",
        b"a;b=",
        b"a ;b",
        b"(a)",
        b"a\n",
        b"a\x00",
        b"\xff",
    ],
    ids=repr,
)
def test_no_items(text: bytes) -> None:
    with pytest.raises(NotStructured):
        item(text)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (b"", {}),
        (b"  ", {}),
        (b"a", {"a": True}),
        (b"a=1", {"a": 1}),
        (b"max-age=60, no-store", {"max-age": 60, "no-store": True}),
        (b"a=1,b=2 ,\tc=3", {"a": 1, "b": 2, "c": 3}),
        (b"a=1, a=2", {"a": 2}),
        (b"a;x=1, b=?0;y", {"a": True, "b": False}),
        (b"*a_b-c.*=1", {"*a_b-c.*": 1}),
        (b'a=(1 "b"  c;q=1 ), b=()', {"a": (1, "b", "c"), "b": ()}),
    ],
    ids=repr,
)
def test_dictionaries(text: bytes, members: dict[str, object]) -> None:
    assert dictionary(text) == members


@pytest.mark.parametrize(
    "text",
    [
        b"A=1",
        b"a=",
        b"a =1",
        b"a= 1",
        b"a=1,",
        b"a=1 b=2",
        b",a",
        b"a,,b",
        b"1",
        b"a=(1",
        b"a=(1,2)",
        b"a=(1\t2)",
        b"a=1;",
        b"max-age=60; private=",
        b'private="a',
        b"a=1\r\n",
        b"\x00",
        b"\xe9=1",
        b'"a"=1',
        b"a=((1))",
    ],
    ids=repr,
)
def test_no_dictionaries(text: bytes) -> None:
    with pytest.raises(NotStructured):
        dictionary(text)


def test_a_token_is_no_string() -> None:
    """`a` and `"a"` are told apart."""
    assert isinstance(item(b"a"), Token)
    assert not isinstance(item(b'"a"'), Token)


def test_long_input_takes_linear_time() -> None:
    """A hundred thousand bytes of anything are refused or read at once."""
    for text in (
        b'"' + b"\\\\" * 50_000,
        b"a" * 100_000,
        b"a," * 50_000,
        b'a="' * 30_000,
        b"(" * 100_000,
        b"1" * 100_000,
    ):
        for read in (item, dictionary):
            with contextlib.suppress(NotStructured):
                read(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [(b"", b'""'), (b"a b", b'"a b"'), (rb'say "\o/"', rb'"say \"\\o/\""')],
    ids=["empty", "plain", "escaped"],
)
def test_strings_are_read_as_they_are_written(text: bytes, written: bytes) -> None:
    assert string(text) == written
    assert item(written) == text.decode()


@pytest.mark.parametrize("text", [b"\n", b"\x00", b"\x7f", b"\xe9"], ids=repr)
def test_no_strings(text: bytes) -> None:
    with pytest.raises(NotStructured):
        string(text)
