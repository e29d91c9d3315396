"""Where a difference comes from, and whose time the added latency is."""

from __future__ import annotations

import pytest

from fastgw import errors
from fastgw.cutover.compare import Pair
from fastgw.cutover.diagnose import FROM_CACHE, NO_GATEWAY, OTHER_BACKEND, cause, code_of, judge, lateness, slowness
from fastgw.cutover.differences import Answer, Difference
from fastgw.cutover.latency import Quantile, added

OWN = ("x-gateway-version", "1")
STATUS = Difference("status", "", "200", "x")


def refused(kind: errors.ErrorKind) -> Answer:
    return Answer(kind.status, (OWN,), b'{"error": {"code": "%b", "message": "x"}}' % kind.code.encode())


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (errors.UNAUTHORIZED, "--header"),
        (errors.RATE_LIMIT_EXCEEDED, "RATE_LIMIT_MAX_REQUESTS"),
        (errors.BAD_GATEWAY, "does not reach"),
        (errors.GATEWAY_TIMEOUT, "FASTAPI_TIMEOUT"),
        (errors.SERVICE_UNAVAILABLE, "/gateway/health/detailed"),
        (errors.METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
    ],
)
def test_the_gateways_own_answers_are_known(kind: errors.ErrorKind, word: str) -> None:
    assert code_of(refused(kind)) == kind.code
    assert word in cause(STATUS, Answer(200), refused(kind))


def test_a_backends_error_is_the_backends() -> None:
    own = Answer(404, (OWN,), b'{"error": {"code": "OF_THE_BACKEND"}}')
    assert code_of(own) == ""
    assert cause(STATUS, Answer(200), own) == OTHER_BACKEND
    assert cause(STATUS, refused(errors.UNAUTHORIZED), Answer(200, (OWN,))) == OTHER_BACKEND


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": "x"}', b'{"error": {"code": 5}}', b"\xff"])
def test_no_other_body_is_taken_for_ours(body: bytes) -> None:
    assert code_of(Answer(502, (OWN,), body)) == ""


def test_no_gateway_no_answer_and_the_cache() -> None:
    assert cause(STATUS, Answer(200), Answer(404)) == NO_GATEWAY
    assert "log" in cause(Difference("error", "", "", "x"), Answer(200), Answer(0, error="x"))
    assert "--direct" in cause(Difference("error", "", "x", ""), Answer(0, error="x"), Answer(200))
    cached = Answer(200, (OWN, ("x-gateway-cache", "HIT")))
    assert cause(Difference("body", "/a", "1", "2"), Answer(200), cached) == FROM_CACHE.format(path="PATH")


@pytest.mark.parametrize(
    ("own", "backend", "words"),
    [(0.4, 22.0, "wait for its backend"), (18.0, 2.0, "gateway_loop_lag_seconds"), (0.4, 2.0, "the network between")],
)
def test_whose_time_it_is(own: float, backend: float, words: str) -> None:
    pairs = [Pair(2.0, 22.0, own, backend)] * 5
    assert words in slowness(pairs, 20.0)
    assert slowness([Pair(2.0, 22.0)], 20.0) == ""


def test_a_budget_is_kept_missed_or_perhaps_missed_by_chance() -> None:
    assert judge("p99", Quantile(9.0, 5.0, None), 10.0, 200)[0]
    is_kept, text = judge("p99", Quantile(12.0, 11.0, None), 10.0, 200)
    assert (is_kept, "chance" in text) == (False, False)
    is_kept, text = judge("p99", Quantile(12.0, 5.0, None), 10.0, 200)
    assert (is_kept, "--samples 1000" in text) == (False, True)


def test_whose_time_it_is_is_said_once() -> None:
    pairs = [Pair(2.0, 22.0, 0.4, 22.0)] * 5
    measured = added([one.direct for one in pairs], [one.gateway for one in pairs])
    both = lateness(measured, pairs, 5.0, 10.0)
    assert [is_kept for is_kept, _, _ in both] == [False, False]
    assert [bool(hint) for _, _, hint in both] == [True, False]
    assert [bool(hint) for _, _, hint in lateness(measured, pairs, 50.0, 10.0)] == [False, True]
