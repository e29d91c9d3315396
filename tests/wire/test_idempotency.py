"""Idempotency-Key over sockets: a POST runs once, and whoever sends it again is told what became of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from urllib.parse import quote

import pytest

from tests.support.ports import RefusingPort
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import RawClient, Response, request
from tests.support.scripted_backend import ScriptedBackend
from tests.support.wait import until

BODY = b'{"type": "llm", "params": {"prompt": "hello"}}'
NUMBERS = count(1)
JOBS = "/api/v1/jobs"


@pytest.fixture(scope="session")
def origin():
    """Counts how often each path was asked; answers differ each time."""
    with Uvicorn("tests.support.cache_app:app") as server:
        yield server


@pytest.fixture
def asked(origin) -> Callable[[str], int]:
    return lambda path: request(origin.port, "/_asked").json["asked"].get(path, 0)


@pytest.fixture
def gateway(gateways, origin, valkey) -> Gateway:
    return connected(gateways(origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="true"))


@pytest.fixture
def key() -> str:
    """A key of its own for each test."""
    return f"key-{next(NUMBERS)}-of-the-tests"


@pytest.fixture
def path() -> str:
    return f"/api/v1/jobs-of-test-{next(NUMBERS)}"


def connected(gateway: Gateway) -> Gateway:
    until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    return gateway


def submit(gateway: Gateway, path: str, key: str, body: bytes = BODY, **headers: str) -> Response:
    return request(gateway.port, path, "POST", body, Idempotency_Key=key, Content_Type="application/json", **headers)


def leave_behind(gateway: Gateway, target: str, key: str, is_there: Callable[[], bool]) -> None:
    """Submit, and leave when the request is at the backend."""
    with RawClient(gateway.port) as client:
        fields = f"Host: x\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}"
        client.send(f"POST {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + BODY)
        until(is_there, 3, "the request at the backend")


def records(valkey) -> list[dict[str, object]]:
    return [json.loads(valkey.admin.get(name)) for name in valkey.admin.keys("gateway:idempotency:*")]


# -- replay -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quoted", [False, True])
def test_the_same_request_again_gets_the_same_answer_and_runs_once(gateway, asked, path, key, quoted) -> None:
    target = f"{path}?status=201&pad=3000&h={quote('x-mine: caf')}&h={quote('location: /api/v1/jobs/1')}"
    first = submit(gateway, target, key)
    again = [submit(gateway, target, f'"{key}"' if quoted else key) for _ in range(3)]
    assert (first.status, first.header("idempotency-replayed")) == (201, None)
    assert {(a.status, a.body, a.header("idempotency-replayed")) for a in again} == {(201, first.body, "true")}
    assert asked(path) == 1
    changing = {"x-request-id", "x-gateway-duration", "server-timing", "idempotency-replayed", "x-gateway-attempts"}

    def lasting(response: Response) -> list[tuple[str, str]]:
        return sorted((k.lower(), v) for k, v in response.headers if k.lower() not in changing)

    for one in again:
        assert lasting(one) == lasting(first)
        assert one.header("x-request-id") != first.header("x-request-id")


def test_without_the_header_and_for_other_methods_nothing_changes(gateway, asked, valkey, path, key) -> None:
    for _ in range(2):
        assert request(gateway.port, path, "POST", BODY).status == 200
        assert request(gateway.port, path, Idempotency_Key=key).status == 200
        assert request(gateway.port, path, "PUT", BODY, Idempotency_Key=key).status == 200
    assert asked(path) == 6
    assert records(valkey) == []


def test_the_backend_gets_the_request_as_it_was_sent(gateways, backend, seen, valkey, key) -> None:
    gateway = connected(gateways(backend.url, REDIS_URL=valkey.url))
    request(backend.port, "/_reset")
    with RawClient(gateway.port) as client:
        head = f"POST /chunked HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head.encode() + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        assert client.response().status == 200
    assert submit(gateway, "/empty", key + "-empty", b"").status == 200
    chunked, empty = seen()["seen"]
    assert (chunked["size"], empty["size"]) == (11, 0)
    assert ["idempotency-key", key] in chunked["headers"]
    assert ["content-length", "11"] in chunked["headers"]
    assert ["content-length", "0"] in empty["headers"]


def test_a_connection_serves_on_after_a_replay_and_a_refusal(gateway, path, key) -> None:
    def raw(body: bytes) -> bytes:
        fields = f"Host: x\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        return f"POST {path} HTTP/1.1\r\n{fields}".encode() + body

    with RawClient(gateway.port) as client:
        statuses = []
        for body in (BODY, BODY, b"another", BODY):
            client.send(raw(body))
            statuses.append(client.response().status)
    assert statuses == [200, 200, 422, 200]


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_what_the_backend_answered_is_kept_whatever_its_status(gateway, asked, path, key, status) -> None:
    answers = [submit(gateway, f"{path}?status={status}", key) for _ in range(3)]
    assert {(a.status, a.body) for a in answers} == {(status, answers[0].body)}
    assert asked(path) == 1


def test_another_request_under_the_same_key_is_refused(gateway, asked, path, key) -> None:
    assert submit(gateway, path, key).status == 200
    for refused in (
        submit(gateway, path, key, b"another"),
        submit(gateway, f"{path}?x=1", key),
        request(gateway.port, path, "POST", BODY, Idempotency_Key=key, Content_Type="text/plain"),
    ):
        assert (refused.status, refused.error) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert refused.json["error"]["requestId"] == refused.header("x-request-id")
    assert asked(path) == 1


def test_the_same_key_of_another_identity_is_another_key(gateways, origin, asked, valkey, path, key) -> None:
    gateway = connected(
        gateways(origin.url, REDIS_URL=valkey.url, AUTH_ENABLED="true", AUTH_API_KEYS="ops:k-ops,web:k-web")
    )
    answers = [submit(gateway, path, key, X_API_Key=who) for who in ("k-ops", "k-web", "k-ops", "k-web")]
    assert [a.json["n"] for a in answers] == [1, 2, 1, 2]
    assert submit(gateway, path, key, X_API_Key="wrong").status == 401
    assert asked(path) == 2
    assert "k-ops" not in json.dumps(records(valkey)[0]).replace(json.dumps(answers[0].body.decode())[1:-1], "")


def test_records_end_after_the_ttl(gateways, origin, valkey, path, key) -> None:
    gateway = connected(gateways(origin.url, REDIS_URL=valkey.url, IDEMPOTENCY_TTL_SECONDS=1))
    assert [submit(gateway, path, key).json["n"] for _ in range(2)] == [1, 1]
    (name,) = valkey.admin.keys("gateway:idempotency:*")
    assert 0 < valkey.admin.pttl(name) <= 1000
    until(lambda: submit(gateway, path, key).json["n"] == 2, 3, "the end of the record")


# -- under way ----------------------------------------------------------------------------------------


def test_of_many_at_once_one_runs_here_and_in_another_gateway(gateways, gateway, origin, asked, valkey, path):
    key = path
    other = connected(gateways(origin.url, REDIS_URL=valkey.url, GATEWAY_WORKERS=2))
    target = f"{path}?sleep=0.5"
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda n: submit((gateway, other)[n % 2], target, key), range(24)))
    assert sorted({a.status for a in answers}) == [200, 409]
    assert [a.status for a in answers].count(200) == 1
    refused = next(a for a in answers if a.status == 409)
    assert refused.error == "IDEMPOTENCY_IN_PROGRESS"
    assert 1 <= int(refused.header("retry-after")) == refused.json["error"]["retryAfter"] <= 10
    assert {submit(one, target, key).json["n"] for one in (gateway, other)} == {1}
    assert asked(path) == 1


def test_a_client_that_leaves_finds_the_answer_when_it_comes_back(gateway, asked, path, key) -> None:
    target = f"{path}?sleep=0.6"
    leave_behind(gateway, target, key, lambda: asked(path) == 1)
    answers: list[Response] = []
    until(lambda: answers.append(submit(gateway, target, key)) or answers[-1].status != 409, 5, "the answer")
    assert {a.error for a in answers[:-1]} <= {"IDEMPOTENCY_IN_PROGRESS"}
    assert (answers[-1].status, answers[-1].json["n"]) == (200, 1)
    assert answers[-1].header("idempotency-replayed") == "true"
    assert asked(path) == 1


def test_a_gateway_that_stops_finishes_what_clients_have_left_behind(gateway, origin, asked, valkey, path, key) -> None:
    target = f"{path}?sleep=2"
    with Gateway(origin.url, REDIS_URL=valkey.url, SHUTDOWN_GRACE_SECONDS=8) as stopping:
        connected(stopping)
        leave_behind(stopping, target, key, lambda: asked(path) == 1)
        stopping.stop()
    assert [record["state"] for record in records(valkey)] == ["done"]
    assert submit(gateway, target, key).json["n"] == 1


def test_an_event_stream_is_passed_on_and_replayed_whole(gateways, backend, valkey, key) -> None:
    gateway = connected(gateways(backend.url, REDIS_URL=valkey.url))
    first = submit(gateway, "/events?n=3&every=0.05", key)
    again = submit(gateway, "/events?n=3&every=0.05", key)
    assert first.body.count(b"data:") == 3
    assert (again.body, again.header("content-type")) == (first.body, "text/event-stream")


# -- what failed --------------------------------------------------------------------------------------


def test_a_backend_that_refuses_has_run_nothing_and_the_key_is_free_again(valkey, path, key, gateways) -> None:
    refusing = RefusingPort()
    with Gateway(f"http://127.0.0.1:{refusing.port}", REDIS_URL=valkey.url) as gateway:
        connected(gateway)
        for _ in range(2):
            assert submit(gateway, path, key).status in {502, 503}
            assert records(valkey) == [], "given back before the answer went out"
    refusing.close()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"])
def test_a_backend_that_dies_with_the_request_leaves_an_unknown_outcome(
    gateways, valkey, scripted: ScriptedBackend, path, key, sent
) -> None:
    gateway = connected(gateways(scripted.url, REDIS_URL=valkey.url, ROUTER_HEALTH_PATH="/_health"))
    scripted.answering(sent)
    try:
        first = submit(gateway, path, key)
    except ConnectionResetError:  # which may overtake the head that was sent before it
        assert sent
    else:
        assert first.status == 502 if not sent else not first.is_complete
    heads = len(scripted.heads)
    until(lambda: records(valkey)[0]["state"] == "unknown", 2, "the outcome")
    for _ in range(2):
        again = submit(gateway, path, key)
        assert (again.status, again.error) == (409, "IDEMPOTENCY_OUTCOME_UNKNOWN")
    assert submit(gateway, path, key, b"other").error == "IDEMPOTENCY_KEY_REUSED"
    assert len(scripted.heads) == heads == 1, "never sent again"


def test_a_gateway_killed_in_between_leaves_an_unknown_outcome(gateway, origin, asked, valkey, path, key):
    target = f"{path}?sleep=5"
    doomed = Gateway(origin.url, REDIS_URL=valkey.url)
    connected(doomed)
    leave_behind(doomed, target, key, lambda: asked(path) == 1)
    for process in (*doomed.workers(), doomed.process):
        process.send_signal(signal.SIGKILL)
    doomed.process.wait(5)
    assert submit(gateway, target, key).error == "IDEMPOTENCY_IN_PROGRESS"
    (name,) = valkey.admin.keys("gateway:idempotency:*")
    record = json.loads(valkey.admin.get(name))
    assert 10_000 < record["until"] - time.time() * 1000 <= 20_500
    # nobody renews it: as if its lease had passed
    valkey.admin.set(name, json.dumps({**record, "until": record["until"] - 20_000}, separators=(",", ":")), px=60_000)
    until(lambda: submit(gateway, target, key).error == "IDEMPOTENCY_OUTCOME_UNKNOWN", 3, "the end of the lease")
    assert asked(path) == 1


def test_a_long_request_is_renewed_past_its_first_lease(gateway, valkey, path, key) -> None:
    target = f"{path}?sleep=7"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(submit, gateway, target, key)
        until(lambda: records(valkey), 3, "the claim")
        first = records(valkey)[0]["until"]
        until(lambda: records(valkey)[0]["until"] > first, 6.5, "a renewal")
        assert submit(gateway, target, key).error == "IDEMPOTENCY_IN_PROGRESS"
        assert running.result().status == 200


def test_without_redis_the_promise_is_not_made(gateways, origin, asked, valkey, path, key) -> None:
    gateway = connected(gateways(origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="false"))
    valkey.stop()
    refused = submit(gateway, path, key)
    assert (refused.status, refused.error) == (503, "SERVICE_UNAVAILABLE")
    assert refused.header("retry-after") == "1"
    assert request(gateway.port, path, "POST", BODY).status == 200, "without a key nothing was promised"
    assert asked(path) == 1
    valkey.start()
    connected(gateway)
    assert submit(gateway, path, key).status == 200


def test_an_answer_that_came_while_redis_was_away_is_kept_when_it_is_back(gateways, origin, asked, valkey, path, key):
    gateway = connected(gateways(origin.url, REDIS_URL=valkey.url, CACHE_ENABLED="false"))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(submit, gateway, f"{path}?sleep=0.5", key)
        until(lambda: asked(path) == 1, 3, "the request at the backend")
        valkey.stop()
        assert running.result().status == 200
    valkey.start()
    until(lambda: records(valkey), 8, "the outcome")
    assert submit(gateway, f"{path}?sleep=0.5", key).header("idempotency-replayed") == "true"
    assert asked(path) == 1


# -- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", '""', "a b", "a,b", '"open', "x" * 256, 'caf\xe9"', '"a"b'])
def test_a_key_that_is_none_is_refused(gateway, asked, valkey, path, value) -> None:
    refused = submit(gateway, path, value)
    assert (refused.status, refused.error) == (400, "BAD_REQUEST")
    assert asked(path) == 0
    assert records(valkey) == []


def test_two_keys_are_refused(gateway, path) -> None:
    with RawClient(gateway.port) as client:
        fields = "Host: x\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\nContent-Length: 0\r\n\r\n"
        client.send(f"POST {path} HTTP/1.1\r\n{fields}".encode())
        assert client.response().status == 400


def test_a_large_body_is_refused_with_a_key_and_not_without(gateway, asked, path, key) -> None:
    large = b"x" * (1024 * 1024 + 1)
    refused = submit(gateway, path, key, large)
    assert (refused.status, refused.error) == (413, "PAYLOAD_TOO_LARGE")
    assert asked(path) == 0
    assert request(gateway.port, path, "POST", large).status == 200
    assert submit(gateway, path, key, large[:-1]).status == 200


def test_a_body_that_is_not_completed_claims_nothing(gateway, asked, valkey, path, key) -> None:
    with RawClient(gateway.port) as client:
        fields = f"Host: x\r\nIdempotency-Key: {key}\r\nContent-Length: 100\r\n\r\n"
        client.send(f"POST {path} HTTP/1.1\r\n{fields}half".encode())
        time.sleep(0.1)
    assert submit(gateway, path, key).status == 200
    assert asked(path) == 1
    assert len(records(valkey)) == 1


def test_the_plugins_page_tells(gateway, path, key) -> None:
    for _ in range(2):
        submit(gateway, path, key)
    plugins = {one["name"]: one for one in request(gateway.port, "/gateway/plugins").json["plugins"]}
    told = plugins["idempotency"]
    assert (told["enabled"], told["state"]) == (True, "active")
    assert told["claimed"] >= 1
    assert told["replayed"] >= 1
    assert told["under_way"] == told["unconfirmed"] == 0
