"""Reads the small body of a request that is for the gateway itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastgw.errors import BAD_REQUEST, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, GatewayError

if TYPE_CHECKING:
    from fastgw.exchange import Exchange

MAX_BYTES: Final = 64 * 1024
"""All settings together, each with a long value, are a tenth of that."""

TIMEOUT_S: Final = 10.0
"""For all of it: it fits a few packets."""


async def read_body(x: Exchange) -> bytes:
    """The whole body. Raises GatewayError: 413 above MAX_BYTES, 408 after TIMEOUT_S, 400 if it does not come whole."""
    if x.body_length > MAX_BYTES:
        raise _too_large()
    parts: list[bytes] = []
    received = 0
    more = x.body_length != 0
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while more:
                message = await x.receive()
                if message["type"] == "http.disconnect":
                    # granian tells of a malformed chunk alike, so it is answered in case that somebody listens
                    x.client_gone = True
                    raise GatewayError(BAD_REQUEST, "the body is incomplete or malformed")
                parts.append(message.get("body", b""))
                received += len(parts[-1])
                if received > MAX_BYTES:
                    raise _too_large()
                # granian says more_body after the last bytes too; where the length is known, it tells
                more = message.get("more_body", False) and received != x.body_length
    except TimeoutError:
        raise GatewayError(REQUEST_TIMEOUT) from None
    x.body_read = True
    return b"".join(parts)


def _too_large() -> GatewayError:
    return GatewayError(PAYLOAD_TOO_LARGE, f"at most {MAX_BYTES} bytes are read here")
