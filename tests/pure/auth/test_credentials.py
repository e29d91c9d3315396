"""auth/credentials.py."""

from __future__ import annotations

import hashlib

import pytest

from fastgw.auth.credentials import (
    API_KEY,
    API_KEY_HASH,
    AUTHORIZATION,
    MAX_CREDENTIAL_BYTES,
    MAX_WORKER_ID,
    UNASKABLE,
    WORKER_TOKEN,
    Hash,
    Malformed,
    is_preflight,
    is_worker_id,
    read,
    worker_of,
)

SALT = "distributed-gpu-inference-v1"
TOKEN_HASH = Hash("{token}{salt}", SALT)
HASHES = {API_KEY: API_KEY_HASH, WORKER_TOKEN: TOKEN_HASH, AUTHORIZATION: TOKEN_HASH}


def guides_hash(token: str) -> str:
    """The function of the guide's Python backend."""
    return hashlib.sha256(f"{token}{SALT}".encode()).hexdigest()


@pytest.mark.parametrize("token", ["test-token-123", "a", "{token}{salt}", "tökén-日本", "x" * MAX_CREDENTIAL_BYTES])
def test_a_token_is_hashed_as_the_platforms_server_does(token):
    assert TOKEN_HASH(token.encode()).hex() == guides_hash(token)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("{salt}:{token}", "pepper:t0"),
        ("{token}", "t0"),
        ("{token}{token}", "t0t0"),
        ("{{{token}}}-{salt}-{salt}", "{t0}-pepper-pepper"),
        ("v1/{salt}/{token}/end", "v1/pepper/t0/end"),
    ],
)
def test_the_format_says_what_is_hashed(form, text):
    assert Hash(form, "pepper")(b"t0") == hashlib.sha256(text.encode()).digest()


def test_a_salt_may_hold_braces_and_any_character():
    assert Hash("{token}{salt}", "{token}é")(b"t") == hashlib.sha256("t{token}é".encode()).digest()


def test_an_api_key_is_hashed_as_it_is():
    assert API_KEY_HASH(b"k3y") == hashlib.sha256(b"k3y").digest()


def test_credentials_come_in_the_order_of_the_specification():
    fields = [(AUTHORIZATION, b"Bearer b"), (WORKER_TOKEN, b"w"), (API_KEY, b"k")]
    assert [(c.name, c.secret) for c in read(fields, HASHES)] == [
        (API_KEY, b"k"),
        (WORKER_TOKEN, b"w"),
        (AUTHORIZATION, b"b"),
    ]


def test_a_credential_carries_the_digest_of_its_kind():
    key, token = read([(API_KEY, b"same"), (WORKER_TOKEN, b"same")], HASHES)
    assert key.digest == API_KEY_HASH(b"same")
    assert token.digest == TOKEN_HASH(b"same")


def test_no_repr_shows_the_secret():
    (one,) = read([(WORKER_TOKEN, b"very-secret")], HASHES)
    assert "very-secret" not in repr(one)


@pytest.mark.parametrize("value", [b"Bearer t", b"bearer t", b"BEARER t", b"Bearer   t"])
def test_the_scheme_has_no_case_and_may_be_followed_by_spaces(value):
    assert [c.secret for c in read([(AUTHORIZATION, value)], HASHES)] == [b"t"]


@pytest.mark.parametrize(
    "value", [b"Basic dXNlcjpwdw==", b"Digest a=b, c=d", b"Negotiate", b"Bearerx y", b"Basic " + b"A" * 9000]
)
def test_another_scheme_is_the_backends_business(value):
    assert read([(AUTHORIZATION, value)], HASHES) == []
    assert [c.name for c in read([(AUTHORIZATION, value), (API_KEY, b"k")], HASHES)] == [API_KEY]


BAD_SECRETS = {
    "empty": b"",
    "oversized": b"x" * (MAX_CREDENTIAL_BYTES + 1),
    "utf-8": "schlüssel".encode(),
    "latin-1": b"caf\xe9",
    "space": b"two words",
    "tab": b"a\tb",
    "nul": b"a\x00b",
    "delete": b"a\x7f",
    "line end": b"a\n",
}


@pytest.mark.parametrize("secret", BAD_SECRETS.values(), ids=BAD_SECRETS)
@pytest.mark.parametrize("name", [API_KEY, WORKER_TOKEN, AUTHORIZATION])
def test_what_can_be_no_credential_is_malformed(name, secret):
    value = b"Bearer " + secret if name == AUTHORIZATION else secret
    with pytest.raises(Malformed) as caught:
        read([(name, value)], HASHES)
    assert caught.value.field == name
    assert not secret or secret.decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("value", [b"", b" ", b"Bearer", b"Bearer ", b"B\xc3\xa4r x", b"Basic \xff", b"(x) y"])
def test_an_authorization_that_is_none_is_malformed(value):
    with pytest.raises(Malformed):
        read([(AUTHORIZATION, value)], HASHES)


@pytest.mark.parametrize("name", [API_KEY, WORKER_TOKEN, AUTHORIZATION])
def test_a_repeated_field_is_malformed_even_with_the_same_value(name):
    with pytest.raises(Malformed):
        read([(name, b"Bearer t"), (name, b"Bearer t")], HASHES)


def test_the_longest_credential_is_one():
    assert len(read([(API_KEY, b"x" * MAX_CREDENTIAL_BYTES)], HASHES)) == 1


ORIGIN, ASKS = (b"origin", b"https://app"), (b"access-control-request-method", b"PUT")


@pytest.mark.parametrize(
    ("method", "fields", "is_one"),
    [
        (b"OPTIONS", [ORIGIN, ASKS], True),
        (b"OPTIONS", [ORIGIN], False),
        (b"OPTIONS", [ASKS], False),
        (b"GET", [ORIGIN, ASKS], False),
    ],
)
def test_a_preflight_has_a_method_an_origin_and_a_question(method, fields, is_one):
    assert is_preflight(method, fields) is is_one


@pytest.mark.parametrize(
    ("path", "worker"),
    [
        (b"/api/v1/workers/w-1/heartbeat", "w-1"),
        (b"/api/v1/workers/w-1/jobs/7/complete", "w-1"),
        (b"/api/v1/workers/w-1", "w-1"),
        (b"/api/v1/workers/w-1/", "w-1"),
        (b"/api/v1/workers/w%2D1/heartbeat", "w-1"),
        (b"/api/v1/%77orkers/w-1/heartbeat", "w-1"),
        (b"/api%2Fv1/workers/w-1/heartbeat", "w-1"),
        (b"/api/v1/workers/%C3%A4/config", "ä"),
        (b"/api/v1/workers/register/heartbeat", "register"),
        (b"/api/v1/workers/register", None),
        (b"/api/v1/workers", None),
        (b"/api/v1/workers/", None),
        (b"/api/v1/workers//heartbeat", None),
        (b"/api/v1/jobs/w-1", None),
        (b"/x/api/v1/workers/w-1/heartbeat", None),
        (b"/api/v1/workers/../heartbeat", UNASKABLE),
        (b"/api/v1/workers/%2e%2E/heartbeat", UNASKABLE),
        (b"/api/v1/workers/%0d%0a/heartbeat", UNASKABLE),
        (b"/api/v1/workers/%ff/heartbeat", UNASKABLE),
        (b"/api/v1/workers/a%20b/heartbeat", UNASKABLE),
        (b"/api/v1/workers/" + b"w" * MAX_WORKER_ID + b"/x", "w" * MAX_WORKER_ID),
        (b"/api/v1/workers/" + b"w" * (MAX_WORKER_ID + 1) + b"/x", UNASKABLE),
    ],
)
def test_the_worker_that_a_path_names(path, worker):
    assert worker_of(path) == worker


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", "a b", "a\n", "\u202e", "w" * 129])
def test_what_can_be_no_id(text):
    assert not is_worker_id(text)
