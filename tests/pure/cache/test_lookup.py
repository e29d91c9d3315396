"""What is looked up for a request, and what the replies mean."""

from __future__ import annotations

from time import monotonic

import pytest

from fastgw.cache.entry import Marker, encode, new_version
from fastgw.cache.local import LocalCopies
from fastgw.cache.lookup import (
    BY_METHOD,
    BY_REQUEST,
    BYPASS,
    MAX_REMEMBERED_ORIGIN,
    MISS,
    ORIGIN_ONLY,
    Lookup,
    Names,
)
from fastgw.store.keys import Keys
from tests.pure.asgi import HOST, accepted, exchange
from tests.pure.cache.test_local import entry


@pytest.fixture
def lookup() -> Lookup:
    return Lookup(Keys(), LocalCopies(), b"me")


def asked(*fields: tuple[bytes, bytes], target: bytes = b"/regions", **scope):
    return accepted(exchange(HOST, *fields, target=target, **scope))


def test_a_first_get_claims_the_lease(lookup) -> None:
    ask = lookup(asked())
    assert ask is not None
    keys, names, words = ask.parts
    assert keys == 2
    assert b"gateway:cache:{" in names
    assert b"gateway:lease:cache:{" in names
    assert b"me.1" in words
    assert ask.is_claim
    assert not ask.was_claimed or ask.base_reply == 0


@pytest.mark.parametrize(
    ("fields", "scope", "said"),
    [
        ([], {"target": b"/api/v1/workers/w/next-job"}, BYPASS),
        ([], {"method": "POST"}, BY_METHOD),
        ([(b"range", b"bytes=0-1")], {}, BY_REQUEST),
        ([(b"if-match", b'"x"')], {}, BY_REQUEST),
    ],
)
def test_what_is_not_looked_up(lookup, fields, scope, said) -> None:
    x = asked(*fields, **scope)
    assert lookup(x) is None
    assert x.cache_fields == said


def test_paths_of_other_steps_are_left_alone(lookup) -> None:
    lookup.own = frozenset({b"/api/v1/workers"})
    x = asked(target=b"/api/v1/workers")
    assert lookup(x) is None
    assert x.cache_fields == BYPASS


def test_a_get_with_a_body_is_the_backends(lookup) -> None:
    x = asked((b"content-length", b"2"))
    assert lookup(x) is None
    assert x.cache_fields == BY_REQUEST


def test_what_a_trusted_proxy_says_of_host_and_scheme_is_in_the_name(lookup) -> None:
    def base(trusted: bool, *fields: tuple[bytes, bytes]) -> bytes:
        x = asked(*fields)
        x.is_peer_trusted = trusted
        return lookup.names_of(x).base

    stated = ((b"x-forwarded-host", b"evil"), (b"x-forwarded-proto", b"https"))
    assert base(False, *stated) == base(False)
    assert len({base(True), base(True, stated[0]), base(True, stated[1]), base(True, *stated)}) == 4


def test_a_websocket_is_left_alone(lookup) -> None:
    x = asked()
    del x.scope["method"]
    assert lookup(x) is None


def test_what_was_not_storable_is_not_looked_up_for_a_while(lookup) -> None:
    x = asked()
    lookup.names_of(x).note_pass(b"")
    assert lookup(x) is None
    assert x.cache_fields == MISS
    assert lookup(asked((b"x-api-key", b"k"))) is not None, "another identity's response may be storable"
    lookup.names_of(x).passes[b""] = monotonic() - 1
    assert lookup(asked()) is not None


@pytest.mark.parametrize("field", [(b"if-none-match", b'"x"'), (b"cache-control", b"no-cache")])
def test_who_asks_for_itself_alone_claims_nothing(lookup, field) -> None:
    ask = lookup(asked(field))
    assert ask is not None
    assert not ask.is_claim
    assert ask.parts[0] == 1


def test_a_copy_is_offered_and_its_call_made_once(lookup) -> None:
    x = asked()
    held = lookup._local.put(lookup.names_of(x).base, entry())
    first, second = lookup(x), lookup(asked())
    assert first is not None
    assert second is not None
    assert first.parts is second.parts
    assert held.stamp in first.parts[2]
    assert not first.is_claim


def test_an_entry_that_comes_is_held(lookup) -> None:
    ask = lookup(asked())
    assert ask is not None
    ask.take(encode(entry(b"hello")), 0, 0)
    assert lookup.read(ask)
    assert ask.copy is not None
    assert ask.copy.entry.body == b"hello"
    assert len(lookup._local) == 1


def test_a_new_marker_asks_again_for_the_variant(lookup) -> None:
    x = asked((b"accept-language", b"de"))
    ask = lookup(x)
    assert ask is not None
    ask.take(encode(Marker(new_version(), (b"accept-language",), False, 1000)), 0, 0)
    assert not lookup.read(ask)
    lookup.aim(x, ask)
    assert ask.parts[0] == 3
    assert ask.name.startswith(ask.names.base)
    assert len(ask.name) == len(ask.names.base) + 16


def test_what_is_gone_is_forgotten(lookup) -> None:
    x = asked()
    lookup._local.put(lookup.names_of(x).base, entry())
    ask = lookup(x)
    assert ask is not None
    ask.take(0, 0, 0)
    assert lookup.read(ask)
    assert ask.copy is None
    assert len(lookup._local) == 0


@pytest.mark.parametrize("value", [b"not json", b'{"v":"0000000000000000"}'])
def test_what_others_wrote_is_nothing(lookup, value) -> None:
    ask = lookup(asked())
    assert ask is not None
    ask.take(value, 0, 0)
    assert lookup.read(ask)
    assert ask.copy is None
    assert not ask.was_claimed


def test_an_entry_for_nobody_is_not_for_somebody(lookup) -> None:
    for is_shared in (True, False):
        ask = lookup(asked((b"x-api-key", b"k")))
        assert ask is not None
        ask.take(encode(entry(is_shared=is_shared)), 0, 0)
        assert lookup.read(ask)
        assert (ask.copy is not None) is is_shared


def by_origin() -> tuple[Names, Marker]:
    names = Names(b"{base}", Keys(), is_never=False)
    marker = Marker(new_version(), ORIGIN_ONLY, by_identity=False, lifetime_ms=1000)
    names.use(marker)
    return names, marker


def test_two_origins_in_one_request_are_no_variant_of_the_first() -> None:
    """Else whoever sends both would fill what the pages of the first are given."""
    names, marker = by_origin()
    a, b = (b"origin", b"https://a.example"), (b"origin", b"https://b.example")
    alone, both = names.variant(marker, [a], b""), names.variant(marker, [a, b], b"")
    assert alone != both
    assert names.variant(marker, [a, b], b"") == both
    assert names.variant(marker, [a], b"") == alone
    assert len({alone, both, names.variant(marker, [b], b""), names.variant(marker, [], b"")}) == 4


def test_a_long_origin_is_not_remembered() -> None:
    names, marker = by_origin()
    usual = [(b"origin", b"https://a.example")]
    long = [(b"origin", b"https://" + b"a" * MAX_REMEMBERED_ORIGIN)]
    assert names.variant(marker, usual, b"") == names.variant(marker, usual, b"")
    assert names.variant(marker, long, b"") == names.variant(marker, long, b"")
    assert list(names.variants) == [(b"", b"https://a.example")]
