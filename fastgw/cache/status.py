"""What a response says of the cache: X-Gateway-Cache, one word for people, and Cache-Status (RFC 9211). Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from fastgw.protocol.structured import string

HIT: Final = b"HIT"
MISS: Final = b"MISS"
BYPASS: Final = b"BYPASS"
STALE: Final = b"STALE"

REASONS: Final = frozenset({b"bypass", b"method", b"uri-miss", b"vary-miss", b"miss", b"request", b"stale", b"partial"})
"""Why a request went on to the backend (RFC 9211 2.2)."""

MAX_REMEMBERED: Final = 1024
"""Pairs that are kept; about 400 bytes each. There are under fifty without a ttl, and most ttls are short."""

_TOKEN: Final = re.compile(rb"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
"""RFC 9651 3.3.4; anything else is written as a string."""

_FORWARDED: Final = {MISS: b"uri-miss", BYPASS: b"bypass"}
"""What a state means unless `fwd` says it."""

CacheFields = tuple[tuple[bytes, bytes], ...]


def cache_fields(
    state: bytes,
    *,
    ttl_s: int | None = None,
    stored: bool = False,
    detail: bytes = b"",
    collapsed: bool = False,
    fwd: bytes = b"",
) -> CacheFields:
    """Both fields. 0.25 us for what was asked before: the pairs are kept.

    state: HIT, MISS, BYPASS or STALE. ttl_s: seconds of freshness left, negative for stale. stored: the response was.
    collapsed: it was fetched for another request. fwd: one of REASONS, why the backend was asked; without it MISS is
    uri-miss, BYPASS is bypass, HIT and STALE are hits. A HIT with `stale` was validated by a 304. detail: for people;
    one of REASONS is taken for fwd.
    """
    return _made(state, ttl_s, stored, detail, collapsed, fwd)


@lru_cache(maxsize=MAX_REMEMBERED)
def _made(state: bytes, ttl_s: int | None, stored: bool, detail: bytes, collapsed: bool, fwd: bytes) -> CacheFields:
    if not fwd and detail in REASONS:
        fwd, detail = detail, b""
    # a request that waited for another's fetch was a miss as RFC 9211 2.6 sees it, though it found what it waited for
    fwd = fwd or (b"uri-miss" if collapsed else _FORWARDED.get(state, b""))
    parts = [b"fastgw", b"fwd=" + fwd if fwd else b"hit"]
    if state == HIT and fwd == b"stale" and not collapsed:
        parts.append(b"fwd-status=304")
    if ttl_s is not None:
        parts.append(b"ttl=%d" % ttl_s)
    if stored:
        parts.append(b"stored")
    if collapsed:
        parts.append(b"collapsed")
    if detail:
        parts.append(b"detail=" + (detail if _TOKEN.fullmatch(detail) else string(detail)))
    return (b"x-gateway-cache", state), (b"cache-status", b"; ".join(parts))
