"""An upstream failure -> what the client is told. The one mapping. Pure."""

from __future__ import annotations

from typing import Final

from fastgw.errors import BAD_GATEWAY, GATEWAY_TIMEOUT, SERVICE_UNAVAILABLE, ErrorKind, GatewayError
from fastgw.upstream.errors import ConnectTimeout, PoolTimeout, ReadTimeout, UpstreamError

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


def to_gateway_error(error: UpstreamError) -> GatewayError:
    """The client's answer to a failure whose response head has not been sent yet."""
    if isinstance(error, GivenUp):
        return error.error
    return GatewayError(KINDS.get(type(error), BAD_GATEWAY), error.reason)
