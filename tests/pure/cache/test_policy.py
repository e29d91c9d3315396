"""What may be kept, for how long and for whom."""

from __future__ import annotations

import pytest

from fastgw.cache.freshness import YEAR_S
from fastgw.cache.policy import (
    MAX_VARY,
    NO_WISHES,
    STORABLE,
    Lifetime,
    Wishes,
    invalidates,
    is_finished_job,
    lifetime,
    wishes,
)

NOW = 1700049600  # Wed, 15 Nov 2023 12:00:00 GMT
Field = tuple[bytes, bytes]
CC = b"cache-control"
ETAG = (b"etag", b'"a"')
LAST_MODIFIED = (b"last-modified", b"Wed, 15 Nov 2023 11:00:00 GMT")
JSON = (b"content-type", b"application/json")


def kept(*fields: Field, status: int = 200, credentials: bool = False, default: int | None = None) -> Lifetime | None:
    return lifetime(status, list(fields), has_credentials=credentials, default_ttl_s=default, now_wall_s=NOW)


def cc(value: bytes, *fields: Field, **how: object) -> Lifetime | None:
    return kept(JSON, (CC, value), *fields, **how)  # type: ignore[arg-type]


# -- may it be stored -------------------------------------------------------------------------------------


def test_what_declares_nothing_is_not_kept() -> None:
    """Nothing is guessed: a Last-Modified of last year makes nothing fresh."""
    assert kept(JSON) is None
    assert kept(JSON, ETAG, LAST_MODIFIED) is None
    assert cc(b"public", ETAG) is None
    assert cc(b"must-revalidate") is None
    assert cc(b"stale-while-revalidate=60") is None


def test_what_is_declared_is_kept() -> None:
    assert cc(b"max-age=60") == Lifetime(60_000, 0, 0, 0, must_revalidate=False, is_shared=True, vary=())


@pytest.mark.parametrize(
    "fields",
    [
        [(CC, b"no-store, max-age=60")],
        [(CC, b"max-age=60"), (CC, b"No-Store")],
        [(CC, b"private, max-age=60")],
        [(CC, b'private="set-cookie", max-age=60')],
        [(CC, b"public, private, max-age=60")],
        [(CC, b"max-age=60; private")],
        [(CC, b"max-age=60"), (b"set-cookie", b"a=b")],
        [(CC, b"public, max-age=60"), (b"set-cookie", b"")],
        [(CC, b"max-age=60"), (b"vary", b"*")],
        [(CC, b"max-age=60"), (b"vary", b"accept, *")],
        [(CC, b"max-age=60"), (b"vary", b"accept"), (b"vary", b"*")],
        [(CC, b"max-age=60"), (b"vary", b"not a token")],
        [(CC, b"max-age=60"), (b"vary", b"x-request-id")],
        [(CC, b"max-age=60"), (b"vary", b"X-Forwarded-For")],
        [(CC, b"max-age=60"), (b"vary", b", ".join(b"x-%d" % number for number in range(MAX_VARY + 1)))],
        [(CC, b"max-age=60"), (b"content-range", b"bytes 0-4/10")],
        [(CC, b"max-age=60"), (b"content-type", b"text/event-stream")],
        [(CC, b"max-age=60"), (b"content-type", b" Text/Event-Stream; charset=utf-8")],
        [(CC, b"max-age=60"), (b"content-type", b"text/event-stream"), JSON],
        [(CC, b"max-age=0")],
        [(CC, b"max-age=abc")],
        [(CC, b"max-age=60"), (b"age", b"60")],
        [(CC, b"max-age=60, stale-while-revalidate=30"), (b"age", b"90")],
        [(CC, b"no-cache")],
        [(CC, b"no-cache, max-age=60")],
        [(b"expires", b"0")],
        [(b"cdn-cache-control", b"no-store"), (CC, b"max-age=60")],
        [(b"cdn-cache-control", b"private"), (CC, b"max-age=60")],
        [(b"cdn-cache-control", b"public"), (CC, b"max-age=60")],
    ],
    ids=lambda fields: b" ".join(b": ".join(one) for one in fields).decode("latin-1")[:80],
)
def test_what_must_not_or_need_not_be_kept(fields: list[Field]) -> None:
    assert kept(*fields) is None
    assert kept(*fields, credentials=True) is None


@pytest.mark.parametrize(
    "fields",
    [
        [(CC, b"no-store")],
        [(CC, b"private")],
        [(b"set-cookie", b"a=b")],
        [(b"vary", b"*")],
        [(b"content-type", b"text/event-stream")],
        [(b"content-range", b"bytes 0-4/10")],
        [(CC, b"no-cache")],
        [(CC, b"max-age=0")],
        [(b"expires", b"-1")],
        [(b"gateway-cache-control", b"no-store")],
    ],
    ids=lambda fields: b": ".join(fields[0]).decode(),
)
def test_a_route_of_ours_keeps_nothing_that_the_backend_forbids(fields: list[Field]) -> None:
    assert kept(*fields, default=10) is None


@pytest.mark.parametrize("status", [100, 101, 103, 199, 206, 299, 304, 428, 429, 431, 511, 599, 600, 999])
def test_statuses_that_are_never_kept(status: int) -> None:
    assert cc(b"max-age=60", ETAG, status=status) is None
    assert status not in STORABLE


@pytest.mark.parametrize("status", [200, 203, 204, 301, 302, 307, 308, 404, 410, 500, 503])
def test_other_final_statuses_are_kept_if_that_is_declared(status: int) -> None:
    assert cc(b"max-age=60", status=status) is not None


@pytest.mark.parametrize("status", [201, 204, 301, 404, 500])
def test_a_route_of_ours_keeps_only_a_200(status: int) -> None:
    assert kept(JSON, default=10) is not None
    assert kept(JSON, default=10, status=status) is None


def test_must_understand_lifts_no_store() -> None:
    """RFC 9111 5.2.2.3: for whoever understands the status."""
    assert cc(b"must-understand, no-store, max-age=60") is not None
    assert cc(b"must-understand, no-store, max-age=60", status=299) is None
    assert cc(b"must-understand, max-age=60", status=206) is None


# -- for how long -----------------------------------------------------------------------------------------


def test_the_route_s_ttl_counts_from_arrival() -> None:
    """The backend's clock has no say in it."""
    late = (b"date", b"Wed, 15 Nov 2023 11:59:00 GMT")
    found = kept(JSON, late, default=10)
    assert found is not None
    assert (found.ttl_ms, found.age_ms) == (70_000, 60_000)
    assert kept(JSON, default=10) == Lifetime(10_000, 0, 0, 0, must_revalidate=False, is_shared=True, vary=())


def test_what_is_declared_wins_over_the_route() -> None:
    found = cc(b"max-age=3", default=10)
    assert found is not None
    assert found.ttl_ms == 3_000


def test_no_cache_is_kept_only_to_be_revalidated() -> None:
    for validator in (ETAG, LAST_MODIFIED):
        found = cc(b"no-cache, max-age=60, stale-if-error=60", validator)
        assert found == Lifetime(0, 0, 0, 0, must_revalidate=True, is_shared=True, vary=())
    assert cc(b"no-cache", ETAG) is not None
    assert cc(b"no-cache", ETAG, default=10) == cc(b"no-cache", ETAG)
    assert cc(b'no-cache="x-a"', ETAG) is not None
    assert cc(b"no-cache", ETAG, status=302) is None, "302 is not kept without a lifetime (RFC 9110 15.1)"


def test_what_is_stale_at_once_is_kept_for_its_validator_or_its_windows() -> None:
    assert cc(b"max-age=0", ETAG) is not None
    assert cc(b"max-age=0, stale-while-revalidate=5") is not None
    assert cc(b"max-age=0, stale-if-error=5") is not None
    assert cc(b"max-age=10, stale-if-error=5", (b"age", b"12")) is not None
    assert cc(b"max-age=10, stale-if-error=5", (b"age", b"15")) is None


@pytest.mark.parametrize(
    ("value", "swr", "sie", "must"),
    [
        (b"max-age=60, stale-while-revalidate=30", 30_000, 0, False),
        (b"max-age=60, stale-if-error=90", 0, 90_000, False),
        (b"max-age=60, stale-while-revalidate=30, stale-if-error=90", 30_000, 90_000, False),
        (b"max-age=60, stale-while-revalidate=x, stale-if-error=", 0, 0, False),
        (b"max-age=60, stale-while-revalidate=30, must-revalidate", 0, 0, True),
        (b"max-age=60, stale-if-error=30, proxy-revalidate", 0, 0, True),
        (b"s-maxage=60, stale-while-revalidate=30", 0, 0, True),
        (b"max-age=60, stale-while-revalidate=30; must-revalidate", 0, 0, True),
        (b"max-age=60, stale-if-error=99999999999", 0, YEAR_S * 1000, False),
    ],
    ids=["swr", "sie", "both", "malformed", "must", "proxy", "s_maxage", "semicolon", "a_year_at_most"],
)
def test_stale_windows(value: bytes, swr: int, sie: int, must: bool) -> None:
    """RFC 5861; RFC 9111 5.2.2.2, 5.2.2.8, 5.2.2.10."""
    found = cc(value, ETAG)
    assert found is not None
    assert (found.swr_ms, found.sie_ms, found.must_revalidate) == (swr, sie, must)


# -- for whom ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "is_shared"),
    [
        (b"max-age=60", False),
        (b"max-age=60, public", True),
        (b"s-maxage=60", True),
        (b"max-age=60, must-revalidate", False),
        (b"max-age=60, s-maxage=x", False),
        (b"max-age=60; public", False),
        (b'max-age=60, x="public"', False),
    ],
    ids=repr,
)
def test_a_response_to_credentials_is_for_others_only_if_it_says_so(value: bytes, is_shared: bool) -> None:
    """RFC 9111 3.5."""
    found = cc(value, ETAG, credentials=True)
    assert found is not None
    assert found.is_shared is is_shared
    found = cc(value, ETAG, credentials=False)
    assert found is not None
    assert found.is_shared


def test_a_targeted_field_is_heard_alone() -> None:
    """`public` in Cache-Control opens nothing when CDN-Cache-Control is there (RFC 9213 2.2)."""
    target = (b"cdn-cache-control", b"max-age=60")
    found = cc(b"public, max-age=5", target, credentials=True)
    assert found is not None
    assert (found.ttl_ms, found.is_shared) == (60_000, False)


def test_a_route_of_ours_opens_nothing() -> None:
    found = kept(JSON, default=10, credentials=True)
    assert found is not None
    assert not found.is_shared


@pytest.mark.parametrize(
    ("fields", "vary"),
    [
        ([(b"vary", b"Accept-Language")], (b"accept-language",)),
        ([(b"vary", b"Origin, Accept ,,accept")], (b"accept", b"origin")),
        ([(b"vary", b"b"), (b"vary", b"A")], (b"a", b"b")),
        ([(b"vary", b"")], ()),
        ([(b"content-encoding", b"gzip")], (b"accept-encoding",)),
        ([(b"content-encoding", b"Identity")], ()),
        ([(b"content-encoding", b"br"), (b"vary", b"Accept-Encoding, Origin")], (b"accept-encoding", b"origin")),
    ],
    ids=["one", "list", "lines", "empty", "coded", "not_coded", "both"],
)
def test_vary(fields: list[Field], vary: tuple[bytes, ...]) -> None:
    found = cc(b"max-age=60", *fields)
    assert found is not None
    assert found.vary == vary


# -- what a request asks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ([(CC, b"no-store")], Wishes(no_store=True)),
        ([(CC, b"no-cache")], Wishes(no_cache=True)),
        ([(CC, b"only-if-cached, max-stale")], Wishes(only_if_cached=True, max_stale_ms=2**31 * 1000)),
        ([(CC, b"max-age=0")], Wishes(max_age_ms=0)),
        ([(CC, b"max-age=5"), (CC, b"min-fresh=7, max-stale=9")], Wishes(False, False, False, 5000, 7000, 9000)),
        ([(CC, b"max-age=abc")], Wishes(max_age_ms=0)),
        ([(CC, b"max-stale=abc")], Wishes(max_stale_ms=0)),
        ([(b"pragma", b"no-cache")], Wishes(no_cache=True)),
        ([(b"pragma", b"No-Cache, x")], Wishes(no_cache=True)),
        ([(b"pragma", b"no-cache"), (CC, b"max-age=5")], Wishes(max_age_ms=5000)),
        ([(CC, b"x=" + b"y" * 1000 + b", no-cache")], Wishes(no_cache=True)),
    ],
    ids=[
        "no_store",
        "no_cache",
        "only_if_cached",
        "reload",
        "numbers",
        "max_age_malformed",
        "max_stale_malformed",
        "pragma",
        "pragma_list",
        "pragma_is_overruled",
        "long",
    ],
)
def test_wishes(noted: list[Field], expected: Wishes) -> None:
    """RFC 9111 5.2.1, 5.4."""
    assert wishes([(b"x-api-key", b"k"), *noted]) == expected


def test_most_requests_wish_nothing() -> None:
    assert wishes([]) is NO_WISHES
    assert wishes([(b"authorization", b"Bearer no-cache"), (b"if-none-match", b"*")]) is NO_WISHES
    assert wishes([(b"pragma", b"x")]) is NO_WISHES


# -- invalidation and jobs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "outcome"),
    [
        (b"POST", 201, True),
        (b"PUT", 204, True),
        (b"DELETE", 200, True),
        (b"PATCH", 303, True),
        (b"UNHEARD-OF", 200, True),
        (b"post", 200, True),
        (b"POST", 400, False),
        (b"POST", 500, False),
        (b"POST", 100, False),
        (b"GET", 200, False),
        (b"HEAD", 200, False),
        (b"OPTIONS", 200, False),
        (b"TRACE", 200, False),
    ],
)
def test_invalidation(method: bytes, status: int, outcome: bool) -> None:
    """RFC 9111 4.4: unsafe methods, also those of unknown safety, that did not fail."""
    assert invalidates(method, status) is outcome


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_finished_jobs(status: str) -> None:
    assert is_finished_job(b'{"job_id": "1", "status": "%b", "result": {"status": "queued"}}' % status.encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"status": "queued"}',
        b'{"status": "running"}',
        b'{"status": "processing"}',
        b'{"status": "Completed"}',
        b'{"status": "completed "}',
        b'{"status": null}',
        b'{"status": ["completed"]}',
        b'{"status": {"completed": 1}}',
        b'{"result": {"status": "completed"}}',
        b'[{"status": "completed"}]',
        b'"completed"',
        b'{"status": "completed"',
        b'{"status": "completed"} x',
        b"completed",
        b"",
        b"\xff",
        b"null",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_anything_else_is_no_finished_job(body: bytes) -> None:
    assert not is_finished_job(body)
