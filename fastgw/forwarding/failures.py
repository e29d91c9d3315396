"""An upstream failure -> what the client is told, and what it says of the backend. The one mapping. Pure."""

from __future__ import annotations

from typing import Final

from fastgw.errors import BAD_GATEWAY, GATEWAY_TIMEOUT, SERVICE_UNAVAILABLE, ErrorKind, GatewayError
from fastgw.routing.ejection import Outcome
from fastgw.upstream.errors import (
    Aborted,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    PoolTimeout,
    ProtocolFault,
    ReadTimeout,
    UpstreamError,
)

KINDS: Final[dict[type[UpstreamError], ErrorKind]] = {
    PoolTimeout: SERVICE_UNAVAILABLE,
    ConnectTimeout: GATEWAY_TIMEOUT,
    ReadTimeout: GATEWAY_TIMEOUT,
}
"""What is not named here (refused, lost, malformed) is a BAD_GATEWAY."""


class GivenUp(UpstreamError):
    """The gateway ended the exchange itself, and knows what the client is to be told."""

    def __init__(self, error: GatewayError) -> None:
        """error: the client's answer."""
        super().__init__(str(error))
        self.error = error


class BackendFull(PoolTimeout):
    """The backend has as many requests of the whole fleet as it may have. Nothing was sent."""

    def __init__(self, error: GatewayError) -> None:
        """error: the client's answer, if no other backend has a place."""
        super().__init__(str(error))
        self.error = error


OUTCOMES: Final[dict[type[UpstreamError], Outcome]] = {
    Aborted: Outcome.CLIENT_GONE,
    GivenUp: Outcome.CLIENT_GONE,
    PoolTimeout: Outcome.CLIENT_GONE,  # our own limit: says nothing of the backend
    BackendFull: Outcome.CLIENT_GONE,
    ConnectFailed: Outcome.CONNECT_FAILED,
    ConnectTimeout: Outcome.CONNECT_FAILED,
    ReadTimeout: Outcome.TIMED_OUT,
}
"""What is not named here was lost or malformed."""


REASONS: Final[dict[type[UpstreamError], str]] = {
    PoolTimeout: "pool_timeout",
    BackendFull: "backend_full",
    ConnectFailed: "connect_failed",
    ConnectTimeout: "connect_timeout",
    ReadTimeout: "read_timeout",
    ConnectionLost: "connection_lost",
    ProtocolFault: "protocol_fault",
}
"""Names of failures in metrics and logs. What is missing here is no failure of a backend."""


def outcome_of(error: UpstreamError, *, head_sent: bool) -> Outcome:
    """What a failed try says of the backend. head_sent: the client has been given the response's head.

    A kept-alive connection that was found closed says nothing: a server may close it at any time.
    """
    outcome = OUTCOMES.get(type(error))
    if outcome is not None:
        return outcome
    if error.sent == 0 and error.reused:
        return Outcome.CLIENT_GONE
    return Outcome.BROKEN_IN_BODY if head_sent else Outcome.BROKEN


def to_gateway_error(error: UpstreamError) -> GatewayError:
    """The client's answer to a failure whose response head has not been sent yet."""
    if isinstance(error, GivenUp | BackendFull):
        return error.error
    return GatewayError(KINDS.get(type(error), BAD_GATEWAY), error.reason)
