"""CORS as a table: who decides, and what each kind of answer then says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastgw.accept import Accept
from fastgw.cors import EXPOSED, Cors
from fastgw.errors import BAD_REQUEST, GatewayError
from fastgw.exchange import End, Exchange
from fastgw.protocol.forwarded import TrustedProxies
from fastgw.respond import Answer, error_answer, respond
from tests.pure.asgi import HOST, Client, exchange

APP, EVIL = b"https://app.test", b"https://evil.test"
THEIRS = [(b"access-control-allow-origin", APP), (b"access-control-allow-credentials", b"true")]
JSON = (b"content-type", b"application/json")
EXPOSE = (b"access-control-expose-headers", EXPOSED.lower().encode())


def cors(*origins: str, known: tuple[bool | None, ...] = (False,)) -> Cors:
    return Cors(origins or ("*",), ("GET", "POST"), lambda: known)


def met(
    policy: Cors, origin: bytes | None = APP, method: str = "GET", *more: tuple[bytes, bytes], **scope: Any
) -> Exchange:
    fields = [HOST, *more] if origin is None else [HOST, (b"origin", origin), *more]
    x = exchange(*fields, method=method, **scope)
    Accept(TrustedProxies([]), 1000, policy.meet)(x)
    return x


def names(fields: list[tuple[bytes, bytes]]) -> set[bytes]:
    return {name for name, _ in fields}


@pytest.mark.parametrize(
    ("known", "is_left", "decides"),
    [
        ((), True, "unknown"),
        ((None,), True, "unknown"),
        ((False, None), False, "gateway"),
        ((False, True), True, "backend"),
        ((None, True), True, "backend"),
    ],
)
def test_one_backend_with_a_policy_decides_for_all(known, is_left, decides) -> None:
    policy = cors(known=known)
    assert policy.is_left is is_left
    assert policy.told()["decides"] == decides


def test_without_an_origin_and_for_a_websocket_there_is_nothing() -> None:
    assert met(cors(), None).cors is None
    assert met(cors(), APP, type="websocket").cors is None
    x = exchange(HOST, (b"origin", APP))
    Accept(TrustedProxies([]), 1000)(x)
    assert x.cors is None, "it is off"


def test_a_refusal_by_accept_can_be_read_too() -> None:
    x = exchange((b"origin", APP), HOST, (b"host", b"second"))
    with pytest.raises(GatewayError):
        Accept(TrustedProxies([]), 1000, cors().meet)(x)
    assert x.cors is not None
    assert x.cors.of_gateway(400) == [(b"access-control-allow-origin", b"*"), EXPOSE]


@pytest.mark.parametrize("kept", [False, True])
def test_where_the_gateway_decides(kept) -> None:
    def of(x: Exchange) -> list[tuple[bytes, bytes]]:
        assert x.cors is not None
        return x.cors.of_kept([JSON]) if kept else x.cors.of_backend([JSON])

    assert of(met(cors())) == [JSON, (b"access-control-allow-origin", b"*"), EXPOSE]
    listed = cors(APP.decode())
    assert of(met(listed)) == [JSON, (b"access-control-allow-origin", APP), EXPOSE, (b"vary", b"Origin")]
    assert of(met(listed, EVIL)) == [JSON, (b"vary", b"Origin")]


def test_where_the_backend_decides() -> None:
    open_to_all, listed = cors(known=(True,)), cors(APP.decode(), known=(True,))
    for policy in (open_to_all, listed):
        grant = met(policy).cors
        assert grant is not None
        assert grant.of_backend([JSON, *THEIRS]) == [JSON, *THEIRS, EXPOSE]
        assert grant.of_backend([JSON]) == [JSON], "it is kept closed"
    grant = met(listed, EVIL).cors
    assert grant is not None
    assert grant.of_backend([JSON, *THEIRS]) == [JSON, (b"vary", b"Origin")]


def test_a_response_that_speaks_of_cors_makes_it_the_backends() -> None:
    policy = cors()
    grant = met(policy).cors
    assert grant is not None
    assert grant.of_kept([JSON, *THEIRS]) == [JSON, (b"access-control-allow-origin", b"*"), EXPOSE], (
        "an old entry does not"
    )
    assert not policy.is_left
    assert grant.of_backend([JSON, *THEIRS]) == [JSON, *THEIRS, EXPOSE]
    assert policy.is_backends
    assert grant.of_backend([JSON]) == [JSON]


@pytest.mark.parametrize(
    ("origins", "known", "of_200", "of_429"),
    [
        (("*",), False, True, True),
        (("*",), True, False, True),
        (("*",), None, False, True),
        ((APP.decode(),), True, True, True),
        (("https://other.test",), True, False, False),
    ],
)
def test_own_answers(origins, known, of_200, of_429) -> None:
    grant = met(cors(*origins, known=(known,))).cors
    assert grant is not None
    assert (b"access-control-allow-origin" in names(grant.of_gateway(200))) is of_200
    assert (b"access-control-allow-origin" in names(grant.of_gateway(429))) is of_429


ASKS = (b"access-control-request-method", b"PATCH")


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("OPTIONS", (ASKS,), 204),
        ("OPTIONS", (), None),
        ("GET", (ASKS,), None),
        ("POST", (ASKS,), None),
    ],
)
def test_what_a_preflight_is(method, fields, status) -> None:
    policy = cors()
    answer = policy.preflight(met(policy, APP, method, *fields))
    assert (answer and answer.status) == status


def test_a_preflight_without_an_origin_is_none() -> None:
    policy = cors()
    assert policy.preflight(met(policy, None, "OPTIONS", ASKS)) is None


def test_a_preflight_is_the_backends_where_that_decides() -> None:
    policy = cors(APP.decode(), known=(True,))
    assert policy.preflight(met(policy, APP, "OPTIONS", ASKS)) is None
    answer = policy.preflight(met(policy, EVIL, "OPTIONS", ASKS))
    assert answer is not None
    assert answer.status == 403


def sent(x: Exchange, answer: Answer) -> Client:
    asyncio.run(respond(x, answer))
    client: Client = x.send.__self__  # type: ignore[attr-defined]
    return client


def test_one_allow_origin_on_every_answer_and_no_length_on_a_204() -> None:
    policy = cors(APP.decode())
    preflight = met(policy, APP, "OPTIONS", ASKS)
    answer = policy.preflight(preflight)
    assert answer is not None
    hit = Answer(200, b"{}", [JSON, (b"content-length", b"2")], End.CACHED)
    refusal = error_answer(GatewayError(BAD_REQUEST), b"r-1")
    for x, said in ((preflight, answer), (met(policy), hit), (met(policy), refusal)):
        client = sent(x, said)
        found = client.sent[0]["headers"]
        assert [value for name, value in found if name == b"access-control-allow-origin"] == [APP]
        assert (b"content-length" in names(found)) is (client.status != 204)


def test_refusals_without_an_exchange() -> None:
    listed = cors(APP.decode())
    assert listed.of_refusal([HOST]) == []
    assert (b"access-control-allow-origin", APP) in listed.of_refusal([HOST, (b"origin", APP)])
    assert listed.of_refusal([HOST, (b"origin", EVIL)]) == [(b"vary", b"Origin")]
    assert cors().of_refusal([(b"origin", EVIL)])[0] == (b"access-control-allow-origin", b"*")
