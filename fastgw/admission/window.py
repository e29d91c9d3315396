"""What a client is told about its window. Pure.

X-RateLimit-Limit, -Remaining and -Reset (Unix seconds at which the oldest counted request leaves the window, and with
it at least one more is allowed), and RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastgw.admission.rules import Limit

FieldTuple = tuple[tuple[bytes, bytes], ...]


def limit_fields(limit: Limit, count: int, wait_us: int, now_us: int) -> FieldTuple:
    """The five fields. count: requests in the window. wait_us: until its oldest leaves. now_us: since the epoch."""
    left = limit.requests - count
    remaining = b"%d" % (left if left > 0 else 0)  # noqa: FURB136 - max() takes 0.1 us more
    top, policy = limit.fields
    return (
        top,
        (b"x-ratelimit-remaining", remaining),
        (b"x-ratelimit-reset", b"%d" % -(-(now_us + wait_us) // 1_000_000)),
        policy,
        (b"ratelimit", b'"%b";r=%b;t=%d' % (limit.name, remaining, seconds_of(wait_us))),
    )


def seconds_of(wait_us: int) -> int:
    """A wait in whole seconds, rounded up, at least one: who comes back then is not early (RFC 9110 10.2.3)."""
    return max(1, -(-wait_us // 1_000_000))
