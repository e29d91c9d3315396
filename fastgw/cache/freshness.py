"""How old is a response, and for how long is it fresh (RFC 9111 4.2)? Pure; times of the clock on the wall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.protocol.dates import http_date
from fastgw.protocol.fields import first

if TYPE_CHECKING:
    from fastgw.cache.directives import Directives
    from fastgw.protocol.fields import Fields

YEAR_S: Final = 365 * 24 * 3600
"""The longest lifetime that is believed: what RFC 2616 14.21 allowed, and what `immutable` files are given."""

DATE_GRAIN_S: Final = 2
"""A Date up to this much behind our clock says nothing of age: it has whole seconds, and uvicorn makes it once a
second. Counting it would make a max-age of 1 or 2 stale on arrival."""


def capped_ms(seconds: int) -> int:
    """Seconds as milliseconds, 0 to a year."""
    return max(0, min(seconds, YEAR_S)) * 1000


def age_ms(fields: Fields, now_wall_s: float) -> int:
    """The age on arrival, ms: the greater of Age and of what Date tells (RFC 9111 4.2.3, corrected_initial_age).

    The response delay is not added: a backend that works for a minute answers with what it knows at the end.
    """
    age_s = _age_field_s(fields)
    date_s = _date_s(fields)
    if date_s is not None:
        apparent_s = int(now_wall_s) - date_s
        if apparent_s > DATE_GRAIN_S:
            age_s = max(age_s, apparent_s)
    return capped_ms(age_s)


def declared_ms(said: Directives, fields: Fields, now_wall_s: float) -> int | None:
    """The freshness lifetime that the backend declares, ms, 0 to a year; None if it declares none (RFC 9111 4.2.1).

    s-maxage, else max-age, else Expires, which a targeted field silences (RFC 9213 2.2).
    """
    for name in (b"s-maxage", b"max-age"):
        if name in said.seconds:
            return capped_ms(said.seconds[name])
    if said.is_targeted:
        return None
    lines = [value for name, value in fields if name == b"expires"]
    if not lines:
        return None
    date_s = _date_s(fields)
    since_s = int(now_wall_s) if date_s is None else date_s
    until_s = [http_date(line) for line in lines]
    # no date at all, as in the common `Expires: 0`, lies in the past (RFC 9111 5.3)
    return capped_ms(min(since_s if moment is None else moment for moment in until_s) - since_s)


def _age_field_s(fields: Fields) -> int:
    """Age: the first member of the first line, and 0 if that is no number (RFC 9111 5.1)."""
    value = first(fields, b"age")
    if value is None:
        return 0
    digits = value.partition(b",")[0].strip()
    if not digits.isdigit():
        return 0
    return YEAR_S if len(digits) > 10 else int(digits)


def _date_s(fields: Fields) -> int | None:
    value = first(fields, b"date")
    return None if value is None else http_date(value)
