"""The gateway's own pages beyond health: who may see them, what they show, what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgw.settings.load import NAMES
from tests.support.processes import Gateway
from tests.support.raw_client import RawClient, Response, request
from tests.support.wait import until

FAR = {"X_Forwarded_For": "203.0.113.9"}
"""The tests' address is a trusted proxy's, so this is whom the gateway sees."""

TOKEN = "an-admin-token"
SECRET = "hunter2-and-more"
ADMIN = ["/gateway/health/detailed", "/gateway/plugins", "/gateway/config"]


@pytest.fixture
def guarded(gateways, backend) -> Gateway:
    """A gateway with an admin token, and with every secret set."""
    return gateways(
        backend.url,
        ADMIN_TOKEN=TOKEN,
        AUTH_API_KEYS=f"ops:{SECRET}",
        AUTH_TOKEN_SALT=SECRET,
        AUTH_VERIFY_URL=f"http://u:{SECRET}@127.0.0.1:9/{{worker_id}}",
        OTEL_ZIPKIN_ENDPOINT=f"http://u:{SECRET}@127.0.0.1:9/",
    )


def patch(gateway: Gateway, changes: Any, **headers: str) -> Response:
    body = changes if isinstance(changes, bytes) else json.dumps(changes).encode()
    return request(gateway.port, "/gateway/config", "PATCH", body, **{"Content_Type": "application/json", **headers})


@pytest.mark.parametrize("path", ADMIN)
def test_operators_pages_are_for_admin_allow_and_for_the_token(guarded, path):
    assert request(guarded.port, path).status == 200
    far = request(guarded.port, path, **FAR)
    assert (far.status, far.error) == (403, "FORBIDDEN")
    assert request(guarded.port, path, Authorization=f"Bearer {TOKEN}", **FAR).status == 200
    assert request(guarded.port, path, X_Admin_Token=TOKEN, **FAR).status == 200
    for where in (FAR, {}):
        wrong = request(guarded.port, path, X_Admin_Token="guessed", **where)
        assert (wrong.status, wrong.error) == (401, "UNAUTHORIZED")
        assert wrong.header("www-authenticate").startswith("Bearer")


@pytest.mark.parametrize("path", ["/%67ateway/config", "/gateway%2Fconfig", "/%2567ateway/config", "/gateway/./config"])
def test_no_spelling_of_a_page_is_a_way_around(guarded, path):
    """Either it is the page, and refused, or it is none of ours; it is never shown."""
    response = request(guarded.port, path, **FAR)
    assert response.status in {200, 403, 404}
    assert response.status != 200 or "raw_path" in response.json, "200 is the recording backend's"


@pytest.mark.parametrize("path", ADMIN)
def test_no_secret_is_shown_to_anybody(guarded, path):
    shown = request(guarded.port, path)
    assert SECRET not in shown.body.decode()
    assert TOKEN not in shown.body.decode()
    assert SECRET not in guarded.log
    assert TOKEN not in guarded.log
    assert shown.header("cache-control") == "no-store"


def test_config_shows_every_setting_with_its_origin(gateway):
    settings = request(gateway.port, "/gateway/config").json["settings"]
    assert set(settings) == set(NAMES)
    assert settings["GATEWAY_PORT"] == {"value": gateway.port, "unit": "", "origin": "environment", "live": False}
    assert settings["CACHE_MAX_SIZE"] == {"value": 1000, "unit": "entries", "origin": "default", "live": True}


def test_detailed_health_tells_of_redis_backends_plugins_workers_and_the_process(gateway, backend):
    path = "/gateway/health/detailed"
    facts = until(lambda: (r := request(gateway.port, path).json)["backends"][0]["latency_ms"] and r, 5, "a check")
    assert facts["status"] == "healthy"
    assert facts["redis"]["status"] == "connected"
    assert (facts["redis"]["mode"], facts["redis"]["breaker"]) == ("embedded", "closed")
    assert 0 < facts["redis"]["latency_ms"] < 1000
    assert facts["backends"][0]["url"] == backend.url
    assert facts["backends"][0]["status"] == "healthy"
    assert facts["plugins"] == request(gateway.port, "/gateway/plugins").json["plugins"]
    assert isinstance(facts["workers"], dict)
    assert facts["resources"]["pid"] == gateway.worker().pid
    assert facts["resources"]["loop"]["kind"] == "uvloop"


def test_detailed_health_shows_redis_addresses_without_their_password(gateways, backend, valkey):
    gateway = gateways(backend.url, REDIS_URL=valkey.url)
    redis = request(gateway.port, "/gateway/health/detailed").json["redis"]
    assert redis["mode"] == "standalone"
    assert str(valkey.port) in redis["address"]
    assert "a-password-of-tests" not in json.dumps(redis)


def test_plugins_are_the_built_in_stages(gateways, backend):
    gateway = gateways(backend.url, CACHE_ENABLED="false", RATE_LIMIT_ENABLED="true", RATE_LIMIT_MAX_REQUESTS=1000)
    plugins = {plugin["name"]: plugin for plugin in request(gateway.port, "/gateway/plugins").json["plugins"]}
    assert list(plugins) == [
        "cors",
        "authentication",
        "rate-limit",
        "concurrency-limit",
        "overload",
        "cache",
        "idempotency",
        "workers",
        "forwarding",
    ]
    assert (plugins["authentication"]["enabled"], plugins["authentication"]["state"]) == (False, "off")
    assert (plugins["rate-limit"]["enabled"], plugins["rate-limit"]["state"]) == (True, "active")
    assert (plugins["cache"]["enabled"], plugins["cache"]["state"]) == (False, "off")
    assert plugins["forwarding"]["state"] == "active"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/gateway/config", "GET, HEAD, PATCH"),
        ("POST", "/gateway/health/detailed", "GET, HEAD"),
        ("GET", "/gateway/cache", "DELETE"),
    ],
)
def test_other_methods_are_405(gateway, seen, method, path, allow):
    response = request(gateway.port, path, method, b"{}")
    assert (response.status, response.error) == (405, "METHOD_NOT_ALLOWED")
    assert response.header("allow") == allow
    assert seen()["seen"] == []


def test_a_change_with_problems_names_them_all_and_changes_nothing(gateway):
    response = patch(gateway, {"RATE_LIMIT_MAX_REQUESTS": 0, "GATEWAY_PORT": 1, "CACHE_MAX_SIZE": 5, "NO_SUCH": 1})
    assert (response.status, response.error) == (400, "BAD_REQUEST")
    problems = response.json["error"]["problems"]
    assert set(problems) == {"RATE_LIMIT_MAX_REQUESTS", "GATEWAY_PORT", "NO_SUCH"}
    assert "needs a restart" in problems["GATEWAY_PORT"]
    assert response.json["error"]["requestId"] == response.header("x-request-id")
    config = request(gateway.port, "/gateway/config").json
    assert config["settings"]["CACHE_MAX_SIZE"]["value"] == 1000
    assert config["changes"] == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"{}"])
def test_a_body_that_is_no_object_of_settings_is_400(gateway, body):
    response = patch(gateway, body)
    assert (response.status, response.error) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_web_form_can_send_is_not_taken(gateway, content_type):
    assert patch(gateway, {"CACHE_MAX_SIZE": 5}, Content_Type=content_type).status == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://gateway.test:81"])
def test_another_sites_page_changes_nothing(gateway, origin):
    assert patch(gateway, {"CACHE_MAX_SIZE": 5}, Origin=origin).status == 403
    assert request(gateway.port, "/gateway/cache", "DELETE", Origin=origin).status == 403
    assert request(gateway.port, "/gateway/config").json["changes"] == {}


def test_a_body_above_the_bound_is_413_announced_or_not(gateway):
    assert patch(gateway, b" " * (65 * 1024)).status == 413
    head = b"PATCH /gateway/config HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    with RawClient(gateway.port) as client:
        client.send(head + b"\r\n\r\n" + b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        for _ in range(4):
            client.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        response = client.response()
        assert (response.status, response.error) == (413, "PAYLOAD_TOO_LARGE")


def test_a_chunked_change_is_taken_and_taken_back(gateway):
    head = b"PATCH /gateway/config HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    with RawClient(gateway.port) as client:
        client.send(head + b'\r\n\r\n5\r\n{"CAC\r\n14\r\nHE_TTL_SECONDS": 61}\r\n0\r\n\r\n')
        response = client.response()
    assert response.status == 200
    assert response.json["settings"]["CACHE_TTL_SECONDS"]["value"] == 61
    assert patch(gateway, {"CACHE_TTL_SECONDS": None}).json["changes"] == {}


def test_a_client_that_leaves_in_its_body_does_no_harm(gateway):
    head = b"PATCH /gateway/config HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50"
    with RawClient(gateway.port) as client:
        client.send(head + b"\r\n\r\n{")
    assert request(gateway.port, "/gateway/config").json["changes"] == {}


def test_pages_are_not_rate_limited_and_reach_no_backend(gateways, backend):
    gateway = gateways(backend.url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MAX_REQUESTS=2)
    request(backend.port, "/_reset")
    for path in ADMIN * 2:
        assert request(gateway.port, path).status == 200
    assert request(backend.port, "/_seen").json["seen"] == []


def test_purging_a_path_or_all_of_the_cache(gateways, backend, valkey):
    gateway = gateways(backend.url, REDIS_URL=valkey.url, CACHE_ENABLED="true", CACHE_ROUTES="/purged=60, /kept=60")
    state = lambda path: request(gateway.port, path).header("x-gateway-cache")  # noqa: E731
    for path in ("/purged?a=1", "/purged?a=2", "/kept"):
        assert state(path) == "MISS"
        until(lambda path=path: state(path) == "HIT", 5, f"{path} being cached")
    purged = request(gateway.port, "/gateway/cache?path=/purged", "DELETE")
    assert (purged.status, purged.json) == (200, {"purged": 2})
    assert state("/kept") == "HIT"
    assert state("/purged?a=1") == "MISS"
    assert request(gateway.port, "/gateway/cache", "DELETE").json["purged"] >= 1
    assert state("/kept") == "MISS"


@pytest.mark.parametrize("query", ["?pth=/x", "?path=x", "?path=/a&path=/b", "?path"])
def test_a_purge_that_is_not_understood_purges_nothing(gateway, query):
    response = request(gateway.port, f"/gateway/cache{query}", "DELETE")
    assert (response.status, response.error) == (400, "BAD_REQUEST")
