"""Upstream failure -> the client's answer."""

from __future__ import annotations

import pytest

from fastgw import errors
from fastgw.forwarding.failures import GivenUp, outcome_of, to_gateway_error
from fastgw.routing.ejection import Outcome
from fastgw.upstream import errors as upstream


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (upstream.PoolTimeout, errors.SERVICE_UNAVAILABLE),
        (upstream.ConnectFailed, errors.BAD_GATEWAY),
        (upstream.ConnectTimeout, errors.GATEWAY_TIMEOUT),
        (upstream.ReadTimeout, errors.GATEWAY_TIMEOUT),
        (upstream.ConnectionLost, errors.BAD_GATEWAY),
        (upstream.ProtocolFault, errors.BAD_GATEWAY),
        (upstream.Aborted, errors.BAD_GATEWAY),
    ],
)
def test_the_one_mapping(error: type[upstream.UpstreamError], kind: errors.ErrorKind) -> None:
    answer = to_gateway_error(error("it happened"))
    assert answer.kind is kind
    assert answer.message == f"{kind.message}: it happened"


def test_what_the_gateway_gave_up_keeps_its_own_answer() -> None:
    own = errors.GatewayError(errors.PAYLOAD_TOO_LARGE, "at most 3 bytes")
    given_up = GivenUp(own)
    assert isinstance(given_up, upstream.UpstreamError)
    assert to_gateway_error(given_up) is own


@pytest.mark.parametrize(
    ("error", "before_head", "after_head"),
    [
        (upstream.PoolTimeout(""), Outcome.CLIENT_GONE, Outcome.CLIENT_GONE),
        (upstream.Aborted("", sent=9), Outcome.CLIENT_GONE, Outcome.CLIENT_GONE),
        (GivenUp(errors.GatewayError(errors.REQUEST_TIMEOUT)), Outcome.CLIENT_GONE, Outcome.CLIENT_GONE),
        (upstream.ConnectFailed(""), Outcome.CONNECT_FAILED, Outcome.CONNECT_FAILED),
        (upstream.ConnectTimeout(""), Outcome.CONNECT_FAILED, Outcome.CONNECT_FAILED),
        (upstream.ReadTimeout("", sent=9), Outcome.TIMED_OUT, Outcome.TIMED_OUT),
        (upstream.ConnectionLost("", sent=0, reused=True), Outcome.CLIENT_GONE, Outcome.CLIENT_GONE),
        (upstream.ConnectionLost("", sent=9, reused=True), Outcome.BROKEN, Outcome.BROKEN_IN_BODY),
        (upstream.ConnectionLost("", sent=9), Outcome.BROKEN, Outcome.BROKEN_IN_BODY),
        (upstream.ProtocolFault("", sent=9), Outcome.BROKEN, Outcome.BROKEN_IN_BODY),
    ],
    ids=repr,
)
def test_what_a_failure_says_of_the_backend(
    error: upstream.UpstreamError, before_head: Outcome, after_head: Outcome
) -> None:
    assert outcome_of(error, head_sent=False) is before_head
    assert outcome_of(error, head_sent=True) is after_head
