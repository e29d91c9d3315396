"""Who may see the operators' pages."""

from __future__ import annotations

import json

import pytest

from fastgw.endpoints.access import Access
from fastgw.respond import Answer
from fastgw.settings.values import networks
from tests.pure.asgi import HOST, accepted, exchange

NEAR, FAR = "127.0.0.1", "203.0.113.9"
TOKEN = "s3cret-tök"
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())
ADMIN = (b"x-admin-token", TOKEN.encode())
WRONG = (b"authorization", b"Bearer wrong")


def asked(
    *fields: tuple[bytes, bytes], peer: str = NEAR, method: str = "GET", token: str = TOKEN, allow: str = "127.0.0.0/8"
) -> Answer | None:
    x = accepted(exchange(HOST, *fields, peer=peer, method=method))
    return Access(networks(allow), token).refusal(x)


def status(answer: Answer | None) -> int:
    return 200 if answer is None else answer.status


@pytest.mark.parametrize(
    ("peer", "allow", "expected"),
    [
        ("127.0.0.1", "127.0.0.0/8", 200),
        ("::ffff:127.0.0.1", "127.0.0.0/8", 200),
        ("10.1.2.3", "127.0.0.0/8, 10.1.0.0/16", 200),
        ("10.2.2.3", "127.0.0.0/8, 10.1.0.0/16", 403),
        ("::1", "127.0.0.0/8", 403),
        ("fe80::1%eth0", "fe80::/10", 200),
        ("127.0.0.1", "none", 403),
        ("", "0.0.0.0/0, ::/0", 403),
    ],
)
def test_an_address_of_admin_allow_needs_no_token(peer: str, allow: str, expected: int) -> None:
    assert status(asked(peer=peer, allow=allow)) == expected


@pytest.mark.parametrize(
    ("fields", "far", "near"),
    [
        ((), 403, 200),
        ((BEARER,), 200, 200),
        (((b"authorization", b"bearer   " + TOKEN.encode()),), 200, 200),
        ((ADMIN,), 200, 200),
        ((WRONG,), 401, 401),
        (((b"x-admin-token", b"wrong"),), 401, 401),
        (((b"x-admin-token", b""),), 401, 401),
        (((b"authorization", b"Bearer"),), 401, 401),
        (((b"authorization", b"Bearer \xff\xfe"),), 401, 401),
        (((b"authorization", b"Bearer " + b"x" * 20_000),), 401, 401),
        ((BEARER, BEARER), 401, 401),
        (((b"authorization", b"Basic eDp5"),), 403, 200),
        ((WRONG, ADMIN), 200, 200),
        ((BEARER, (b"x-admin-token", b"wrong")), 401, 401),
    ],
    ids=[
        "none", "bearer", "bearer-spelling", "own-field", "wrong", "wrong-own-field", "empty-own-field", "empty-bearer",
        "not-utf8", "long", "twice", "another-scheme", "own-field-counts", "own-field-counts-if-wrong",
    ],
)  # fmt: skip
def test_the_token_lets_in_from_anywhere_and_a_wrong_one_from_nowhere(
    fields: tuple[tuple[bytes, bytes], ...], far: int, near: int
) -> None:
    assert (status(asked(*fields, peer=FAR)), status(asked(*fields, peer=NEAR))) == (far, near)


def test_without_a_configured_token_none_is_looked_at() -> None:
    assert status(asked(WRONG, peer=NEAR, token="")) == 200
    assert status(asked(WRONG, peer=FAR, token="")) == 403
    assert status(asked((b"x-admin-token", b""), peer=FAR, token="")) == 403


def test_the_address_is_the_one_behind_trusted_proxies() -> None:
    access = Access(networks("127.0.0.0/8"), "")
    through_proxy = exchange(HOST, (b"x-forwarded-for", b"127.0.0.1, 203.0.113.9"), peer=NEAR)
    assert status(access.refusal(accepted(through_proxy, networks("127.0.0.0/8")))) == 403
    claimed = exchange(HOST, (b"x-forwarded-for", b"127.0.0.1"), peer=FAR)
    assert status(access.refusal(accepted(claimed, networks("127.0.0.0/8")))) == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (b"http://gw.example", 200),
        (b"https://GW.example", 200),
        (b"http://gw.example:80", 200),
        (b"http://gw.example:3000", 403),
        (b"https://evil.example", 403),
        (b"http://gw.example.evil.example", 403),
        (b"http://evil.example/gw.example", 403),
        (b"http://evil@gw.example", 403),
        (b"file://gw.example", 403),
        (b"null", 403),
        (b"", 403),
        (b"\xff", 403),
        (b"http://[", 403),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_foreign_page_cannot_change_anything_from_an_allowed_browser(
    method: str, origin: bytes, expected: int
) -> None:
    assert status(asked((b"origin", origin), method=method)) == expected


def test_two_origins_are_no_origin() -> None:
    own = (b"origin", b"http://gw.example")
    assert status(asked(own, (b"origin", b"http://evil.example"), method="PATCH")) == 403


def test_reading_and_requests_with_the_token_are_not_asked_for_their_origin() -> None:
    foreign = (b"origin", b"https://evil.example")
    assert status(asked(foreign, method="GET")) == 200
    assert status(asked(foreign, BEARER, method="PATCH")) == 200


def test_refusals_have_the_usual_form_and_say_nothing_secret() -> None:
    wrong, far = asked(WRONG, peer=FAR), asked(peer=FAR)
    assert wrong is not None
    assert far is not None
    assert json.loads(wrong.body)["error"]["code"] == "UNAUTHORIZED"
    assert dict(wrong.fields)[b"www-authenticate"].startswith(b"Bearer ")
    assert json.loads(far.body)["error"]["code"] == "FORBIDDEN"
    assert b"www-authenticate" not in dict(far.fields)
    assert TOKEN.encode() not in wrong.body + far.body
    assert b"wrong" not in wrong.body.replace(b"token is wrong", b"")
