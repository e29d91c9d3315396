"""WebSocket pass-through (RFC 6455): the handshake is the backend's decision, then messages go both ways.

The client is accepted only after the backend has accepted, so that the subprotocol and a refusal are the
backend's own. Each direction carries one message at a time: backpressure follows from that. Pings are answered
hop by hop, by granian and by the websockets library; they are not messages and are not passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from fastgw.errors import BAD_GATEWAY, GATEWAY_TIMEOUT, GatewayError
from fastgw.exchange import End
from fastgw.forwarding.heads import NOT_FROM_BACKEND, handshake_fields
from fastgw.respond import Answer

if TYPE_CHECKING:
    import ssl

    from fastgw.exchange import Exchange, Message
    from fastgw.routing.choose import Choose

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Largest message: uvicorn's own default (ws_max_size)."""

MAX_QUEUED_FRAMES: Final = 4
"""Frames of the backend that wait for the client, before reading pauses."""

CLOSE_SECONDS: Final = 5.0
"""How long the backend may take to answer a close frame."""

NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
NORMAL: Final = 1000
BACKEND_BROKE: Final = 1011
"""What the client is told when the backend is gone without a close frame (RFC 6455 7.4.1: unexpected condition)."""


class Tunnel:
    """Carries WebSockets to backends."""

    def __init__(self, choose: Choose, connect_timeout_s: float, tls: ssl.SSLContext | None) -> None:
        """connect_timeout_s: for connecting and the handshake together. tls: for https backends."""
        self._choose = choose
        self._timeout_s = connect_timeout_s
        self._tls = tls

    async def __call__(self, x: Exchange) -> Answer | None:
        """Carry one WebSocket to its end. Returns the backend's refusal of the handshake, if it refused.

        Raises GatewayError if the backend could not be reached or did not answer the handshake.
        """
        await x.receive()  # websocket.connect
        backend = self._choose(x, set())
        url = backend.url.replace("http", "ws", 1) + x.target.decode("latin-1")
        try:
            upstream = await connect(
                url,
                additional_headers=handshake_fields(x),
                subprotocols=[Subprotocol(name) for name in x.scope.get("subprotocols", [])] or None,
                user_agent_header=None,
                compression=None,  # frames are passed on as messages; compressing twice serves nobody
                open_timeout=self._timeout_s,
                close_timeout=CLOSE_SECONDS,
                ping_interval=None,
                max_size=MAX_MESSAGE_BYTES,
                max_queue=MAX_QUEUED_FRAMES,
                proxy=None,
                ssl=self._tls if url.startswith("wss") else None,
            )
        except InvalidStatus as error:
            return _refusal(error)
        except TimeoutError:
            raise GatewayError(GATEWAY_TIMEOUT, "no answer to the WebSocket handshake") from None
        except (InvalidHandshake, InvalidMessage, OSError) as error:
            raise GatewayError(BAD_GATEWAY, f"the WebSocket handshake failed ({type(error).__name__})") from None
        await x.send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
        x.status, x.head_sent = 101, True
        await _carry(x, upstream)
        return None


async def _carry(x: Exchange, upstream: ClientConnection) -> None:
    """Messages both ways, until one side is done; then the other is closed with the same code."""
    down = asyncio.create_task(_to_client(x, upstream))
    try:
        await _to_backend(x, upstream, down)
    finally:
        if not down.done():
            down.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await down


async def _to_backend(x: Exchange, upstream: ClientConnection, down: asyncio.Task[None]) -> None:
    """The client's messages, until it disconnects or the other direction has ended."""
    while not down.done():
        receiving = asyncio.ensure_future(_receive(x))
        await asyncio.wait({receiving, down}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            receiving.cancel()
            return
        message = receiving.result()
        if message["type"] == "websocket.disconnect":
            x.end = End.CLIENT_GONE
            code = message.get("code") or NO_STATUS
            await upstream.close(NORMAL if code in {NO_STATUS, ABNORMAL} else code, message.get("reason") or "")
            return
        text = message.get("text")
        with contextlib.suppress(ConnectionClosed):  # the other direction tells the client
            await upstream.send(text if text is not None else message["bytes"])


async def _receive(x: Exchange) -> Message:
    """Granian's awaitable as a coroutine, for asyncio.wait."""
    return await x.receive()


async def _to_client(x: Exchange, upstream: ClientConnection) -> None:
    """The backend's messages, then its close code."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            data = await upstream.recv()
            key = "text" if isinstance(data, str) else "bytes"
            await x.send({"type": "websocket.send", key: data})
    code = upstream.close_code
    reason = upstream.close_reason or ""
    if code is None or code == ABNORMAL:
        x.end, code, reason = End.BROKE_IN_BODY, BACKEND_BROKE, "the backend is gone"
    else:
        x.end = End.COMPLETE
    await x.send({"type": "websocket.close", "code": NORMAL if code == NO_STATUS else code, "reason": reason})


def _refusal(error: InvalidStatus) -> Answer:
    """The backend's answer to a handshake that it refused, to be passed on as it is."""
    response = error.response
    fields = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.raw_items()
        if name.lower().encode("latin-1") not in NOT_FROM_BACKEND and name.lower() != "content-length"
    ]
    return Answer(response.status_code, bytes(response.body or b""), fields)
