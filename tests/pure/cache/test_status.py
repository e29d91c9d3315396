"""What a response says of the cache."""

from __future__ import annotations

import pytest

from fastgw.cache.status import BYPASS, HIT, MISS, REASONS, STALE, cache_fields


@pytest.mark.parametrize(
    ("fields", "state", "status"),
    [
        (cache_fields(HIT, ttl_s=12), HIT, b"fastgw; hit; ttl=12"),
        (cache_fields(HIT), HIT, b"fastgw; hit"),
        (cache_fields(STALE, ttl_s=-3), STALE, b"fastgw; hit; ttl=-3"),
        (cache_fields(MISS), MISS, b"fastgw; fwd=uri-miss"),
        (cache_fields(MISS, stored=True), MISS, b"fastgw; fwd=uri-miss; stored"),
        (cache_fields(MISS, stored=True, ttl_s=60), MISS, b"fastgw; fwd=uri-miss; ttl=60; stored"),
        (cache_fields(MISS, fwd=b"vary-miss"), MISS, b"fastgw; fwd=vary-miss"),
        (cache_fields(MISS, detail=b"vary-miss"), MISS, b"fastgw; fwd=vary-miss"),
        (cache_fields(MISS, fwd=b"stale", stored=True), MISS, b"fastgw; fwd=stale; stored"),
        (cache_fields(HIT, fwd=b"stale", ttl_s=9), HIT, b"fastgw; fwd=stale; fwd-status=304; ttl=9"),
        (cache_fields(STALE, fwd=b"stale", ttl_s=-9), STALE, b"fastgw; fwd=stale; ttl=-9"),
        (cache_fields(HIT, collapsed=True, ttl_s=9), HIT, b"fastgw; fwd=uri-miss; ttl=9; collapsed"),
        (cache_fields(MISS, fwd=b"stale", collapsed=True), MISS, b"fastgw; fwd=stale; collapsed"),
        (cache_fields(BYPASS), BYPASS, b"fastgw; fwd=bypass"),
        (cache_fields(BYPASS, fwd=b"method"), BYPASS, b"fastgw; fwd=method"),
        (cache_fields(BYPASS, detail=b"request"), BYPASS, b"fastgw; fwd=request"),
        (cache_fields(BYPASS, detail=b"redis-down"), BYPASS, b"fastgw; fwd=bypass; detail=redis-down"),
        (cache_fields(BYPASS, detail=b"Redis is away"), BYPASS, b'fastgw; fwd=bypass; detail="Redis is away"'),
        (cache_fields(BYPASS, detail=b"1st"), BYPASS, b'fastgw; fwd=bypass; detail="1st"'),
        (cache_fields(BYPASS, fwd=b"request", detail=b"stale"), BYPASS, b"fastgw; fwd=request; detail=stale"),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "fields",
)
def test_fields(fields: tuple[tuple[bytes, bytes], ...], state: bytes, status: bytes) -> None:
    """RFC 9211 2."""
    assert fields == ((b"x-gateway-cache", state), (b"cache-status", status))


def test_the_reasons_are_the_registered_ones() -> None:
    registered = {b"bypass", b"method", b"uri-miss", b"vary-miss", b"miss", b"request", b"stale", b"partial"}
    assert registered == REASONS


def test_what_was_asked_before_is_the_same_object() -> None:
    assert cache_fields(HIT, ttl_s=7) is cache_fields(HIT, ttl_s=7)
