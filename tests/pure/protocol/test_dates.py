"""HTTP dates: three forms, and nothing else."""

from __future__ import annotations

import pytest

from fastgw.protocol.dates import http_date

MOMENT = 784111777  # the RFC's own example


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", MOMENT),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", MOMENT),
        (b"Sun Nov  6 08:49:37 1994", MOMENT),
        (b"Wed, 09 Nov 1994 08:49:37 GMT", MOMENT + 3 * 86_400),
        (b"Wednesday, 09-Nov-94 08:49:37 GMT", MOMENT + 3 * 86_400),
        (b"Mon, 06 Nov 1994 08:49:37 GMT", MOMENT),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Thu, 31 Dec 2026 23:59:60 GMT", 1798761599),
        (b"Thursday, 01-Jan-26 00:00:00 GMT", 1767225600),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        (b"Mon, 01 Jan 0001 00:00:00 GMT", -62135596800),
    ],
    ids=[
        "fixdate",
        "rfc850",
        "asctime",
        "long",
        "longest",
        "wrong_day",
        "epoch",
        "leap",
        "this_century",
        "last",
        "first",
    ],
)
def test_dates(text: bytes, moment: int) -> None:
    assert http_date(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"-1",
        b"784111777",
        b"1994-11-06T08:49:37Z",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Sun, 30 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:00 GMT",
        b" Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT\n",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        b"S\xfcn, 06 Nov 1994 08:49:37 GMT",
        b"9" * 100_000,
    ],
    ids=lambda text: repr(text[:60]),
)
def test_no_dates(text: bytes) -> None:
    assert http_date(text) is None
