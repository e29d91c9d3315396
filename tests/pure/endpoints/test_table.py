"""Which paths are the gateway's own, which methods they answer, and for whom."""

from __future__ import annotations

import json
from functools import partial
from time import monotonic
from typing import Any

import pytest

from fastgw.endpoints.access import Access
from fastgw.endpoints.cache import CachePage
from fastgw.endpoints.config import ConfigPage
from fastgw.endpoints.detailed import Detailed
from fastgw.endpoints.health import Health, RedisState
from fastgw.endpoints.metrics import MetricsPage
from fastgw.endpoints.overview import Overview
from fastgw.endpoints.plugins import Plugins
from fastgw.endpoints.table import Pages, Sources
from fastgw.endpoints.ui import UiPage
from fastgw.settings.live import Live
from fastgw.settings.load import load
from fastgw.settings.values import networks
from fastgw.store.errors import StoreDown
from fastgw.telemetry.exposition import expose
from fastgw.telemetry.ledger import Ledger
from tests.pure.asgi import HOST, Client, accepted, exchange, piece
from tests.pure.loop import in_loop

NEAR, FAR = "127.0.0.1", "203.0.113.9"
OPEN = ["/gateway/health", "/gateway/health/live"]
ADMIN = ["/gateway/health/detailed", "/gateway/plugins", "/gateway/config", "/gateway/metrics", "/gateway/ui/data"]


class Nothing:
    """Nothing is stored, and nobody else stores anything."""

    async def read(self) -> bytes | None:
        return None

    async def swap(self, old: bytes | None, new: bytes) -> bool:
        return True


async def purge(path: str | None) -> int:
    return 0


def pages(metrics_path: str = "/gateway/metrics") -> Pages:
    plugins = Plugins([])
    health = Health([], RedisState, lambda: False, monotonic())
    live = Live(load({}, None), Nothing(), StoreDown)
    detailed = Detailed(health, RedisState, [], plugins, dict)
    ledger = Ledger()
    ledger.claim()
    metrics = MetricsPage(partial(expose, ledger))
    overview = Overview(ledger, health, RedisState, [], list)
    of = Sources(health, detailed, ConfigPage(live), plugins, CachePage(purge), metrics, overview, UiPage())
    return Pages(Access(networks("127.0.0.0/8"), "s3cret"), of, metrics_path)


PAGES = pages()


async def ask(
    method: str, path: str, *fields: tuple[bytes, bytes], peer: str = NEAR, body: bytes = b"", version: str = "1.1"
) -> tuple[Client, Any]:
    client = Client(piece(body))
    length = [(b"content-length", b"%d" % len(body))] if body else []
    x = accepted(exchange(HOST, *fields, *length, method=method, client=client, peer=peer, http_version=version))
    page: Any = PAGES.find(path)
    await page(x)
    return client, x


@pytest.mark.parametrize("path", ["/", "/gatewayx", "/api/gateway", "/gatewa", "/Gateway/health", "//gateway/health"])
def test_others_are_forwarded(path: str) -> None:
    assert PAGES.find(path) is None


@pytest.mark.parametrize("path", ["/gateway", "/gateway/", "/gateway/nothing", "/gateway/../api", "/gateway/health/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@in_loop
async def test_unknown_ones_are_404(path: str, method: str) -> None:
    client, _ = await ask(method, path, peer=FAR)
    assert client.status == 404
    assert set(json.loads(client.body)["error"]) == {"code", "message", "requestId"}


@pytest.mark.parametrize("path", OPEN + ADMIN)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@in_loop
async def test_pages_answer_get_and_head_nearby(path: str, method: str) -> None:
    client, _ = await ask(method, path)
    assert client.status in {200, 503}
    json_or_text = b"text/plain" if path == "/gateway/metrics" else b"application/json"
    assert client.fields[b"content-type"].startswith(json_or_text)
    assert bool(client.body) == (method == "GET")


@pytest.mark.parametrize("path", OPEN)
@in_loop
async def test_health_is_for_everybody_even_with_a_wrong_token(path: str) -> None:
    client, _ = await ask("GET", path, (b"x-admin-token", b"wrong"), peer=FAR)
    assert client.status in {200, 503}


@pytest.mark.parametrize(("method", "path"), [*(("GET", path) for path in ADMIN), ("DELETE", "/gateway/cache")])
@in_loop
async def test_the_others_are_for_operators(method: str, path: str) -> None:
    assert (await ask(method, path, peer=FAR))[0].status == 403
    assert (await ask(method, path, (b"x-admin-token", b"wrong"), peer=NEAR))[0].status == 401
    assert (await ask(method, path, (b"x-admin-token", b"s3cret"), peer=FAR))[0].status in {200, 503}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/gateway/health/live", b"GET, HEAD"),
        ("OPTIONS", "/gateway/health", b"GET, HEAD"),
        ("PUT", "/gateway/config", b"GET, HEAD, PATCH"),
        ("GET", "/gateway/cache", b"DELETE"),
        ("HEAD", "/gateway/cache", b"DELETE"),
    ],
)
@in_loop
async def test_other_methods_are_405_with_those_that_are_served(method: str, path: str, allow: bytes) -> None:
    client, _ = await ask(method, path)
    assert (client.status, client.fields[b"allow"]) == (405, allow)


@in_loop
async def test_who_may_not_see_a_page_does_not_learn_its_methods() -> None:
    client, _ = await ask("PUT", "/gateway/config", peer=FAR)
    assert (client.status, b"allow" in client.fields) == (403, False)


@in_loop
async def test_config_is_changed_and_the_cache_purged() -> None:
    json_type = (b"content-type", b"application/json")
    assert (await ask("PATCH", "/gateway/config", json_type, body=b'{"LOG_LEVEL": "debug"}'))[0].status == 200
    assert (await ask("DELETE", "/gateway/cache"))[0].status == 200


@in_loop
async def test_a_connection_with_an_unread_body_is_not_used_again() -> None:
    assert (await ask("POST", "/gateway/health", body=b"x"))[1].must_close
    assert not (await ask("POST", "/gateway/health"))[1].must_close
    assert not (await ask("POST", "/gateway/health", body=b"x", version="2"))[1].must_close


@pytest.mark.parametrize(("metrics_path", "elsewhere"), [("/metrics", "/metrics"), ("/gateway/metrics", "")])
def test_metrics_may_be_anywhere(metrics_path: str, elsewhere: str) -> None:
    table = pages(metrics_path)
    assert table.elsewhere == elsewhere
    assert table.find(metrics_path) is not None
    assert (table.find(f"{metrics_path}/x") is None) == bool(elsewhere)
