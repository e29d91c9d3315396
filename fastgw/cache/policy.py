"""What may be kept, for how long and for whom; and what a request asks of a cache (RFC 9111, 5861, 9213). Pure.

A response is kept only if somebody said how long: the backend (a targeted field, s-maxage, max-age, Expires), or, for
a status of 200, the operator by CACHE_ROUTES. Nothing is guessed from Last-Modified (RFC 9111 4.2.2 allows it; a GET of
this platform may hand out a job). The one exception keeps nothing that is used unasked: `no-cache` with a validator.

For whom: everybody if the request had no credentials, or if the response says `public` or `s-maxage`; else whoever
sends the same credentials (RFC 9111 3.5; storing under the identity is ours). `private` and `no-store` are not kept.

Stale: within stale-while-revalidate and stale-if-error (RFC 5861) and a request's max-stale, unless must-revalidate,
proxy-revalidate, no-cache or s-maxage forbid it (RFC 9111 4.2.4, 5.2.2.10: s-maxage implies proxy-revalidate).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from fastgw.cache.directives import MAX_REMEMBERED_BYTES, NONE, Directives, cache_control, of_response
from fastgw.cache.freshness import age_ms, capped_ms, declared_ms
from fastgw.protocol.fields import is_token

if TYPE_CHECKING:
    from fastgw.protocol.fields import Fields

STORABLE: Final = frozenset({int(status) for status in HTTPStatus if status >= 200} - {206, 304, 428, 429, 431, 511})
"""Final statuses that we understand. Not parts (206, RFC 9111 3.3), not 304, nor what RFC 6585 forbids to store."""

BY_DEFAULT: Final = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be kept without a lifetime (RFC 9110 15.1); here only for revalidation."""

MAX_VARY: Final = 16
"""Request fields that one response may depend on. Real ones name one to four; each costs a look at every request."""

_DECLARES: Final = frozenset({b"cache-control", b"expires", b"gateway-cache-control", b"cdn-cache-control"})
_FORBIDS: Final = frozenset({b"set-cookie", b"content-range"})
_VALIDATES: Final = frozenset({b"etag", b"last-modified"})
_VARIES: Final = frozenset({b"vary", b"content-encoding"})
_SPEAKS: Final = frozenset({b"cache-control", b"pragma"})
_MUST_REVALIDATE: Final = frozenset({b"must-revalidate", b"proxy-revalidate", b"no-cache", b"s-maxage"})
_OPENS: Final = frozenset({b"public", b"s-maxage"})
_SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_FINISHED: Final = frozenset({"completed", "failed", "cancelled"})

_UNKNOWABLE: Final = frozenset(
    {
        b"*",
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
    }
)
"""Vary on anything at all, or on fields that the gateway writes: the client's do not tell what the backend saw."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request asks of caches (RFC 9111 5.2.1). Times in ms; None: not asked for."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age_ms: int | None = None
    min_fresh_ms: int | None = None
    max_stale_ms: int | None = None


NO_WISHES: Final = Wishes()
"""Of most requests; may be compared by identity."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a response may be kept. Times in ms, 0 to a year.

    ttl_ms: from its making until it is stale. age_ms: how old it was on arrival. swr_ms, sie_ms: stale-while-revalidate
    and stale-if-error, after the ttl. is_shared: for everybody, else for the identity that asked. vary: the request
    fields that chose it, lower-case, sorted.
    """

    ttl_ms: int
    age_ms: int
    swr_ms: int
    sie_ms: int
    must_revalidate: bool
    is_shared: bool
    vary: tuple[bytes, ...]


def wishes(noted: Fields) -> Wishes:
    """The wishes of a request; NO_WISHES itself without Cache-Control and Pragma. 0.1 us, else about 0.5."""
    for name, _ in noted:
        if name in _SPEAKS:
            break
    else:
        return NO_WISHES
    lines = [value for name, value in noted if name == b"cache-control"]
    if not lines:  # Pragma counts only then (RFC 9111 5.4)
        lines = [value for name, value in noted if name == b"pragma" and b"no-cache" in value.lower()]
        return _wishes_of(b"no-cache") if lines else NO_WISHES
    value = b", ".join(lines)
    return _wishes_of(value) if len(value) <= MAX_REMEMBERED_BYTES else _wishes_of.__wrapped__(value)


@lru_cache(maxsize=256)
def _wishes_of(value: bytes) -> Wishes:
    said = cache_control(value)

    def ms(name: bytes) -> int | None:
        seconds = said.seconds.get(name)
        return None if seconds is None else seconds * 1000

    return Wishes(
        no_store=b"no-store" in said.names,
        no_cache=b"no-cache" in said.names,
        only_if_cached=b"only-if-cached" in said.names,
        max_age_ms=ms(b"max-age"),
        min_fresh_ms=ms(b"min-fresh"),
        max_stale_ms=ms(b"max-stale"),
    )


def lifetime(
    status: int, fields: Fields, *, has_credentials: bool, default_ttl_s: int | None, now_wall_s: float
) -> Lifetime | None:
    """How long a complete response to a GET may be kept; None if not at all.

    has_credentials: the request had any. default_ttl_s: of CACHE_ROUTES, for a 200 that declares nothing; it counts
    from arrival. now_wall_s: Unix seconds. 0.4 us for what declares nothing and is on no route, else 5 to 10.
    """
    present = dict(fields)  # of each name the last value: enough to see which are there
    if default_ttl_s is None and _DECLARES.isdisjoint(present):
        return None
    if status not in STORABLE or not _FORBIDS.isdisjoint(present) or _is_event_stream(fields):
        return None
    said = NONE if _DECLARES.isdisjoint(present) else of_response(fields)
    vary = () if _VARIES.isdisjoint(present) else _vary(fields)
    if vary is None or b"private" in said.names or _must_not_store(said):
        return None
    age = age_ms(fields, now_wall_s)
    has_validator = not _VALIDATES.isdisjoint(present)
    ttl = _ttl_ms(status, declared_ms(said, fields, now_wall_s), default_ttl_s, age)
    if b"no-cache" in said.names and (ttl is not None or status in BY_DEFAULT):
        ttl = 0
    if ttl is None:
        return None
    must_revalidate = not _MUST_REVALIDATE.isdisjoint(said.names)
    swr = 0 if must_revalidate else capped_ms(said.seconds.get(b"stale-while-revalidate", 0))
    sie = 0 if must_revalidate else capped_ms(said.seconds.get(b"stale-if-error", 0))
    if not has_validator and ttl + max(swr, sie) <= age:
        return None
    is_shared = not has_credentials or not _OPENS.isdisjoint(said.names)
    return Lifetime(ttl, age, swr, sie, must_revalidate, is_shared, vary)


def invalidates(method: bytes, status: int) -> bool:
    """Whether an answer means that what is kept of the URI is out of date: unsafe, and no error (RFC 9111 4.4)."""
    return method not in _SAFE and 200 <= status < 400


def is_finished_job(body: bytes) -> bool:
    """Whether a body is a job that will not change again: a JSON object, status completed, failed or cancelled."""
    try:
        job = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(job, dict):
        return False
    status = job.get("status")
    return isinstance(status, str) and status in _FINISHED


def _ttl_ms(status: int, declared: int | None, default_ttl_s: int | None, age: int) -> int | None:
    """The lifetime that is declared, else that of the route, which starts on arrival: our clock, not the backend's."""
    if declared is not None:
        return declared
    if default_ttl_s is None or status != 200:
        return None
    return age + capped_ms(default_ttl_s)


def _must_not_store(said: Directives) -> bool:
    """no-store; must-understand lifts it for whoever understands the status, as we do here (RFC 9111 5.2.2.3)."""
    return b"no-store" in said.names and b"must-understand" not in said.names


def _is_event_stream(fields: Fields) -> bool:
    """Whether any Content-Type says so: it has no end that is worth waiting for."""
    for name, value in fields:  # a loop: any() of a generator takes twice the time
        if name == b"content-type" and value.lstrip()[:17].lower() == b"text/event-stream":
            return True
    return False


def _vary(fields: Fields) -> tuple[bytes, ...] | None:
    """The request fields that the response depends on (RFC 9111 4.1); None if they can't be known.

    A coded body depends on Accept-Encoding, said or not: without this, a backend that forgets to say so has its gzip
    sent to clients that can't read it.
    """
    names: set[bytes] = set()
    for name, value in fields:
        if name == b"vary":
            names.update(word.strip().lower() for word in value.split(b","))
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            names.add(b"accept-encoding")
    names.discard(b"")
    if len(names) > MAX_VARY or not names.isdisjoint(_UNKNOWABLE) or not all(is_token(name) for name in names):
        return None
    return tuple(sorted(names))
