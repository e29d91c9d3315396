"""An entry as an answer: its age, what the cache did, 304 where the client has it."""

from __future__ import annotations

from fastgw.cache.local import Copy
from fastgw.cache.serve import STALE, VALIDATED, entry_answer, hit_answer
from fastgw.exchange import End
from tests.pure.asgi import HOST, accepted, exchange
from tests.pure.cache.test_local import entry


def test_a_plain_hit_tells_its_age_and_is_made_once_a_second() -> None:
    copy = Copy(entry(ttl_ms=60_000, age_ms=2_000))
    first, second, later = (hit_answer(copy, now) for now in (1_000, 1_900, 2_000))
    assert dict(first.fields)[b"age"] == b"3"
    assert dict(first.fields)[b"x-gateway-cache"] == b"HIT"
    assert dict(first.fields)[b"cache-status"] == b"fastgw; hit; ttl=57"
    assert first.fields is second.fields
    assert dict(later.fields)[b"age"] == b"4"
    assert first.end is End.CACHED


def test_states() -> None:
    copy = Copy(entry())
    for how, word in ((STALE, b"STALE"), (VALIDATED, b"HIT")):
        x = accepted(exchange(HOST))
        entry_answer(x, copy, 0, how)
        assert dict(x.cache_fields)[b"x-gateway-cache"] == word


def test_a_client_that_has_it_gets_no_body() -> None:
    copy = Copy(entry(b"hello", fields=[(b"etag", b'"1"'), (b"content-type", b"text/plain")]))
    answer = entry_answer(accepted(exchange(HOST, (b"if-none-match", b'"1"'))), copy, 0)
    assert (answer.status, answer.body) == (304, b"")
    assert {b"etag", b"age"} <= dict(answer.fields).keys()
    assert not {b"content-length", b"content-type"} & dict(answer.fields).keys()
