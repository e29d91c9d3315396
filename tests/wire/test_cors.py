"""CORS: what a browser is told, by a real gateway in front of servers without a policy of their own and with one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.ports import RefusingPort
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import Response, request
from tests.support.wait import until

APP, OTHER, EVIL = "https://app.test", "https://other.test", "https://evil.test"
NUMBERS = itertools.count(1)


def decides(gateway: Gateway) -> str:
    plugins = request(gateway.port, "/gateway/plugins").json["plugins"]
    return str(next(one for one in plugins if one["name"] == "cors").get("decides", ""))


def preflight(
    gateway: Gateway, origin: str = APP, method: str = "POST", path: str = "/api/v1/jobs", **more: str
) -> Response:
    fields = {"Origin": origin, "Access_Control_Request_Method": method, **more}
    return request(gateway.port, path, "OPTIONS", **fields)


def opens(answer: Response) -> list[str]:
    """All that lets a page in: the fields of CORS, and whatever else there is of their kind."""
    return [name.lower() for name, _ in answer.headers if name.lower().startswith("access-control-")]


def allowed(answer: Response) -> list[str]:
    return answer.all("access-control-allow-origin")


def varies_by_origin(answer: Response) -> bool:
    return "origin" in ", ".join(answer.all("vary")).lower().split(", ")


@pytest.fixture
def plain(gateways, backend) -> Gateway:
    """In front of a server that knows no CORS; CORS_ORIGIN is `*`."""
    one = gateways(
        backend.url,
        AUTH_ENABLED="true",
        AUTH_API_KEYS="page:k3y",
        RATE_LIMIT_ENABLED="true",
        RATE_LIMIT_MAX_REQUESTS=3,
    )
    until(lambda: decides(one) == "gateway", 5, "the check of the backend")
    request(backend.port, "/_reset")
    return one


@pytest.fixture
def listed(gateways, backend) -> Gateway:
    one = gateways(backend.url, CORS_ORIGIN=f"{APP}, {OTHER}", CORS_METHODS="GET,PATCH")
    until(lambda: decides(one) == "gateway", 5, "the check of the backend")
    request(backend.port, "/_reset")
    return one


@pytest.fixture(scope="module")
def strict() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.cors_app:strict") as server:
        yield server


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.cors_app:open_to_all") as server:
        yield server


def address() -> dict[str, str]:
    """A client of its own, as the limit is small."""
    return {"X_Forwarded_For": f"198.51.100.{next(NUMBERS)}"}


# -- preflights -----------------------------------------------------------------------------------------


def test_a_preflight_is_answered_here(plain, seen) -> None:
    answer = preflight(plain, Access_Control_Request_Headers="content-type,x-api-key,authorization")
    assert answer.status == 204
    assert answer.body == b""
    assert answer.header("content-length") is None
    assert allowed(answer) == ["*"]
    assert answer.header("access-control-allow-methods") == "GET, POST, PUT, DELETE, OPTIONS"
    assert answer.header("access-control-allow-headers") == "content-type,x-api-key,authorization"
    assert answer.header("access-control-max-age") == "600"
    assert answer.header("access-control-allow-credentials") is None
    assert "access-control-request-headers" in str(answer.header("vary")).lower()
    assert answer.header("x-request-id")
    assert seen()["seen"] == []


def test_a_preflight_needs_no_credential_and_is_not_counted(plain) -> None:
    client = address()
    assert [preflight(plain, **client).status for _ in range(10)] == [204] * 10
    answer = request(plain.port, "/api/v1/jobs", X_API_Key="k3y", Origin=APP, **client)
    assert (answer.status, answer.header("x-ratelimit-remaining")) == (200, "2")


def test_other_options_are_no_preflight(plain, seen) -> None:
    client = address()
    assert request(plain.port, "/a", "OPTIONS", Origin=APP, **client).status == 401
    assert request(plain.port, "/a", "OPTIONS", Access_Control_Request_Method="PUT", **client).status == 401
    request(plain.port, "/a", "OPTIONS", Origin=APP, X_API_Key="k3y", **client)
    assert [one["method"] for one in seen()["seen"]] == ["OPTIONS"]


@pytest.mark.parametrize("asked", ["x-a\x01", "x" * 5000, "x-a;b"], ids=["control", "long", "no-names"])
def test_what_is_asked_for_is_given_back_only_if_it_is_a_list_of_names(plain, asked: str) -> None:
    answer = preflight(plain, Access_Control_Request_Headers=asked)
    if answer.status == 204:  # the server refuses control characters itself
        assert answer.header("access-control-allow-headers") is None
    else:
        assert answer.status == 400


def test_an_origin_of_the_list_is_named(listed, seen) -> None:
    answer = preflight(listed, OTHER, "PATCH")
    assert answer.status == 204
    assert allowed(answer) == [OTHER]
    assert answer.header("access-control-allow-methods") == "GET, PATCH"
    assert varies_by_origin(answer)
    assert seen()["seen"] == []


@pytest.mark.parametrize("origin", [EVIL, "null", "https://app.test.evil.test", "http://app.test", "https://APP.test"])
def test_other_origins_are_refused_and_told_why(listed, seen, origin: str) -> None:
    answer = preflight(listed, origin)
    assert (answer.status, answer.error) == (403, "FORBIDDEN")
    assert "CORS_ORIGIN" in answer.json["error"]["message"]
    assert opens(answer) == []
    assert varies_by_origin(answer)
    assert seen()["seen"] == []


# -- answers --------------------------------------------------------------------------------------------


def test_a_page_may_read_the_answer_and_what_the_gateway_says(plain) -> None:
    answer = request(plain.port, "/api/v1/jobs", X_API_Key="k3y", Origin=APP, **address())
    assert answer.status == 200
    assert allowed(answer) == ["*"]
    exposed = str(answer.header("access-control-expose-headers")).split(", ")
    own = [
        n.lower() for n, _ in answer.headers if n.lower().startswith(("x-gateway", "x-ratelimit", "ratelimit", "x-req"))
    ]
    assert set(own) <= set(exposed)
    assert {"retry-after", "idempotency-replayed"} <= set(exposed)
    assert not varies_by_origin(answer)
    assert answer.header("access-control-allow-credentials") is None


def test_a_request_without_an_origin_is_told_nothing(plain, listed) -> None:
    for answer in (
        request(plain.port, "/api/v1/jobs", X_API_Key="k3y", **address()),
        request(plain.port, "/api/v1/jobs", **address()),
        request(listed.port, "/api/v1/jobs"),
    ):
        assert opens(answer) == []
        assert not varies_by_origin(answer)


def test_the_backend_still_sees_the_origin(listed, seen) -> None:
    request(listed.port, "/api/v1/jobs", Origin=EVIL)
    (one,) = seen()["seen"]
    assert ["origin", EVIL] in one["headers"]


def test_with_a_list_the_answer_depends_on_the_origin(listed) -> None:
    good, bad = (request(listed.port, "/api/v1/jobs", Origin=origin) for origin in (APP, EVIL))
    assert allowed(good) == [APP]
    assert varies_by_origin(good)
    assert bad.status == 200
    assert opens(bad) == []
    assert varies_by_origin(bad)


def test_refusals_can_be_read(plain) -> None:
    client = address()
    answers = [request(plain.port, "/api/v1/jobs", Origin=APP, **client)]
    answers += [request(plain.port, "/api/v1/jobs", Origin=APP, X_API_Key="k3y", **client) for _ in range(4)]
    answers.append(request(plain.port, "/api/v1/jobs", "TRACE", Origin=APP, **client))
    assert [one.status for one in answers] == [401, 200, 200, 200, 429, 405]
    for one in answers:
        assert allowed(one) == ["*"]
    assert answers[4].header("retry-after")
    assert "retry-after" in str(answers[4].header("access-control-expose-headers"))


def test_a_backend_that_is_gone_can_be_read_of(gateways, backend, scripted) -> None:
    scripted.use(lambda connection: connection.reset() if connection.head() else None)
    gateway = gateways(scripted.url, ROUTER_HEALTH_PATH="/_health")
    until(lambda: decides(gateway) == "gateway", 5, "the check of the backend")
    answer = request(gateway.port, "/api/v1/jobs", "POST", b"{}", Origin=APP)
    assert (answer.status, allowed(answer)) == (502, ["*"])


def test_own_pages_are_for_no_other_origin(plain) -> None:
    for path in ("/gateway/health", "/gateway/config", "/gateway/ui/data", "/gateway/metrics", "/gateway/nothing"):
        answer = request(plain.port, path, Origin=APP)
        assert opens(answer) == []
        asked = preflight(plain, method="GET", path=path)
        assert asked.status in {404, 405}
        assert opens(asked) == []


def test_switched_off_all_is_left_to_the_backend(gateways, backend, seen) -> None:
    for off in ("none", ""):
        gateway = gateways(backend.url, CORS_ORIGIN=off)
        request(backend.port, "/_reset")
        assert decides(gateway) == ""
        assert preflight(gateway).status == 200
        assert opens(request(gateway.port, "/api/v1/jobs", Origin=APP)) == []
        assert [one["method"] for one in seen()["seen"]] == ["OPTIONS", "GET"]


# -- a backend with a policy of its own ------------------------------------------------------------------


def left_to(gateways: Any, server: Uvicorn, **settings: object) -> Gateway:
    gateway: Gateway = gateways(server.url, CACHE_ENABLED="true", CACHE_ROUTES="/regions=60", **settings)
    until(lambda: decides(gateway) == "backend", 5, "the check of the backend")
    until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    request(gateway.port, "/gateway/cache", "DELETE")
    return gateway


def test_the_backends_own_policy_is_not_loosened(gateways, strict) -> None:
    gateway = left_to(gateways, strict)
    until(lambda: "policy of its own" in gateway.log, 5, "a line that says so")
    for port in (strict.port, gateway.port):  # the same through the gateway as without it
        good, bad = (request(port, "/api/v1/jobs", Origin=origin) for origin in (APP, EVIL))
        assert allowed(good) == [APP]
        assert good.header("access-control-allow-credentials") == "true"
        assert allowed(bad) == []
        asked = {"Origin": APP, "Access_Control_Request_Method": "PATCH"}
        good = request(port, "/api/v1/jobs", "OPTIONS", **asked)
        assert (good.status, allowed(good)) == (200, [APP])
        bad = request(port, "/api/v1/jobs", "OPTIONS", **asked | {"Origin": EVIL})
        assert (bad.status, allowed(bad)) == (400, [])
    exposed = request(gateway.port, "/api/v1/jobs", Origin=APP).header("access-control-expose-headers")
    assert "x-request-id" in str(exposed)


def test_it_is_one_allow_origin_whoever_says_it(gateways, open_to_all) -> None:
    gateway = left_to(gateways, open_to_all)
    for fields in ({"Origin": EVIL}, {"Origin": EVIL, "Cookie": "a=b"}):
        direct, through = (request(port, "/api/v1/jobs", **fields) for port in (open_to_all.port, gateway.port))
        assert len(allowed(direct)) == 1
        assert allowed(through) == allowed(direct)
    answer = request(gateway.port, "/api/v1/jobs", "POST", b"x", Origin=APP, Idempotency_Key='"cors-1"')
    again = request(gateway.port, "/api/v1/jobs", "POST", b"x", Origin=APP, Idempotency_Key='"cors-1"')
    assert again.header("idempotency-replayed") == "true"
    assert len(allowed(answer)) == 1
    assert allowed(again) == allowed(answer)


def test_a_list_narrows_the_backends_policy(gateways, open_to_all) -> None:
    gateway = left_to(gateways, open_to_all, CORS_ORIGIN=APP)
    good = request(gateway.port, "/api/v1/jobs", Origin=APP)
    assert allowed(good) == allowed(request(open_to_all.port, "/api/v1/jobs", Origin=APP)) != []
    bad = request(gateway.port, "/api/v1/jobs", Origin=EVIL)
    assert opens(bad) == []
    assert varies_by_origin(bad)
    assert preflight(gateway, EVIL).status == 403


def test_what_is_cached_for_one_origin_is_not_given_to_another(gateways, strict) -> None:
    gateway = left_to(gateways, strict)
    first = request(gateway.port, "/regions")  # speaks of no origin at all
    assert opens(first) == []
    for _ in range(2):
        good, bad = (request(gateway.port, "/regions", Origin=origin) for origin in (APP, EVIL))
        assert (allowed(good), allowed(bad)) == ([APP], [])
        assert (good.json["for"], bad.json["for"]) == (APP, EVIL)
    assert good.header("x-gateway-cache") == bad.header("x-gateway-cache") == "HIT"
    again = request(gateway.port, "/regions")
    assert (opens(again), again.header("x-gateway-cache"), again.body) == ([], "HIT", first.body)


def test_without_a_policy_of_its_own_one_entry_serves_all_origins(gateways, backend) -> None:
    gateway = gateways(backend.url, CORS_ORIGIN=f"{APP},{OTHER}", CACHE_ENABLED="true", CACHE_ROUTES="/regions=60")
    until(lambda: decides(gateway) == "gateway", 5, "the check of the backend")
    until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    answers = [request(gateway.port, "/regions", Origin=APP)]
    answers += [request(gateway.port, "/regions", Origin=one) for one in (OTHER, EVIL, APP)]
    assert [allowed(one) for one in answers] == [[APP], [OTHER], [], [APP]]
    assert [one.header("x-gateway-cache") for one in answers] == ["MISS", "HIT", "HIT", "HIT"]
    assert len({one.body for one in answers}) == 1
    assert opens(request(gateway.port, "/regions")) == []


def test_a_policy_that_only_a_response_shows_counts_from_then_on(gateways) -> None:
    with Uvicorn("tests.support.cors_app:mounted") as server:
        gateway = gateways(server.url)
        until(lambda: decides(gateway) == "gateway", 5, "the check of the backend")
        assert allowed(request(gateway.port, "/inner/api/v1/jobs", Origin=APP)) == [APP]
        assert decides(gateway) == "backend"
        assert allowed(request(gateway.port, "/inner/api/v1/jobs", Origin=EVIL)) == []


def test_until_it_is_known_nothing_is_opened(gateways) -> None:
    nobody = RefusingPort()
    gateway = gateways(f"http://127.0.0.1:{nobody.port}")
    assert decides(gateway) == "unknown"
    answer = preflight(gateway)
    assert answer.status in {502, 503}
    assert allowed(answer) == ["*"]  # an error of ours: it may be read
    nobody.close()


def test_the_list_of_workers_is_as_open_as_the_backend(gateways, strict, backend) -> None:
    """It is answered from Redis, in the backend's place."""
    for server, settings, expected in (
        (strict, {}, []),
        (strict, {"CORS_ORIGIN": APP}, [APP]),
        (backend, {}, ["*"]),
    ):
        gateway = gateways(server.url, WORKERS_SOURCE="redis", **settings)
        until(
            lambda one=gateway, server=server: decides(one) == ("backend" if server is strict else "gateway"), 5, "it"
        )
        answer = request(gateway.port, "/api/v1/workers", Origin=APP)
        assert (answer.status, allowed(answer)) == (200, expected)


# -- WebSockets ------------------------------------------------------------------------------------------


def test_websockets_have_no_cors_and_their_origin_reaches_the_backend(listed) -> None:
    with connect(f"ws://127.0.0.1:{listed.port}/ws/about", origin=EVIL) as socket:
        assert json.loads(socket.recv(5))["headers"]["origin"] == EVIL
        heads = [socket.response]
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{listed.port}/ws/denied", origin=APP)
    heads.append(refused.value.response)
    assert not [name for head in heads for name in head.headers if name.lower().startswith("access-control-")]
