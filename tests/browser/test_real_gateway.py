"""The status page as a real gateway serves it, with what that gateway has really done."""

from __future__ import annotations

import re

import pytest

from tests.support.browser import CHROMIUM, Screen, chromium
from tests.support.raw_client import request
from tests.support.wait import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium")


def test_it_shows_what_the_gateway_has_done(gateways, backend) -> None:
    gateway = gateways(backend.url, GATEWAY_WORKERS=2, CACHE_ENABLED="true", CACHE_ROUTES="/regions=60")
    until(lambda: request(gateway.port, "/gateway/health").json["redis"] == "connected", 5, "Redis")
    with chromium() as browser:
        screen = Screen(browser, f"{gateway.url}/gateway/ui")
        for _ in range(60):
            request(gateway.port, "/regions")
        request(gateway.port, "/status/404")
        screen.poll()
        assert re.fullmatch(r"[\d.,]+/s", until(lambda: screen.text("#rate").replace("measuring …", ""), 5, "a rate"))
        page = screen.page.inner_text("body")
        assert backend.url in page
        assert "/regions" in page
        assert "connected" in page
        home = gateway.url
        assert {one for one in screen.requests if not one.startswith(("data:", home))} == set()
        assert screen.errors == []
        screen.context.close()


def test_who_is_no_operator_is_asked_for_the_token(gateways, backend) -> None:
    gateway = gateways(backend.url, ADMIN_ALLOW="192.0.2.1", ADMIN_TOKEN="s3cret-token")
    with chromium() as browser:
        screen = Screen(browser, f"{gateway.url}/gateway/ui")
        assert screen.is_away()
        screen.page.fill("#token", "s3cret-token")
        screen.page.keyboard.press("Enter")
        until(lambda: not screen.is_away(), 5, "the figures")
        assert backend.url in screen.page.inner_text("body")
        screen.context.close()
