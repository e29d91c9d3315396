"""An entry -> the answer: with its age, what the cache did, and 304 where the client has it already. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.cache.conditional import is_not_modified
from fastgw.cache.status import cache_fields
from fastgw.exchange import End
from fastgw.respond import Answer

if TYPE_CHECKING:
    from fastgw.cache.local import Copy
    from fastgw.exchange import Exchange

# X-Gateway-Cache, and why the backend was asked (RFC 9211 2.2); b"" if it was not
HIT: Final = (b"HIT", b"")
VALIDATED: Final = (b"HIT", b"stale")
STALE: Final = (b"STALE", b"")
STALE_ON_ERROR: Final = (b"STALE", b"stale")

NOT_IN_304: Final = frozenset({b"content-length", b"content-type", b"content-encoding", b"content-range"})
"""A 304 has no representation to describe (RFC 9110 15.4.5)."""


def hit_answer(copy: Copy, now_ms: int) -> Answer:
    """The answer to a plain request with a fresh entry, X-Gateway-Cache and Cache-Status among its fields."""
    entry = copy.entry
    age_s = entry.age_ms_at(now_ms) // 1000
    if copy.age_s != age_s:
        copy.age_s = age_s
        ttl_s = entry.ttl_ms // 1000 - age_s
        copy.rendered = [*copy.fields, (b"age", b"%d" % age_s), *cache_fields(b"HIT", ttl_s=ttl_s)]
    return Answer(entry.status, entry.body, copy.rendered, End.CACHED)


def entry_answer(
    x: Exchange, copy: Copy, now_ms: int, how: tuple[bytes, bytes] = HIT, *, collapsed: bool = False
) -> Answer:
    """Answer a request with an entry. Sets x.cache_fields. collapsed: another request fetched it meanwhile."""
    entry = copy.entry
    age_ms = entry.age_ms_at(now_ms)
    state, fwd = how
    x.cache_fields = cache_fields(state, ttl_s=(entry.ttl_ms - age_ms) // 1000, collapsed=collapsed, fwd=fwd)
    fields = [*copy.fields, (b"age", b"%d" % (age_ms // 1000))]
    if x.noted and is_not_modified(x.noted, entry):
        return Answer(304, b"", [field for field in fields if field[0] not in NOT_IN_304], End.CACHED)
    return Answer(entry.status, entry.body, fields, End.CACHED)
