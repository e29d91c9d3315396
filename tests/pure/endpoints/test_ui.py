"""The status page as bytes: its fields, its validator, and that it needs nothing from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

import pytest

from fastgw.endpoints.ui import UiPage, policy
from tests.pure.asgi import HOST, Client, accepted, exchange
from tests.pure.loop import in_loop

PAGE = files("fastgw.endpoints").joinpath("ui.html").read_text(encoding="utf-8")


async def ask(*fields: tuple[bytes, bytes], method: str = "GET") -> Client:
    client = Client()
    await UiPage().show(accepted(exchange(HOST, *fields, method=method, client=client)))
    return client


@in_loop
async def test_it_is_the_file_and_is_asked_for_again_each_time() -> None:
    client = await ask()
    assert client.status == 200
    assert client.body.decode() == PAGE
    assert client.fields[b"content-type"] == b"text/html; charset=utf-8"
    assert client.fields[b"cache-control"] == b"no-cache"
    assert client.fields[b"x-content-type-options"] == b"nosniff"
    assert client.fields[b"content-length"] == b"%d" % len(PAGE.encode())


@in_loop
async def test_head_has_the_fields_alone() -> None:
    client = await ask(method="HEAD")
    assert (client.status, client.body) == (200, b"")
    assert client.fields[b"content-length"] == b"%d" % len(PAGE.encode())


@pytest.mark.parametrize("form", [b"%s", b"W/%s", b'"another", %s', b"*"])
@in_loop
async def test_whoever_has_it_gets_304(form: bytes) -> None:
    etag = (await ask()).fields[b"etag"]
    client = await ask((b"if-none-match", form % etag if b"%s" in form else form))
    assert (client.status, client.body) == (304, b"")
    assert client.fields[b"etag"] == etag
    assert client.fields[b"content-length"] == b"%d" % len(PAGE.encode()), "a 304's length is that of the 200"


@in_loop
async def test_whoever_has_another_gets_it_whole() -> None:
    assert (await ask((b"if-none-match", b'"another"'))).status == 200


@in_loop
async def test_its_policy_lets_its_own_script_run_and_nothing_else() -> None:
    given = (await ask()).fields[b"content-security-policy"].decode()
    rules = dict(rule.split(" ", 1) for rule in given.split("; "))
    script = PAGE.partition("<script>")[2].partition("</script>")[0]
    style = PAGE.partition("<style>")[2].partition("</style>")[0]
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
    assert rules["style-src"] == f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert "unsafe" not in given


def test_a_page_without_a_script_may_run_none() -> None:
    assert b"script-src 'none'; style-src 'none'" in policy(b"<p>nothing")


def test_it_needs_nothing_from_elsewhere() -> None:
    named = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w[^\s\"')]*", PAGE))
    assert named == {"http://www.w3.org/2000/svg"}, "the name of a format, which nobody fetches"
    assert re.findall(r"<(?:link|script|img|iframe)\b[^>]*\b(?:src|href)=\"(?!data:)", PAGE) == []


def test_foreign_text_is_never_read_as_markup() -> None:
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\(", PAGE) == []
