"""Text to value: numbers of bytes, paths, keys, rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fastgw.settings import parse
from fastgw.settings.parse import CacheRoute, RateLimitRule

if TYPE_CHECKING:
    from collections.abc import Callable

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(
    ("text", "size"),
    [("104857600", 104857600), ("100MiB", 100 << 20), ("100 MiB", 100 << 20), ("1MB", 10**6), ("64k", 64 << 10),
     ("64K", 64 << 10), ("1kb", 1000), ("2g", 2 << 30), ("512B", 512)],
)  # fmt: skip
def test_sizes_in_bytes(text: str, size: int) -> None:
    assert parse.byte_size(text) == size


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (parse.cache_routes, "/a=10, /b ,", (CacheRoute("/a", 10), CacheRoute("/b", None))),
        (parse.cache_routes, "none", ()),
        (parse.methods, "get, POST,get", ("GET", "POST")),
        (parse.api_keys, "k1, ops:k2, dev:a:b", ("k1", "ops:k2", "dev:a:b")),
        (parse.token_hashes, f"{HASH.upper()}, {HASH}", (HASH,)),
        (parse.token_format, "{salt}:{token}", "{salt}:{token}"),
        (parse.path, "/health?full=1", "/health?full=1"),
        (parse.field_name, "X-Session-ID", "X-Session-ID"),
        (parse.key_prefix, "gw:eu:", "gw:eu:"),
        (parse.rate_limit_rules, "/api/v1/jobs=20/60", (RateLimitRule("/api/v1/jobs", 20, 60_000),)),
        (
            parse.rate_limit_rules,
            "/a/*=1/500ms, identity:alice=1000/1m, /q?a=b=5/1h",
            (
                RateLimitRule("/a/*", 1, 500),
                RateLimitRule("identity:alice", 1000, 60_000),
                RateLimitRule("/q?a=b", 5, 3_600_000),
            ),
        ),
    ],
)
def test_good_texts(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (parse.byte_size, "0", "is below 1"),
        (parse.byte_size, "-1", "is no number of bytes"),
        (parse.byte_size, "1.5MiB", "is no number of bytes"),
        (parse.byte_size, "10XB", "is no number of bytes"),
        (parse.byte_size, "9" * 18 + "g", "is above"),
        (parse.path, "health", "does not begin with /"),
        (parse.path, "/a b", "%-encoded"),
        (parse.path, "/a\r\nX: y", "%-encoded"),
        (parse.cache_routes, "/a=0", "item 1 that is below 1"),
        (parse.cache_routes, "/a, b", "item 2 that does not begin with /"),
        (parse.cache_routes, "/a?b", "holds a query"),
        (parse.methods, "GET, A B", "item 2 that is no HTTP method"),
        (parse.api_keys, "ops:", "no key after the colon in item 1"),
        (parse.api_keys, "a:k,b:k", "one key twice"),
        (parse.token_hashes, "abc", "item 1 that is no SHA-256"),
        (parse.token_format, "{salt}", "does not hold {token}"),
        (parse.token_format, "{token}{pepper}", "no other braces"),
        (parse.token_format, "{token", "without its partner"),
        (parse.token_format, "{token.__class__}", "no other braces"),
        (parse.token_format, "{token!r}", "no other braces"),
        (parse.field_name, "X Session", "is no name of a header field"),
        (parse.field_name, "X-Session:", "is no name of a header field"),
        (parse.field_name, "x" * 101, "is no name of a header field"),
        (parse.key_prefix, "worker:", "belong to the platform"),
        (parse.key_prefix, "queue:x", "belong to the platform"),
        (parse.key_prefix, "gw*", "holds"),
        (parse.rate_limit_rules, "/a=5", "not of the form"),
        (parse.rate_limit_rules, "/a=0/1s", "is below 1"),
        (parse.rate_limit_rules, "a=5/1s", "does not begin with /"),
        (parse.rate_limit_rules, "identity:=5/1s", "no name"),
        (parse.rate_limit_rules, "/a=5/1s,/a=6/1s", "item 2 that is the second rule"),
    ],
)
def test_bad_texts(read: Callable[[str], object], text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read(text)
