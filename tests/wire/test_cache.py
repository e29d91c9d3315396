"""What is cached, for whom, and for how long: RFC 9111, 5861, 9211, 9213, and the platform's own rules."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from fastgw.cache.keep import STORE
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import Response, request
from tests.support.wait import until

FRESH = "h=" + quote("cache-control: public, max-age=60")


@pytest.fixture(scope="session")
def origin():
    with Uvicorn("tests.support.cache_app:app") as server:
        yield server


@pytest.fixture
def asked(origin) -> Callable[[str], int]:
    """How often the backend was asked for a path."""
    return lambda path: request(origin.port, "/_asked").json["asked"].get(path, 0)


@pytest.fixture
def cached(gateways, origin, valkey) -> Gateway:
    """A gateway whose cache is empty, in front of a backend that has forgotten all."""
    one = gateways(
        origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="true", CACHE_ROUTES="/stats=60,/brief=1", CACHE_MAX_BODY=20000
    )
    request(origin.port, "/_reset")
    valkey.admin.script_load(STORE.text)  # else the first entry is written a round trip later than its response
    until(lambda: request(one.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    return one


def get(gateway: Gateway, target: str, **headers: str) -> Response:
    return request(gateway.port, target, **headers)


def state(response: Response) -> str | None:
    return response.header("x-gateway-cache")


def target(path: str, *fields: str, **more: object) -> str:
    parts = [f"h={quote(field)}" for field in fields] + [f"{k}={v}" for k, v in more.items()]
    return f"{path}?{'&'.join(parts)}"


def entries(valkey) -> list[bytes]:
    """The keys of entries. Writes are sent and not waited for, so they may be a moment later than the response."""
    return [key for key in valkey.admin.keys("gateway:cache:*") if key != b"gateway:cache:keys"]


# -- what the backend declares ------------------------------------------------------------------------


def test_a_declared_response_is_answered_from_the_cache(cached, asked, valkey) -> None:
    first = get(cached, f"/a?{FRESH}")
    second = get(cached, f"/a?{FRESH}")
    assert (state(first), state(second)) == ("MISS", "HIT")
    assert first.body == second.body
    assert asked("/a") == 1
    assert second.header("age") == "0"
    assert second.header("content-length") == str(len(second.body))
    assert second.header("cache-status").startswith("fastgw; hit; ttl=")
    assert second.header("x-request-id") != first.header("x-request-id")
    assert valkey.admin.scard("gateway:cache:keys") == 1
    assert len(entries(valkey)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("cache-control: no-store",),
        ("cache-control: private, max-age=60",),
        ("cache-control: max-age=0",),
        ("cache-control: public, max-age=60", "set-cookie: a=1"),
        ("cache-control: public, max-age=60", "vary: *"),
        ("cache-control: max-age=60", "content-type: text/event-stream"),
        ("cache-control: max-age=60", "cdn-cache-control: no-store"),
        ("expires: 0",),
    ],
    ids=lambda fields: " | ".join(fields) or "nothing said",
)
def test_what_may_not_be_stored_is_not(cached, asked, fields, valkey) -> None:
    for expected in (1, 2, 3):
        response = get(cached, target("/a", *fields))
        assert response.json["n"] == expected
        assert state(response) == "MISS"
    assert valkey.admin.scard("gateway:cache:keys") == 0


@pytest.mark.parametrize(
    "fields",
    [
        ("cache-control: s-maxage=60, max-age=0",),
        ("cache-control: no-store", "cdn-cache-control: max-age=60"),
        ("cache-control: no-store", "gateway-cache-control: max-age=60"),
        ("expires: Fri, 01 Jan 2100 00:00:00 GMT",),
    ],
    ids=" | ".join,
)
def test_other_ways_to_declare_freshness(cached, asked, fields) -> None:
    assert [state(get(cached, target("/a", *fields))) for _ in range(2)] == ["MISS", "HIT"]


def test_age_counts_what_an_upstream_cache_has_used(cached) -> None:
    aged = target("/a", "cache-control: max-age=60", "age: 50")
    get(cached, aged)
    second = get(cached, aged)
    assert state(second) == "HIT"
    assert int(second.header("age")) >= 50
    old = target("/b", "cache-control: max-age=60", "age: 60")
    assert [state(get(cached, old)) for _ in range(2)] == ["MISS", "MISS"]


def test_a_status_of_its_own_is_kept(cached) -> None:
    one = target("/a", "cache-control: max-age=60", status=404)
    assert [(r.status, state(r)) for r in (get(cached, one), get(cached, one))] == [(404, "MISS"), (404, "HIT")]


def test_head_is_answered_from_a_get(cached, asked) -> None:
    whole = get(cached, f"/a?{FRESH}")
    head = request(cached.port, f"/a?{FRESH}", "HEAD")
    assert (state(head), head.body, head.header("content-length")) == ("HIT", b"", str(len(whole.body)))
    assert asked("/a") == 1


def test_too_large_a_body_is_passed_on_and_not_stored(cached, asked) -> None:
    large = target("/a", "cache-control: max-age=60", pad=30000)
    assert [len(get(cached, large).body) > 30000 for _ in range(2)] == [True, True]
    assert asked("/a") == 2


def test_a_response_that_comes_in_pieces_is_stored_without_being_held_up(cached, asked) -> None:
    slow = target("/a", "cache-control: max-age=60", drip=0.3, pad=3000)
    assert [state(get(cached, slow)) for _ in range(2)] == ["MISS", "HIT"]
    assert len(get(cached, slow).body) > 3000
    assert asked("/a") == 1


# -- revalidation -------------------------------------------------------------------------------------


def test_a_stale_entry_is_revalidated_with_its_etag(cached, origin) -> None:
    one = target("/a", "cache-control: max-age=0, must-revalidate", etag="v1")
    first, second = get(cached, one), get(cached, one)
    assert first.status == second.status == 200
    assert first.body == second.body
    assert request(origin.port, "/_asked").json["conditions"] == ['"v1"']


def test_a_client_that_has_it_gets_304(cached, asked) -> None:
    one = target("/a", "cache-control: max-age=60", etag="v1")
    get(cached, one)
    response = get(cached, one, If_None_Match='W/"v1"')
    assert (response.status, response.body, state(response)) == (304, b"", "HIT")
    assert response.header("etag") == '"v1"'
    assert response.header("content-length") is None
    assert get(cached, one, If_None_Match='"other"').status == 200
    assert asked("/a") == 1


def test_a_condition_without_an_entry_is_the_backends(cached, asked) -> None:
    one = target("/a", "cache-control: max-age=60", etag="v1")
    assert get(cached, one, If_None_Match='"v1"').status == 304
    assert get(cached, one).status == 200
    assert asked("/a") == 2


def test_stale_while_revalidate_answers_at_once_and_renews(cached, asked) -> None:
    one = target("/a", "cache-control: max-age=0, stale-while-revalidate=60")
    assert state(get(cached, one)) == "MISS"
    stale = get(cached, one)
    assert (state(stale), stale.json["n"]) == ("STALE", 1)
    until(lambda: asked("/a") == 2, 5, "the renewal")
    until(lambda: get(cached, one).json["n"] >= 2, 5, "the renewed entry")


def test_stale_if_error_hides_a_failing_backend(cached, origin) -> None:
    one = target("/a", "cache-control: max-age=0, stale-if-error=60")
    get(cached, one)
    request(origin.port, "/_set?status=503")
    response = get(cached, one)
    assert (response.status, state(response), response.json["n"]) == (200, "STALE", 1)
    request(origin.port, "/_set?status=0")
    assert get(cached, one).json["n"] == 3
    request(origin.port, "/_set?status=404")
    assert get(cached, one).status == 404


def test_all_who_wait_for_a_failing_backend_get_the_stale_entry(cached, origin, asked) -> None:
    one = target("/a", "cache-control: max-age=0, stale-if-error=60", sleep=0.3)
    get(cached, one)
    request(origin.port, "/_set?status=503")
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: get(cached, one), range(8)))
    request(origin.port, "/_set?status=0")
    assert {(r.status, state(r)) for r in responses} == {(200, "STALE")}


def test_a_get_with_a_body_is_neither_stored_nor_answered_from_the_cache(cached, asked) -> None:
    path = f"/a?{FRESH}"
    assert state(request(cached.port, path, "GET", b"{}")) == "BYPASS"
    assert state(get(cached, path)) == "MISS"
    assert state(request(cached.port, path, "GET", b"{}")) == "BYPASS"
    assert asked("/a") == 3


def test_nonsense_of_one_client_does_not_stop_the_cache_for_others(cached, origin) -> None:
    request(origin.port, "/_set?status=401")
    assert [get(cached, "/stats").status for _ in range(2)] == [401, 401]
    request(origin.port, "/_set?status=0")
    assert [state(get(cached, "/stats")) for _ in range(2)] == ["MISS", "HIT"]


# -- what the client asks -----------------------------------------------------------------------------


def test_no_cache_and_no_store_go_to_the_backend(cached, asked) -> None:
    get(cached, f"/a?{FRESH}")
    for wish in ("no-cache", "no-store"):
        assert state(get(cached, f"/a?{FRESH}", Cache_Control=wish)) == "BYPASS"
    assert state(get(cached, f"/a?{FRESH}", Pragma="no-cache")) == "BYPASS"
    assert asked("/a") == 4


def test_only_if_cached(cached, asked) -> None:
    assert get(cached, f"/a?{FRESH}", Cache_Control="only-if-cached").status == 504
    get(cached, f"/a?{FRESH}")
    assert get(cached, f"/a?{FRESH}", Cache_Control="only-if-cached").status == 200
    assert asked("/a") == 1


def test_a_range_is_the_backends(cached, asked) -> None:
    get(cached, f"/a?{FRESH}")
    assert state(get(cached, f"/a?{FRESH}", Range="bytes=0-1")) == "BYPASS"
    assert asked("/a") == 2


# -- Vary and identities ------------------------------------------------------------------------------


def test_variants_do_not_mix(cached, asked) -> None:
    one = target("/a", "cache-control: public, max-age=60", "vary: Accept-Language")
    for language in ("de", "fr", None):
        fields = {"Accept_Language": language} if language else {}
        assert [state(get(cached, one, **fields)) for _ in range(2)] == ["MISS", "HIT"]
        assert get(cached, one, **fields).json["lang"] == language
    assert asked("/a") == 3


CREDENTIALS = [{"X_API_Key": "k1"}, {"X_API_Key": "k2"}, {"Authorization": "Bearer k1"}, {"Cookie": "s=1"}, {}]


def test_one_identity_never_sees_anothers_response(cached, asked) -> None:
    """The gateway has authentication off here: the backend judges, and the cache separates all the same."""
    one = target("/a", "cache-control: max-age=60")
    seen = [get(cached, one, **fields).json for fields in CREDENTIALS]
    assert asked("/a") == len(CREDENTIALS)
    assert [state(get(cached, one, **fields)) for fields in CREDENTIALS] == ["HIT"] * len(CREDENTIALS)
    assert [get(cached, one, **fields).json for fields in CREDENTIALS] == seen


def test_identities_share_what_is_public(cached, asked) -> None:
    states = [state(get(cached, f"/a?{FRESH}", **fields)) for fields in CREDENTIALS]
    assert states == ["MISS", "HIT", "HIT", "HIT", "HIT"]
    assert asked("/a") == 1


def test_what_was_stored_for_nobody_is_not_given_to_somebody(cached) -> None:
    one = target("/a", "cache-control: max-age=60")
    assert get(cached, one).json["who"] == [None] * 4
    assert get(cached, one, X_API_Key="k1").json["who"][0] == "k1"
    assert get(cached, one).json["who"] == [None] * 4


def test_hosts_do_not_mix(cached, asked) -> None:
    for host in ("a.example", "b.example"):
        assert state(request(cached.port, f"/a?{FRESH}", Host=host)) == "MISS"
    assert asked("/a") == 2


# -- the platform -------------------------------------------------------------------------------------


def test_routes_are_cached_though_the_backend_says_nothing(cached, asked) -> None:
    assert [state(get(cached, "/stats")) for _ in range(2)] == ["MISS", "HIT"]
    assert [state(get(cached, "/stats?x=1")) for _ in range(2)] == ["MISS", "HIT"]
    assert state(get(cached, "/stats/more")) == "MISS"
    assert state(get(cached, "/stats/more")) == "MISS"


def test_a_route_may_have_its_own_time(cached, asked) -> None:
    assert [state(get(cached, "/brief")) for _ in range(2)] == ["MISS", "HIT"]
    until(lambda: state(get(cached, "/brief")) == "MISS", 3, "the end of its second")
    assert asked("/brief") == 2


@pytest.mark.parametrize(
    "path", ["/api/v1/workers/w1/next-job", "/api/v1/workers/w1/%6eext-job", "//api/v1/workers/w1/next-job"]
)
def test_next_job_is_never_cached_nor_coalesced_whatever_it_says(cached, path) -> None:
    one = target(path, "cache-control: public, max-age=60, s-maxage=60", "etag: x", sleep=0.05)
    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(lambda _: get(cached, one), range(40)))
    if all(response.status == 200 and "job_id" in response.json for response in jobs):
        assert len({response.json["job_id"] for response in jobs}) == 40
    assert {state(response) for response in jobs} == {"BYPASS"}


def test_a_job_is_cached_once_it_is_finished(cached, origin, asked) -> None:
    path = "/api/v1/jobs/j1"
    for number in (1, 2, 3):
        response = get(cached, target(path, "cache-control: max-age=60"))
        assert (response.json["status"], response.json["n"]) == ("running", number)
    request(origin.port, "/_job?id=j1&status=completed")
    assert get(cached, target(path, "cache-control: max-age=60")).json["status"] == "completed"
    request(origin.port, "/_job?id=j2&status=failed")
    assert [state(get(cached, "/api/v1/jobs/j2")) for _ in range(2)] == ["MISS", "HIT"]


def test_deleting_a_job_forgets_it(cached, origin) -> None:
    request(origin.port, "/_job?id=j3&status=completed")
    path = "/api/v1/jobs/j3"
    assert [state(get(cached, path)) for _ in range(2)] == ["MISS", "HIT"]
    assert request(cached.port, path, "DELETE").status == 200
    assert state(get(cached, path)) == "MISS"


@pytest.mark.parametrize("fields", [{}, {"X_API_Key": "k1"}], ids=["nobody", "somebody"])
def test_what_was_fetched_before_a_change_is_not_stored_after_it(cached, asked, fields) -> None:
    one = target("/a", "cache-control: max-age=60", sleep=0.4)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(get, cached, one, **fields)
        until(lambda: asked("/a") == 1, 2, "the fetch")
        assert request(cached.port, one.replace("sleep=0.4", "sleep=0.4"), "PUT", b"{}", **fields).status == 200
        late = get(cached, one, **fields)
    assert early.result().json["n"] == 1
    assert late.json["n"] > 1
    assert get(cached, one, **fields).json["n"] > 1


def test_a_credential_has_one_entry_whatever_else_the_request_says(gateways, origin, valkey) -> None:
    gateway = gateways(
        origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="true", AUTH_ENABLED="true", AUTH_API_KEYS="ops:k-one"
    )
    request(origin.port, "/_reset")
    one = target("/own", "cache-control: max-age=60", etag="v1")
    assert [state(get(gateway, one, X_API_Key="k-one")) for _ in range(2)] == ["MISS", "HIT"]
    known = get(gateway, one, X_API_Key="k-one", If_None_Match='"v1"')
    assert (known.status, state(known)) == (304, "HIT")


def test_an_unsafe_request_that_fails_forgets_nothing(cached, origin) -> None:
    get(cached, f"/a?{FRESH}")
    request(origin.port, "/_set?status=500")
    request(cached.port, f"/a?{FRESH}", "POST", b"{}")
    request(origin.port, "/_set?status=0")
    assert state(get(cached, f"/a?{FRESH}")) == "HIT"


# -- coalescing ---------------------------------------------------------------------------------------


def test_concurrent_misses_reach_the_backend_once(cached, asked) -> None:
    one = target("/a", "cache-control: public, max-age=60", sleep=0.3)
    with ThreadPoolExecutor(30) as pool:
        responses = list(pool.map(lambda _: get(cached, one), range(30)))
    assert {r.status for r in responses} == {200}
    assert {r.json["n"] for r in responses} == {1}
    assert asked("/a") == 1
    assert sum(state(r) == "MISS" for r in responses) == 1


def test_across_processes_too(origin, valkey, asked) -> None:
    request(origin.port, "/_reset")
    one = target("/a", "cache-control: public, max-age=60", sleep=0.3)
    with (
        Gateway(origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="true", GATEWAY_WORKERS=2) as a,
        Gateway(origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="true") as b,
    ):
        with ThreadPoolExecutor(30) as pool:
            responses = list(pool.map(lambda number: get((a, b)[number % 2], one), range(30)))
        assert {r.json["n"] for r in responses} == {1}
        assert asked("/a") == 1


def test_what_is_not_storable_holds_nobody_up(cached, asked) -> None:
    one = target("/a", "cache-control: no-store", sleep=0.2)
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: get(cached, one), range(20)))
    assert {r.status for r in responses} == {200}
    assert len({r.json["n"] for r in responses}) == 20


def test_identities_are_not_coalesced(cached, asked) -> None:
    one = target("/a", "cache-control: max-age=60", sleep=0.2)
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda number: (number % 4, get(cached, one, X_API_Key=f"k{number % 4}")), range(20)))
    assert all(response.json["who"][0] == f"k{number}" for number, response in responses)
    assert asked("/a") == 4


def test_those_who_wait_for_one_that_fails_try_themselves(cached, origin, asked) -> None:
    one = target("/a", "cache-control: public, max-age=60", sleep=0.3)
    request(origin.port, "/_set?status=500")
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: get(cached, one), range(8)))
    assert {r.status for r in responses} == {500}
    request(origin.port, "/_set?status=0")


# -- by hand, in Redis --------------------------------------------------------------------------------


def test_what_is_deleted_by_hand_is_gone_at_once(cached, asked, valkey) -> None:
    assert [state(get(cached, f"/a?{FRESH}")) for _ in range(2)] == ["MISS", "HIT"]
    valkey.admin.delete(*valkey.admin.keys("gateway:cache:*"))
    assert [state(get(cached, f"/a?{FRESH}")) for _ in range(2)] == ["MISS", "HIT"]
    assert asked("/a") == 2
    assert valkey.admin.scard("gateway:cache:keys") == 1


@pytest.mark.parametrize(
    "value", [b"", b"not json", b'{"v":"0000000000000000"}', b'{"v":1,"status":200}', b"\xff" * 100, b"[]"]
)
def test_what_others_write_is_never_served_and_gets_replaced(cached, valkey, value) -> None:
    get(cached, f"/a?{FRESH}")
    key = until(lambda: entries(valkey), 2, "the entry in Redis")[0]
    valkey.admin.set(key, value)
    response = get(cached, f"/a?{FRESH}")
    assert (response.status, state(response), response.json["n"]) == (200, "MISS", 2)
    assert state(get(cached, f"/a?{FRESH}")) == "HIT"


def test_a_key_of_another_type_is_no_harm(cached, valkey) -> None:
    get(cached, f"/a?{FRESH}")
    key = until(lambda: entries(valkey), 2, "the entry in Redis")[0]
    valkey.admin.delete(key)
    valkey.admin.lpush(key, "x")
    assert get(cached, f"/a?{FRESH}").json["n"] == 2
    assert state(get(cached, f"/a?{FRESH}")) == "HIT"


def test_nothing_secret_is_in_the_cache(cached, valkey) -> None:
    get(cached, target("/a", "cache-control: max-age=60"), X_API_Key="hush-hush")
    for key in valkey.admin.keys("*"):
        assert b"hush" not in key
        if valkey.admin.type(key) == b"string" and b"cache" not in key:
            assert b"hush" not in valkey.admin.get(key)
