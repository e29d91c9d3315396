"""Text to address: backends, Redis, URLs, networks; and what of a URL may be shown."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from fastgw.settings import values
from fastgw.settings.values import BackendAddress

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://localhost:8000", (BackendAddress("http", "localhost", 8000),)),
        ("http://localhost:8000/", (BackendAddress("http", "localhost", 8000),)),
        ("https://api.example.com", (BackendAddress("https", "api.example.com", 443),)),
        ("http://fast_api", (BackendAddress("http", "fast_api", 80),)),
        ("http://[::1]:8000", (BackendAddress("http", "::1", 8000),)),
        (
            "http://a:1;region=europe-west;weight=2, http://b:2 ; weight=3",
            (BackendAddress("http", "a", 1, "europe-west", 2), BackendAddress("http", "b", 2, None, 3)),
        ),
    ],
)
def test_backends(text: str, found: tuple[BackendAddress, ...]) -> None:
    assert values.backends(text) == found
    assert values.backends(", ".join(map(str, found))) == found


def test_ipv6_backend_has_brackets_in_authority_and_url() -> None:
    address = BackendAddress("http", "::1", 8000)
    assert (address.authority, address.url) == ("[::1]:8000", "http://[::1]:8000")


@pytest.mark.parametrize(
    "text",
    ["redis://localhost", "redis://u:p%40@h:6379/2", "rediss://h:6380", "unix:///run/redis.sock", "redis://[::1]:6379",
     "redis+sentinel://a:26379,b,c/mymaster/1", "redis+cluster://a:7000,b:7001", "redis://h:6379?protocol=3"],
)  # fmt: skip
def test_redis_urls_pass_unchanged(text: str) -> None:
    assert values.redis_url(text) == text


@pytest.mark.parametrize(
    ("text", "number"),
    [("redis://h", None), ("redis://h/3", 3), ("redis+sentinel://h/name", None), ("redis+sentinel://h/name/2", 2),
     ("unix:///run/r.sock", None), ("redis+cluster://h", None)],
)  # fmt: skip
def test_database_of_a_redis_url(text: str, number: int | None) -> None:
    assert values.database_of(text) == number


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.networks, "127.0.0.0/8, ::1", (ip_network("127.0.0.0/8"), ip_network("::1"))),
        (values.networks, "10.1.2.3", (ip_network("10.1.2.3/32"),)),
        (values.networks, "none", ()),
        (values.origins, "*", ("*",)),
        (values.origins, "https://a.example, http://b:8080/", ("https://a.example", "http://b:8080")),
        (values.origins, "HTTPS://A.example:443, http://b:80, http://b", ("https://a.example", "http://b")),
        (values.origins, "http://[::1]:80, null", ("http://[::1]", "null")),
        (values.listen_host, "[::]", "::"),
        (values.listen_host, "::1", "::1"),
        (values.listen_host, "0.0.0.0", "0.0.0.0"),
        (values.listen_host, "gateway_1", "gateway_1"),
        (values.verify_url, "http://h/w/{worker_id}/verify", "http://h/w/{worker_id}/verify"),
    ],
)
def test_good_texts(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "problem"),
    [
        (values.backends, "localhost:8000", "begin with http:// or https://"),
        (values.backends, "http://h/api", "holds a path"),
        (values.backends, "http://h?x", "holds a path or query"),
        (values.backends, "http://u:p@h", "user or password"),
        (values.backends, "http://h:0", "between 1 and 65535"),
        (values.backends, "http://h:99999", "between 1 and 65535"),
        (values.backends, "http://h:x", "between 1 and 65535"),
        (values.backends, "http://", "no host"),
        (values.backends, "http://a b", "holds a space"),
        (values.backends, "http://h\u00f6st", "not ASCII"),
        (values.backends, "http://-h", "host name"),
        (values.backends, "http://[::1", "is no URL"),
        (values.backends, "http://h;weigh=2", "did you mean weight=?"),
        (values.backends, "http://h;weight=0", "weight that is below 1"),
        (values.backends, "http://h;weight=x", "weight that is no whole number"),
        (values.backends, "http://h;region=", "region that is no code"),
        (values.backends, "http://h;region=a;region=b", "twice"),
        (values.backends, "http://h:80,http://h", "one backend twice"),
        (values.backends, ",", "names no backend"),
        (values.redis_url, "localhost:6379", "does not begin with one of redis://"),
        (values.redis_url, "http://h", "does not begin with one of redis://"),
        (values.redis_url, "redis://", "no host"),
        (values.redis_url, "redis://h:x", "between 1 and 65535"),
        (values.redis_url, "redis://h/name", "database that is no number"),
        (values.redis_url, "redis://a,b", "several hosts"),
        (values.redis_url, "redis+sentinel://h", "names no service"),
        (values.redis_url, "redis+cluster://h/1", "database 0 only"),
        (values.redis_url, "unix://", "no path of a socket"),
        (values.redis_url, "redis://:a#b@h", "%23"),
        (values.redis_url, "redis://:a/b@h", "%2F"),
        (values.http_url, "/spans", "http://"),
        (values.http_url, "http://h:0/", "between 1 and 65535"),
        (values.verify_url, "http://h/{id}", "no other braces"),
        (values.verify_url, "http://{worker_id}.h/", "in its host"),
        (values.networks, "10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        (values.networks, "127.0.0.1, 300.1.1.1", "item 2 that is no address"),
        (values.networks, "*", "0.0.0.0/0, ::/0"),
        (values.origins, "https://a/x", "item 1 that is no origin"),
        (values.origins, "*, https://a", "beside other origins"),
        (values.listen_host, "0.0.0.0:3000", "GATEWAY_PORT"),
        (values.listen_host, "http://h", "is a URL"),
        (values.listen_host, "a b", "is no address"),
    ],
)
def test_bad_texts(read: Callable[[str], object], text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:pw@h", "redis://:***@h"),
        ("redis://user:pw@h", "redis://user:***@h"),
        ("redis://p/w@h", "redis://***@h"),
        ("redis://:p/w@x@h", "redis://:***@h"),
        ("redis+sentinel://:pw@a,b/s", "redis+sentinel://:***@a,b/s"),
        ("https://token@h/v", "https://***@h/v"),
        ("redis://h?password=pw&db=1", "redis://h?password=***&db=1"),
        ("https://h/v?api_key=pw", "https://h/v?api_key=***"),
        ("GET,POST", "GET,POST"),
    ],
)
def test_what_of_a_url_may_be_shown(url: str, shown: str) -> None:
    assert values.masked(url) == shown
