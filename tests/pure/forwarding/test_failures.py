"""Upstream failure -> the client's answer."""

from __future__ import annotations

import pytest

from fastgw import errors
from fastgw.forwarding.failures import GivenUp, to_gateway_error
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
