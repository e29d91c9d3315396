"""What DELETE /gateway/cache asks for, and what it answers."""

from __future__ import annotations

import json

import pytest

from fastgw.endpoints.cache import CachePage, path_of
from fastgw.errors import GatewayError
from fastgw.store.errors import StoreDown
from tests.pure.asgi import Client, accepted, exchange
from tests.pure.loop import in_loop


@pytest.mark.parametrize(
    ("query", "path"),
    [
        (b"", None),
        (b"path=/regions", "/regions"),
        (b"path=%2Fapi%2Fv1%2Fqueue%2Fstats", "/api/v1/queue/stats"),
        (b"path=%2Fregions%3Fa%3D1%26b%3D2", "/regions?a=1&b=2"),
        (b"path=/a%2520b", "/a%20b"),
        (b"path=/a%20b", "/a%20b"),
        (b"path=/caf%C3%A9", "/caf%C3%A9"),
        (b"path=/caf%25C3%25A9", "/caf%C3%A9"),
        (b"path=/caf%E9", "/caf%E9"),
        (b"path=/a%2Bb", "/a+b"),
    ],
)
def test_the_path_is_the_one_on_the_request_line(query: bytes, path: str | None) -> None:
    assert path_of(query) == path


@pytest.mark.parametrize(
    "query",
    [
        b"pth=/regions",
        b"path",
        b"path=",
        b"path=regions",
        b"path=/a&path=/b",
        b"path=/a&x=1",
        b"x",
        b"&",
        b"=",
        b"%ff",
    ],
)
def test_a_query_that_is_not_understood_purges_nothing(query: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        path_of(query)
    assert caught.value.kind.status == 400


@in_loop
async def test_the_answer_is_how_many_entries_went() -> None:
    asked: list[str | None] = []

    async def purge(path: str | None) -> int:
        asked.append(path)
        return 3

    client = Client()
    x = accepted(exchange(method="DELETE", target=b"/gateway/cache?path=/regions", client=client))
    await CachePage(purge).purge(x)
    assert (client.status, json.loads(client.body), asked) == (200, {"purged": 3}, ["/regions"])


@in_loop
async def test_without_redis_it_is_503() -> None:
    async def purge(path: str | None) -> int:
        raise StoreDown("no answer")

    with pytest.raises(GatewayError) as caught:
        await CachePage(purge).purge(accepted(exchange(method="DELETE", target=b"/gateway/cache")))
    assert caught.value.kind.status == 503
