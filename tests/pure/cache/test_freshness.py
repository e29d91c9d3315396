"""Age and lifetime, as RFC 9111 4.2 counts them."""

from __future__ import annotations

import pytest

from fastgw.cache.directives import cache_control, of_response
from fastgw.cache.freshness import DATE_GRAIN_S, YEAR_S, age_ms, capped_ms, declared_ms

NOW = 1700049600  # Wed, 15 Nov 2023 12:00:00 GMT
DATE = b"date"
YEAR = YEAR_S * 1000
Field = tuple[bytes, bytes]


def at(seconds: int) -> bytes:
    """An HTTP date on the day of NOW, so many seconds from it."""
    minutes, second = divmod(12 * 3600 + seconds, 60)
    return b"Wed, 15 Nov 2023 %02d:%02d:%02d GMT" % (*divmod(minutes, 60), second)


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ([], 0),
        ([(b"age", b"0")], 0),
        ([(b"age", b"17")], 17_000),
        ([(b"age", b"17, 99")], 17_000),
        ([(b"age", b"17"), (b"age", b"99")], 17_000),
        ([(b"age", b"-5")], 0),
        ([(b"age", b"1.5")], 0),
        ([(b"age", b"abc, 5")], 0),
        ([(b"age", b"")], 0),
        ([(b"age", b"\xb2")], 0),
        ([(b"age", b"9" * 10)], YEAR),
        ([(b"age", b"9" * 100_000)], YEAR),
        ([(DATE, at(0))], 0),
        ([(DATE, at(-DATE_GRAIN_S))], 0),
        ([(DATE, at(-DATE_GRAIN_S - 1))], 3_000),
        ([(DATE, at(-60))], 60_000),
        ([(DATE, at(60))], 0),
        ([(DATE, b"yesterday")], 0),
        ([(DATE, at(-60)), (b"age", b"17")], 60_000),
        ([(DATE, at(-60)), (b"age", b"90")], 90_000),
        ([(DATE, at(-1)), (b"age", b"90")], 90_000),
        ([(DATE, b"Thu, 01 Jan 1970 00:00:00 GMT")], YEAR),
    ],
    ids=[
        "nothing",
        "age_0",
        "age",
        "first_of_a_list",
        "first_line",
        "negative",
        "decimal",
        "first_is_none",
        "empty",
        "other_digits",
        "large",
        "endless",
        "now",
        "within_the_grain",
        "past_the_grain",
        "a_minute",
        "clock_ahead",
        "no_date",
        "date_is_greater",
        "age_is_greater",
        "age_and_grain",
        "epoch",
    ],
)
def test_age(fields: list[Field], age: int) -> None:
    """RFC 9111 4.2.3 and 5.1."""
    assert age_ms(fields, NOW + 0.9) == age


@pytest.mark.parametrize(
    ("fields", "ttl"),
    [
        ([], None),
        ([(b"cache-control", b"public")], None),
        ([(b"cache-control", b"max-age=60")], 60_000),
        ([(b"cache-control", b"max-age=60, s-maxage=10")], 10_000),
        ([(b"cache-control", b"s-maxage=90, max-age=60")], 90_000),
        ([(b"cache-control", b"s-maxage=x, max-age=60")], 0),
        ([(b"cache-control", b"max-age=60"), (b"expires", at(5))], 60_000),
        ([(b"cache-control", b"max-age=99999999999")], YEAR),
        ([(b"expires", at(30))], 30_000),
        ([(b"expires", at(30)), (DATE, at(10))], 20_000),
        ([(b"expires", at(30)), (DATE, b"x")], 30_000),
        ([(b"expires", at(-1))], 0),
        ([(b"expires", at(0))], 0),
        ([(b"expires", b"0")], 0),
        ([(b"expires", b"-1")], 0),
        ([(b"expires", b"")], 0),
        ([(b"expires", b"9" * 100)], 0),
        ([(b"expires", at(30)), (b"expires", at(20))], 20_000),
        ([(b"expires", at(30)), (b"expires", b"0")], 0),
        ([(b"expires", b"Fri, 31 Dec 9999 23:59:59 GMT")], YEAR),
        ([(b"cdn-cache-control", b"max-age=5"), (b"cache-control", b"max-age=60")], 5_000),
        ([(b"cdn-cache-control", b"public"), (b"expires", at(30))], None),
        ([(b"cdn-cache-control", b"malformed="), (b"expires", at(30))], 30_000),
    ],
    ids=[
        "nothing",
        "no_number",
        "max_age",
        "s_maxage",
        "s_maxage_first",
        "s_maxage_malformed",
        "max_age_over_expires",
        "a_year_at_most",
        "expires",
        "expires_since_date",
        "expires_since_arrival",
        "expired",
        "expires_now",
        "expires_0",
        "expires_-1",
        "expires_empty",
        "expires_digits",
        "two_expires",
        "two_expires_one_malformed",
        "expires_last",
        "targeted",
        "targeted_silences_expires",
        "malformed_target",
    ],
)
def test_declared(fields: list[Field], ttl: int | None) -> None:
    """RFC 9111 4.2.1, RFC 9213 2.2."""
    assert declared_ms(of_response(fields), fields, NOW + 0.9) == ttl


def test_lifetimes_stay_between_0_and_a_year() -> None:
    assert [capped_ms(seconds) for seconds in (-1, 0, 1, YEAR_S, YEAR_S + 1)] == [0, 0, 1000, YEAR, YEAR]


def test_the_order_is_targeted_then_s_maxage_then_max_age_then_expires() -> None:
    fields = [
        (b"expires", at(40)),
        (b"cache-control", b"max-age=30, s-maxage=20"),
        (b"gateway-cache-control", b"max-age=10"),
    ]
    found = []
    for _ in range(2):
        found.append(declared_ms(of_response(fields), fields, NOW))
        fields.pop()
    found.append(declared_ms(cache_control(b"max-age=30"), fields, NOW))
    found.append(declared_ms(of_response(fields), fields, NOW))
    assert found == [10_000, 20_000, 30_000, 40_000]
