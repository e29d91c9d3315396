"""CORS as a real Chromium judges it: a page of another origin calls the API through a real gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.browser import CHROMIUM, chromium
from tests.support.processes import Gateway, Uvicorn
from tests.support.raw_client import request
from tests.support.wait import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium")

CALL = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    const text = await answer.text();
    return {status: answer.status, text, headers: Object.fromEntries(answer.headers)};
  } catch (error) {
    return {refused: error.name};
  }
}"""
"""What a script of the page learns of a call."""


class Empty(BaseHTTPRequestHandler):
    """The page's own server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page comes from: another port is another origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page(origin: str) -> Iterator[Page]:
    with chromium() as browser:
        one = browser.new_page()
        one.goto(origin)
        yield one


def known(gateway: Gateway, decides: str) -> Gateway:
    def said() -> bool:
        plugins = request(gateway.port, "/gateway/plugins").json["plugins"]
        return any(one.get("decides") == decides for one in plugins)

    until(said, 5, "the check of the backend")
    return gateway


def call(page: Page, url: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    options: dict[str, Any] = {"method": method, "headers": {k.replace("_", "-"): v for k, v in headers.items()}}
    if method == "POST":
        options["body"] = '{"type": "llm"}'
    found: dict[str, Any] = page.evaluate(CALL, [url, options])
    return found


def test_a_page_submits_jobs_and_reads_what_it_is_told(gateways, backend, page: Page, origin: str, seen) -> None:
    gateway = known(
        gateways(
            backend.url,
            AUTH_ENABLED="true",
            AUTH_API_KEYS="page:k3y",
            RATE_LIMIT_ENABLED="true",
            RATE_LIMIT_MAX_REQUESTS=2,
        ),
        "gateway",
    )
    request(backend.port, "/_reset")
    url = f"{gateway.url}/api/v1/jobs"
    job = {"X_API_Key": "k3y", "Content_Type": "application/json", "Idempotency_Key": '"page-1"'}
    first, again, limited = (call(page, url, "POST", **job) for _ in range(3))
    assert (first["status"], again["status"]) == (200, 200)
    assert first["headers"]["x-request-id"]
    assert first["headers"]["x-ratelimit-remaining"] == "1", "preflights are not counted"
    assert again["headers"]["idempotency-replayed"] == "true"
    assert limited["status"] == 429
    assert int(limited["headers"]["retry-after"]) > 0
    assert "RATE_LIMIT_EXCEEDED" in limited["text"]
    (reached,) = seen()["seen"]
    assert reached["method"] == "POST", "no preflight reaches the backend"
    assert ["origin", origin] in reached["headers"]

    unknown = call(page, url, X_API_Key="wr0ng")
    assert unknown["status"] == 401
    assert "UNAUTHORIZED" in unknown["text"]


def test_operators_pages_are_for_no_other_page_though_the_browser_is_on_the_machine(
    gateways, backend, page: Page
) -> None:
    gateway = known(gateways(backend.url), "gateway")
    assert request(gateway.port, "/gateway/config").status == 200
    for path in ("/gateway/config", "/gateway/ui/data", "/gateway/metrics", "/gateway/health"):
        assert call(page, gateway.url + path) == {"refused": "TypeError"}
    assert call(page, f"{gateway.url}/gateway/cache", "DELETE") == {"refused": "TypeError"}
    assert call(page, f"{gateway.url}/gateway/config", X_Admin_Token="guess") == {"refused": "TypeError"}


def test_who_is_not_in_the_list_reads_nothing(gateways, backend, page: Page, origin: str, seen) -> None:
    closed = known(gateways(backend.url, CORS_ORIGIN="https://app.test"), "gateway")
    request(backend.port, "/_reset")
    assert call(page, f"{closed.url}/api/v1/jobs", "POST", Content_Type="application/json") == {"refused": "TypeError"}
    assert seen()["seen"] == []
    assert call(page, f"{closed.url}/regions") == {"refused": "TypeError"}
    listed = known(gateways(backend.url, CORS_ORIGIN=f"https://app.test, {origin}"), "gateway")
    assert call(page, f"{listed.url}/api/v1/jobs", "POST", Content_Type="application/json")["status"] == 200
    assert call(page, f"{listed.url}/api/v1/jobs", "PATCH") == {"refused": "TypeError"}, "not in CORS_METHODS"


def test_a_servers_own_policy_holds_as_it_does_without_the_gateway(gateways, page: Page) -> None:
    for app, can_read in (("open_to_all", True), ("strict", False)):
        with Uvicorn(f"tests.support.cors_app:{app}") as server:
            gateway = known(gateways(server.url), "backend")
            for url in (server.url, gateway.url):
                simple = call(page, f"{url}/api/v1/jobs")
                asked = call(page, f"{url}/api/v1/jobs", "POST", X_API_Key="k3y")
                assert ("status" in simple, "status" in asked) == (can_read, can_read)
