"""One reading of whatever was written, and never one that keeps more than was allowed."""

from __future__ import annotations

import pytest

from fastgw.cache.directives import CAP_S, NONE, cache_control, of_response, targeted

CC, CDN, OURS = b"cache-control", b"cdn-cache-control", b"gateway-cache-control"


@pytest.mark.parametrize(
    ("value", "names", "seconds"),
    [
        (b"", set(), {}),
        (b"no-store", {"no-store"}, {}),
        (b"No-Store, PUBLIC", {"no-store", "public"}, {}),
        (b"max-age=60", {"max-age"}, {"max-age": 60}),
        (b'max-age="60"', {"max-age"}, {"max-age": 60}),
        (b"max-age=007", {"max-age"}, {"max-age": 7}),
        (b" ,, max-age=60 ,\tpublic,", {"max-age", "public"}, {"max-age": 60}),
        (b"max-age=60,s-maxage=10", {"max-age", "s-maxage"}, {"max-age": 60, "s-maxage": 10}),
        (b'private="set-cookie, max-age=9", max-age=60', {"private", "max-age"}, {"max-age": 60}),
        (rb'no-cache="a\", no-store, \"b"', {"no-cache"}, {}),
        (b"community=UCI, max-age=1", {"community", "max-age"}, {"max-age": 1}),
        (b'x="no-store", max-age=1', {"x", "max-age"}, {"max-age": 1}),
        (b"x=private, max-age=1", {"x", "max-age"}, {"max-age": 1}),
        (b"no-store=0", {"no-store"}, {}),
        (b"max-stale", {"max-stale"}, {"max-stale": CAP_S}),
        (b"max-stale=5, min-fresh=2", {"max-stale", "min-fresh"}, {"max-stale": 5, "min-fresh": 2}),
    ],
    ids=[
        "empty",
        "one",
        "capitals",
        "seconds",
        "quoted_seconds",
        "zeros",
        "empty_members",
        "two",
        "comma_in_quotes",
        "escaped_quotes",
        "unknown",
        "name_in_quotes",
        "name_as_value",
        "value_of_a_flag",
        "max_stale_alone",
        "request",
    ],
)
def test_what_fits_the_grammar(value: bytes, names: set[str], seconds: dict[str, int]) -> None:
    said = cache_control(value)
    assert {name.decode() for name in said.names} == names
    assert {name.decode(): number for name, number in said.seconds.items()} == seconds


@pytest.mark.parametrize(
    "number",
    [
        b"",
        b"=",
        b"=-1",
        b"=+1",
        b"=1.5",
        b"=1e3",
        b"=0x10",
        b"=abc",
        b"= 60",
        b" =60",
        b"='60'",
        b'="60',
        b"=60s",
        b'=""',
        b"=60 70",
        b"=\xb2",
        b"=6_0",
        b"=60;",
        b"=60\x00",
        b'="6"0',
        b"=60=60",
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", [b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"])
def test_a_number_that_is_none_counts_as_0(name: bytes, number: bytes) -> None:
    said = cache_control(name + number)
    assert said.seconds == {name: 0}
    assert name not in said.names, "so that a malformed s-maxage opens nothing to others"
    said = cache_control(name + number + b", public")
    assert said.seconds[name] == 0


@pytest.mark.parametrize("digits", [b"2147483648", b"2147483649", b"9" * 11, b"9" * 20, b"9" * 100_000], ids=len)
def test_numbers_are_capped(digits: bytes) -> None:
    """RFC 9111 1.2.2; and int() itself refuses 4,300 digits."""
    assert cache_control(b"max-age=" + digits).seconds == {b"max-age": CAP_S}
    assert cache_control(b"max-age=" + b"0" * 5000 + b"7").seconds == {b"max-age": 7}


@pytest.mark.parametrize(
    ("value", "name", "seconds"),
    [
        (b"max-age=60, max-age=5", b"max-age", 5),
        (b"max-age=5, max-age=60", b"max-age", 5),
        (b"max-age=60, max-age=abc", b"max-age", 0),
        (b"max-age, max-age=60", b"max-age", 0),
        (b"min-fresh=5, min-fresh=60", b"min-fresh", 60),
        (b"min-fresh=x", b"min-fresh", CAP_S),
        (b"max-stale, max-stale=5", b"max-stale", 5),
        (b"max-stale=x", b"max-stale", 0),
    ],
    ids=["less_last", "less_first", "malformed", "without", "min_fresh", "min_fresh_bad", "max_stale", "max_stale_bad"],
)
def test_of_two_the_more_restrictive(value: bytes, name: bytes, seconds: int) -> None:
    assert cache_control(value).seconds[name] == seconds


def test_one_malformed_of_two_opens_nothing() -> None:
    assert b"s-maxage" not in cache_control(b"s-maxage=60, s-maxage=x").names
    assert b"s-maxage" not in cache_control(b"s-maxage=x, s-maxage=60").names


@pytest.mark.parametrize(
    "value",
    [
        b"max-age=60; private",
        b"max-age=60 private",
        b"private; max-age=60",
        b'private="set-cookie, max-age=60',
        b"private=(a b)",
        b'foo="bar, private',
        b"private:yes",
        b"public private",
        b"\xffpublic; private",
    ],
    ids=repr,
)
def test_what_does_not_fit_can_forbid(value: bytes) -> None:
    """Whoever writes semicolons for commas still means private."""
    said = cache_control(value)
    if value != b"private:yes":
        assert b"private" in said.names
    assert b"public" not in said.names, "but not permit"
    assert said.seconds.get(b"max-age", 0) in {0, 60}


def test_long_values_take_linear_time() -> None:
    for value in (b'a="' * 30_000, b"a=(," * 30_000, b'"\\' * 50_000, b'a="' + b"x" * 100_000, b"," * 100_000):
        cache_control(value)


# -- targeted fields (RFC 9213) ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "names", "seconds"),
    [
        (b"max-age=60", {b"max-age"}, {b"max-age": 60}),
        (b"no-store", {b"no-store"}, {}),
        (b"no-store=?1, public", {b"no-store", b"public"}, {}),
        (b"no-store=?0", set(), {}),
        (b"max-age=60;x=1, must-revalidate;y", {b"max-age", b"must-revalidate"}, {b"max-age": 60}),
        (b'max-age="60"', set(), {b"max-age": 0}),
        (b"max-age=6.5", set(), {b"max-age": 0}),
        (b"max-age=-1", set(), {b"max-age": 0}),
        (b"max-age", set(), {b"max-age": 0}),
        (b"max-age=?1", set(), {b"max-age": 0}),
        (b"max-age=999999999999999", {b"max-age"}, {b"max-age": CAP_S}),
        (b"max-age=1, max-age=2", {b"max-age"}, {b"max-age": 2}),
        (b'private="set-cookie"', {b"private"}, {}),
        (b"no-cache=(a b)", {b"no-cache"}, {}),
        (b"public=1", set(), {}),
        (b"unknown=1", set(), {}),
    ],
    ids=lambda part: repr(sorted(part)) if isinstance(part, set) else repr(part),
)
def test_targeted(value: bytes, names: set[bytes], seconds: dict[bytes, int]) -> None:
    said = targeted(value)
    assert said is not None
    assert (set(said.names), said.seconds, said.is_targeted) == (names, seconds, True)


@pytest.mark.parametrize("value", [b"", b" ", b"max-age=60; private=", b"Max-Age=60", b"max-age=60,", b"a b"], ids=repr)
def test_an_empty_or_malformed_targeted_field_is_not_there(value: bytes) -> None:
    """RFC 9213 2.1."""
    assert targeted(value) is None
    assert of_response([(CDN, value), (CC, b"max-age=7")]).seconds == {b"max-age": 7}


def test_the_first_of_our_list_is_heard_alone() -> None:
    fields = [(CC, b"no-store"), (CDN, b"max-age=1"), (OURS, b"max-age=2")]
    assert of_response(fields).seconds == {b"max-age": 2}
    assert of_response(fields[:2]).seconds == {b"max-age": 1}
    assert of_response(fields[:2]).names == {b"max-age"}
    assert of_response([*fields[:2], (OURS, b"max-age=")]).seconds == {b"max-age": 1}


def test_lines_are_one_value() -> None:
    assert of_response([(CC, b"max-age=60"), (b"x", b"y"), (CC, b"private")]).names == {b"max-age", b"private"}
    assert of_response([(CDN, b"max-age=60"), (CDN, b"private")]).names == {b"max-age", b"private"}


def test_nothing_said() -> None:
    assert of_response([]) is NONE
    assert of_response([(CC, b"")]) is NONE


def test_a_long_value_is_read_like_a_short_one() -> None:
    """Readings of short ones are remembered."""
    long = b"max-age=60, x=" + b"y" * 500
    assert cache_control(long).seconds == cache_control(b"max-age=60").seconds
    assert targeted(long) is not None
