"""What a log line shows of a request's target."""

from __future__ import annotations

import time

import pytest

from fastgw.telemetry.redact import MAX_TARGET_BYTES, query_of, target


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"", b""),
        (b"a=1&b=2", b"a=1&b=2"),
        (b"token=hush", b"token=***"),
        (b"a=1&access_token=hush&b=2", b"a=1&access_token=***&b=2"),
        (b"API_KEY=hush", b"API_KEY=***"),
        (b"apikey=hush;x=1", b"apikey=***;x=1"),
        (b"X-Amz-Signature=hush&X-Amz-Credential=hush", b"X-Amz-Signature=***&X-Amz-Credential=***"),
        (b"password=hush%26hush", b"password=***"),
        (b"client_secret=a=b=c", b"client_secret=***"),
        (b"token=&a=1", b"token=&a=1"),
        (b"auth=hush", b"auth=***"),
        (b"sessionid=hush", b"sessionid=***"),
        (b"code=hush&state=x", b"code=***&state=x"),
        (b"page=2&region=us-west", b"page=2&region=us-west"),
        (b"token", b"token"),
        (b"%74oken=hush", b"%74oken=***"),
        (b"&&;token=a=b;;x", b"&&;token=***;;x"),
    ],
)
def test_secrets_are_masked(query: bytes, shown: bytes) -> None:
    assert query_of(query) == shown


@pytest.mark.parametrize("query", [b"key", b"token", b"&", b"a=1&", b"key=", b"%74", b"=", b"sig;"])
def test_a_long_query_costs_no_more_than_its_length(query: bytes) -> None:
    """It is looked at in the event loop, and a client may send 64 KiB of anything."""
    long = query * (60_000 // len(query))
    begun = time.process_time()
    for _ in range(20):
        target(b"/x", long)
    assert (time.process_time() - begun) / 20 < 0.02


def test_a_target_is_printable_ascii_and_bounded() -> None:
    assert target(b"/a\x1b[31m\xff\n", b"") == "/a%1B[31m%FF%0A"
    assert target(b"/x", b"token=hush\r\n{}") == "/x?token=***"
    long = target(b"/" + b"a" * 100_000, b"b=" + b"c" * 100_000)
    assert len(long) == MAX_TARGET_BYTES + 3
    assert target(b"/" + b"\xff" * 100_000, b"").isascii()
