"""What /gateway/config shows, takes and refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastgw.endpoints.config import ConfigPage
from fastgw.errors import GatewayError
from fastgw.settings.live import Live
from fastgw.settings.load import NAMES, load
from fastgw.store.errors import ReplyFailed, StoreDown
from tests.pure.asgi import HOST, Client, accepted, exchange, piece
from tests.pure.loop import in_loop

JSON = (b"content-type", b"application/json")
SECRETS = {"REDIS_URL": "redis://u:hunter2@h/0", "ADMIN_TOKEN": "hunter2", "AUTH_API_KEYS": "ops:hunter2"}


class Shared:
    def __init__(self, text: bytes | None = None, error: Exception | None = None, is_busy: bool = False) -> None:
        self.text, self.error, self.is_busy = text, error, is_busy

    async def read(self) -> bytes | None:
        if self.error is not None:
            raise self.error
        return self.text

    async def swap(self, old: bytes | None, new: bytes) -> bool:
        if self.is_busy:
            return False
        self.text = new
        return True


def page_on(shared: Shared, **environ: str) -> ConfigPage:
    return ConfigPage(Live(load(environ, None), shared, StoreDown))


async def patch(page: ConfigPage, body: bytes, content_type: tuple[bytes, bytes] = JSON) -> Client:
    client = Client(piece(body))
    length = (b"content-length", b"%d" % len(body))
    await page.change(accepted(exchange(HOST, content_type, length, method="PATCH", client=client)))
    return client


@in_loop
async def test_it_shows_every_setting_with_unit_origin_and_whether_it_can_change() -> None:
    client = Client()
    await page_on(Shared(), FASTAPI_TIMEOUT="5", **SECRETS).show(accepted(exchange(client=client)))
    content = json.loads(client.body)
    assert client.status == 200
    assert set(content) == {"settings", "changes", "revision"}
    assert set(content["settings"]) == set(NAMES)
    assert content["settings"]["FASTAPI_TIMEOUT"] == {"value": 5, "unit": "ms", "origin": "environment", "live": True}
    assert content["settings"]["GATEWAY_PORT"] == {"value": 3000, "unit": "", "origin": "default", "live": False}
    assert content["settings"]["ADMIN_TOKEN"]["value"] == "********"
    assert b"hunter2" not in client.body


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"application/json; charset=utf-8", b"application/merge-patch+json"]
)
@in_loop
async def test_a_change_answers_the_new_values(content_type: bytes) -> None:
    client = await patch(page_on(Shared()), b'{"RATE_LIMIT_MAX_REQUESTS": 500}', (b"content-type", content_type))
    content = json.loads(client.body)
    assert client.status == 200
    assert content["settings"]["RATE_LIMIT_MAX_REQUESTS"] == {
        "value": 500,
        "unit": "",
        "origin": "run time",
        "live": True,
    }
    assert (content["changes"], content["revision"]) == ({"RATE_LIMIT_MAX_REQUESTS": "500"}, 1)
    assert content["updated"].endswith("Z")


@in_loop
async def test_every_problem_is_in_the_error_and_nothing_is_changed() -> None:
    shared = Shared()
    body = b'{"RATE_LIMIT_MAX_REQUESTS": 0, "GATEWAY_PORT": 1, "LOG_LEVEL": "debug"}'
    client = await patch(page_on(shared), body)
    error = json.loads(client.body)["error"]
    assert client.status == 400
    assert set(error) == {"code", "message", "requestId", "problems"}
    assert error["code"] == "BAD_REQUEST"
    assert error["problems"] == {
        "RATE_LIMIT_MAX_REQUESTS": "is below 1",
        "GATEWAY_PORT": "needs a restart; set it in the environment or in .env",
    }
    assert error["message"].endswith("nothing was changed; see problems for RATE_LIMIT_MAX_REQUESTS, GATEWAY_PORT")
    assert shared.text is None


@in_loop
async def test_an_empty_change_is_told_as_such() -> None:
    error = json.loads((await patch(page_on(Shared()), b"{}")).body)["error"]
    assert error["message"].endswith("nothing was changed; no setting is named")
    assert error["problems"] == {}


@pytest.mark.parametrize(
    ("body", "content_type", "told"),
    [
        (b'{"LOG_LEVEL": "debug"}', b"text/plain", "Content-Type"),
        (b'{"LOG_LEVEL": "debug"}', b"application/x-www-form-urlencoded", "Content-Type"),
        (b'{"LOG_LEVEL": "debug"}', b"", "Content-Type"),
        (b"{", b"application/json", "no JSON"),
        (b"", b"application/json", "no JSON"),
        (b"\xff", b"application/json", "no JSON"),
        (b"[" * 900, b"application/json", "no JSON"),
        (b"[]", b"application/json", "no object"),
        (b"null", b"application/json", "no object"),
    ],
)
@in_loop
async def test_what_is_no_object_of_settings_is_refused(body: bytes, content_type: bytes, told: str) -> None:
    with pytest.raises(GatewayError, match=told) as caught:
        await patch(page_on(Shared()), body, (b"content-type", content_type))
    assert caught.value.kind.status == 400


@pytest.mark.parametrize(
    ("shared", "told"),
    [
        (Shared(error=StoreDown("no answer within 35 ms")), "Redis can't be asked"),
        (Shared(error=ReplyFailed("OOM command not allowed")), "Redis can't be asked"),
        (Shared(is_busy=True), "at the same time"),
    ],
    ids=["down", "reply", "contended"],
)
@in_loop
async def test_a_change_that_cannot_be_stored_is_503(shared: Shared, told: str) -> None:
    page = page_on(shared)
    with pytest.raises(GatewayError, match=told) as caught:
        await patch(page, b'{"LOG_LEVEL": "debug"}')
    assert caught.value.kind.status == 503
    assert page.content()["settings"]["LOG_LEVEL"]["value"] == "info"


@in_loop
async def test_what_is_stored_but_not_in_force_is_shown() -> None:
    raw: Any = {"v": 1, "changes": {"LOG_LEVEL": "loud", "CACHE_MAX_SIZE": "5"}, "revision": 2}
    page = page_on(Shared(json.dumps(raw).encode()))
    await page._live.refresh()
    content = page.content()
    assert content["changes"] == {"CACHE_MAX_SIZE": "5"}
    assert "is none of" in content["ignored"]["LOG_LEVEL"]
