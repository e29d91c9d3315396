"""PATCH /gateway/config reaches every process of every node within a second, and survives what Redis goes through."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from tests.support.processes import Gateway, is_alive
from tests.support.raw_client import RawClient, Response, request
from tests.support.wait import until

KEY = "gateway:config"
WITHIN_S = 1.0


class Watch:
    """A connection to each process of some gateways, through which its settings can be seen."""

    def __init__(self, *gateways: Gateway) -> None:
        self.clients: dict[int, RawClient] = {}
        wanted = {worker.pid for gateway in gateways for worker in gateway.workers()}
        deadline = monotonic() + 20
        while set(self.clients) != wanted:
            assert monotonic() < deadline, "connections did not reach every worker"
            for gateway in gateways:
                client = RawClient(gateway.port)
                pid = ask(client, "/gateway/health/detailed")["resources"]["pid"]
                if self.clients.setdefault(pid, client) is not client:
                    client.close()

    def values(self, name: str) -> list[Any]:
        return [ask(client, "/gateway/config")["settings"][name]["value"] for client in self.clients.values()]

    def all_are(self, name: str, value: Any) -> bool:
        return set(self.values(name)) == {value}

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


def ask(client: RawClient, path: str) -> Any:
    client.send(f"GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n".encode())
    response = client.response()
    assert response.status in {200, 503}, response.body
    return response.json


def patch(gateway: Gateway, **changes: Any) -> Response:
    body = json.dumps(changes).encode()
    return request(gateway.port, "/gateway/config", "PATCH", body, Content_Type="application/json")


def value(gateway: Gateway, name: str) -> Any:
    return request(gateway.port, "/gateway/config").json["settings"][name]["value"]


@pytest.fixture
def pair(gateways, backend, valkey) -> tuple[Gateway, Gateway]:
    """Two gateways of two workers each, on one Redis in which nothing is stored."""
    settings = {"REDIS_URL": valkey.url, "GATEWAY_WORKERS": 2, "CACHE_MAX_SIZE": 900}
    first, second = gateways(backend.url, NODE=1, **settings), gateways(backend.url, NODE=2, **settings)
    for gateway in (first, second):
        until(lambda g=gateway: request(g.port, "/gateway/config").json["revision"] == 0, 5, "the empty start")
    return first, second


@pytest.fixture
def watch(pair) -> Iterator[Watch]:
    one = Watch(*pair)
    until(lambda: one.all_are("CACHE_MAX_SIZE", 900), 5, "the empty start everywhere")
    yield one
    one.close()


def test_a_change_is_in_force_in_every_process_of_every_node_within_a_second(pair, watch):
    assert len(watch.clients) == 4
    for number, gateway in enumerate((*pair, *pair)):
        response = patch(gateway, CACHE_MAX_SIZE=100 + number, LOG_LEVEL="debug")
        assert (response.status, response.json["settings"]["CACHE_MAX_SIZE"]["value"]) == (200, 100 + number)
        until(lambda n=number: watch.all_are("CACHE_MAX_SIZE", 100 + n), WITHIN_S, "the change everywhere")
    assert patch(pair[0], CACHE_MAX_SIZE=None, LOG_LEVEL=None).json["changes"] == {}
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 900), WITHIN_S, "the environment's value everywhere")


def test_what_is_stored_is_json_with_a_revision_and_no_ttl(pair, valkey):
    patch(pair[0], RATE_LIMIT_MAX_REQUESTS=500)
    patch(pair[0], TRUSTED_PROXIES=["127.0.0.0/8", "10.0.0.0/8"])
    stored = json.loads(valkey.admin.get(KEY))
    assert stored["changes"] == {"RATE_LIMIT_MAX_REQUESTS": "500", "TRUSTED_PROXIES": "127.0.0.0/8, 10.0.0.0/8"}
    assert (stored["v"], stored["revision"]) == (1, 2)
    assert stored["updated"].endswith("Z")
    assert valkey.admin.ttl(KEY) == -1


def test_no_change_is_lost_when_many_write_at_once(pair, valkey):
    settings = ["CACHE_MAX_SIZE", "CACHE_TTL_SECONDS", "RATE_LIMIT_MAX_REQUESTS", "FASTAPI_TIMEOUT"]

    def write(number: int) -> None:
        name = settings[number]
        for n in range(10):
            # On a busy machine Redis may answer too late: 503, and nothing is lost by sending it again.
            until(lambda n=n: patch(pair[number % 2], **{name: 1000 + n}).status == 200, 10, f"{name} being written")

    writers = [threading.Thread(target=write, args=(n,)) for n in range(len(settings))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    stored = json.loads(valkey.admin.get(KEY))
    assert stored["changes"] == dict.fromkeys(settings, "1009")
    assert stored["revision"] == 40


def test_a_deleted_key_is_the_environments_settings_again(pair, watch, valkey):
    patch(pair[0], CACHE_MAX_SIZE=5)
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 5), WITHIN_S, "the change everywhere")
    valkey.admin.delete(KEY)
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 900), WITHIN_S, "the environment's value everywhere")


@pytest.mark.parametrize(
    "text", [b"nonsense", b"", b"\x00\xff", b"[]", b'{"v": 7, "changes": {}}', b"{" * 60_000, b"x" * 200_000]
)
def test_what_others_write_there_breaks_nothing(pair, watch, valkey, text):
    patch(pair[0], CACHE_MAX_SIZE=5)
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 5), WITHIN_S, "the change everywhere")
    valkey.admin.set(KEY, text)
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 900), WITHIN_S, "the environment's value everywhere")
    assert patch(pair[1], CACHE_MAX_SIZE=6).status == 200
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 6), WITHIN_S, "the change everywhere")


def test_a_key_of_another_type_breaks_nothing_and_the_next_change_replaces_it(pair, watch, valkey):
    valkey.admin.rpush(KEY, "a", "b")
    until(lambda: "ignored" in request(pair[0].port, "/gateway/config").json, 3, "it being noticed")
    assert watch.all_are("CACHE_MAX_SIZE", 900)
    assert patch(pair[0], CACHE_MAX_SIZE=6).status == 200
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 6), WITHIN_S, "the change everywhere")


def test_bad_values_are_told_of_once_and_good_ones_apply(pair, watch, valkey):
    mark = len(pair[0].log)
    changes = {
        "CACHE_MAX_SIZE": "7",
        "LOG_LEVEL": "loud",
        "GATEWAY_PORT": "1",
        "ADMIN_TOKEN": "hunter2",
        "NO_SUCH": "1",
    }
    valkey.admin.set(KEY, json.dumps({"v": 1, "changes": changes, "revision": 1}))
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 7), WITHIN_S, "the good one everywhere")
    config = request(pair[0].port, "/gateway/config").json
    assert set(config["ignored"]) == {"LOG_LEVEL", "GATEWAY_PORT", "ADMIN_TOKEN", "NO_SUCH"}
    valkey.admin.set(KEY, json.dumps({"v": 1, "changes": {**changes, "CACHE_MAX_SIZE": "8"}, "revision": 2}))
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 8), WITHIN_S, "the next one everywhere")
    for name in config["ignored"]:
        assert pair[0].log[mark:].count(f"stored setting ignored: {name} ") == 2, "once in each process"
    assert "hunter2" not in pair[0].log


def test_a_worker_that_starts_has_the_stored_changes_from_its_first_answer(pair, backend, valkey):
    patch(pair[0], CACHE_MAX_SIZE=55)
    with Gateway(backend.url, REDIS_URL=valkey.url) as late:
        assert value(late, "CACHE_MAX_SIZE") == 55
        first = late.worker()
        late.process.send_signal(signal.SIGHUP)
        until(lambda: not is_alive(first) and late.log.count(" serves\n") == 2, 20, "another worker in its place")
        assert value(late, "CACHE_MAX_SIZE") == 55


def test_without_redis_a_change_is_503_and_what_is_in_force_stays(pair, watch, valkey):
    patch(pair[0], CACHE_MAX_SIZE=44)
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 44), WITHIN_S, "the change everywhere")
    valkey.freeze()
    response = until(lambda: (r := patch(pair[0], CACHE_MAX_SIZE=45)).status == 503 and r, 5, "the loss being noticed")
    assert response.error == "SERVICE_UNAVAILABLE"
    assert response.header("retry-after")
    assert watch.all_are("CACHE_MAX_SIZE", 44)
    valkey.thaw()
    until(lambda: patch(pair[1], CACHE_MAX_SIZE=46).status == 200, 10, "the return being noticed")
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 46), 5, "the change everywhere")


def test_a_gateway_starts_without_redis_and_takes_the_changes_over_when_it_comes(pair, backend, valkey):
    patch(pair[0], CACHE_MAX_SIZE=33)
    valkey.freeze()
    with Gateway(backend.url, REDIS_URL=valkey.url) as late:
        assert value(late, "CACHE_MAX_SIZE") == 1000
        valkey.thaw()
        until(lambda: value(late, "CACHE_MAX_SIZE") == 33, 10, "the stored change")


def test_a_change_takes_effect(gateways, backend, valkey):
    """A limit, a timeout, whom the gateway believes: from one request to the next, without a restart."""
    gateway = gateways(backend.url, REDIS_URL=valkey.url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MAX_REQUESTS=70)
    limit = lambda: request(gateway.port, "/x").header("x-ratelimit-limit")  # noqa: E731
    assert limit() == "70"
    assert patch(gateway, RATE_LIMIT_MAX_REQUESTS=500).status == 200
    assert limit() == "500"
    assert patch(gateway, RATE_LIMIT_ENABLED=False).status == 200
    assert limit() is None
    assert patch(gateway, FASTAPI_TIMEOUT=300).status == 200
    assert request(gateway.port, "/slow?s=3").status == 504
    assert patch(gateway, TRUSTED_PROXIES="none").status == 200
    assert request(gateway.port, "/gateway/config", X_Forwarded_For="203.0.113.9").status == 200
    assert patch(gateway, TRUSTED_PROXIES=None).status == 200
    assert request(gateway.port, "/gateway/config", X_Forwarded_For="203.0.113.9").status == 403


def test_it_works_through_a_cluster(gateways, backend, cluster):
    gateway = gateways(backend.url, REDIS_URL=cluster.url, GATEWAY_WORKERS=2)
    watch = Watch(gateway)
    assert patch(gateway, CACHE_MAX_SIZE=77).status == 200
    until(lambda: watch.all_are("CACHE_MAX_SIZE", 77), WITHIN_S, "the change everywhere")
    watch.close()
