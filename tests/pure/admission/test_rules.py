"""One limit holds for a request: the most specific one; and no spelling of a path escapes its rule."""

from __future__ import annotations

import pytest

from fastgw.admission.rules import Rules
from tests.pure.asgi import accepted, exchange

RULES = [
    ("/api/v1/jobs", 20, 60_000),
    ("/api/v1/*", 50, 60_000),
    ("/api/v1/workers/*", 30, 10_000),
    ("identity:ops", 1000, 60_000),
]


def asked(path: str = "/x", identity: str = "", peer: str = "203.0.113.9"):
    x = accepted(exchange(target=path.encode(), peer=peer))
    x.identity = identity
    return x


@pytest.mark.parametrize(
    ("path", "identity", "requests", "name"),
    [
        ("/x", "", 100, b"203.0.113.9"),
        ("/api/v1/jobs", "", 20, b"203.0.113.9:/api/v1/jobs"),
        ("/api/v1/jobs/1", "", 50, b"203.0.113.9:/api/v1/*"),
        ("/api/v1/workers/a/config", "", 30, b"203.0.113.9:/api/v1/workers/*"),
        ("/x", "key:ops", 1000, b"key:ops"),
        ("/api/v1/jobs", "key:ops", 20, b"203.0.113.9:/api/v1/jobs"),
        ("/x", "key:other", 100, b"203.0.113.9"),
    ],
)
def test_the_most_specific_rule_decides(path, identity, requests, name) -> None:
    limit, window = Rules(100, 60_000, RULES, by_identity=False).limit_of(asked(path, identity))
    assert (limit.requests, window) == (requests, name)


def test_identities_are_counted_where_there_is_one() -> None:
    rules = Rules(100, 60_000, by_identity=True)
    assert rules.limit_of(asked(identity="key:a"))[1] == b"key:a"
    assert rules.limit_of(asked())[1] == b"203.0.113.9"


def test_an_address_has_one_name() -> None:
    rules = Rules(100, 60_000, by_identity=False)
    assert rules.limit_of(asked(peer="::ffff:203.0.113.9"))[1] == b"203.0.113.9"
    assert rules.limit_of(asked(peer="2001:db8::1"))[1] == b"2001:db8::1"


def test_another_spelling_does_not_escape_the_rule() -> None:
    x = asked("/api/v1/%6aobs")
    x.scope["path"] = "/api/v1/jobs"  # as a server decodes it
    assert Rules(100, 60_000, RULES, by_identity=False).limit_of(x)[0].requests == 20


def test_what_a_limit_says_of_itself() -> None:
    limit = Rules(100, 1500, by_identity=False).limit_of(asked())[0]
    assert limit.fields == ((b"x-ratelimit-limit", b"100"), (b"ratelimit-policy", b'"default";q=100;w=2'))
    assert (limit.counted, limit.window_s) == (b"$3\r\n100\r\n$7\r\n1500000\r\n", 1.5)
    assert repr(limit) == "<Limit default 100/1500ms>"
