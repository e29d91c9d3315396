"""WebSocket pass-through (RFC 6455): the handshake is the backend's decision, then messages go both ways.

The client is accepted only after the backend has accepted, so that the subprotocol and a refusal are the
backend's own. Each direction carries one message at a time: backpressure follows from that. Pings are answered
hop by hop, by granian and by the websockets library; they are not messages and are not passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from fastgw.errors import BAD_GATEWAY, GATEWAY_TIMEOUT, GatewayError
from fastgw.exchange import End
from fastgw.forwarding.heads import NOT_FROM_BACKEND, handshake_fields
from fastgw.respond import Answer
from fastgw.routing.ejection import Outcome

if TYPE_CHECKING:
    import ssl

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend
    from fastgw.routing.choose import Choose

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Largest message: uvicorn's own default (ws_max_size)."""

MAX_QUEUED_FRAMES: Final = 4
"""Frames of the backend that wait for the client, before reading pauses."""

CLOSE_SECONDS: Final = 5.0
"""How long the backend may take to answer a close frame."""

UNREACHED: Final = (ConnectionRefusedError, socket.gaierror)
"""After these another backend may be asked: the handshake was not begun."""

NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
BACKEND_BROKE: Final = 1011
"""What the client is told when the backend is gone without a close frame (RFC 6455 7.4.1: unexpected condition)."""


class Tunnel:
    """Carries WebSockets to backends."""

    def __init__(self, choose: Choose, connect_timeout_s: float, tls: ssl.SSLContext | None) -> None:
        """connect_timeout_s: for connecting and the handshake together. tls: for https backends."""
        self._choose = choose
        self._timeout_s = connect_timeout_s
        self._tls = tls

    def use(self, connect_timeout_s: float) -> None:
        """The time for connecting and the handshake from now on."""
        self._timeout_s = connect_timeout_s

    async def __call__(self, x: Exchange) -> Answer | None:
        """Carry one WebSocket to its end. Returns the backend's refusal of the handshake, if it refused.

        Raises GatewayError if the backend could not be reached or did not answer the handshake.
        """
        await x.receive()  # websocket.connect
        tried: set[Backend] = set()
        while True:
            backend = self._choose(x, tried)
            tried.add(backend)
            x.backend = backend.label
            backend.in_flight += 1
            try:
                return await self._through(x, backend)
            except GatewayError as error:
                # refused, or of no address: nothing was sent
                if not isinstance(error.__context__, UNREACHED) or not self._choose.left(x, tried):
                    raise
            finally:
                backend.in_flight -= 1

    async def _through(self, x: Exchange, backend: Backend) -> Answer | None:
        """One try. Tells routing what came of the handshake: what comes after it is between the two."""
        report = self._choose.report
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
            report(backend, Outcome.ANSWERED if error.response.status_code < 500 else Outcome.SERVER_ERROR)
            return _refusal(error)
        except TimeoutError:
            report(backend, Outcome.TIMED_OUT)
            raise GatewayError(GATEWAY_TIMEOUT, "no answer to the WebSocket handshake") from None
        except (InvalidHandshake, InvalidMessage, OSError) as error:
            report(backend, Outcome.CONNECT_FAILED if isinstance(error, OSError) else Outcome.BROKEN)
            raise GatewayError(BAD_GATEWAY, f"the WebSocket handshake failed ({type(error).__name__})") from None
        report(backend, Outcome.ANSWERED)
        await x.send({"type": "websocket.accept", "subprotocol": upstream.subprotocol})
        x.status, x.head_sent = 101, True
        await _carry(x, upstream)
        return None


async def _carry(x: Exchange, upstream: ClientConnection) -> None:
    """Messages both ways, until one side is done; then the other is closed with the same code."""
    up = asyncio.create_task(_to_backend(x, upstream))
    down = asyncio.create_task(_to_client(x, upstream))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            x.end = End.CLIENT_GONE
            code, reason = up.result()
            await upstream.close(NORMAL if code in {NO_STATUS, ABNORMAL} else code, reason)
            return
        # granian's close waits for a pending receive, which may never end: that goes first
        await _cancel(up)
        down.result()
        await _close_client(x, upstream)
    finally:
        await _cancel(up)
        await _cancel(down)
        await upstream.close(GOING_AWAY)  # nothing happens if it is closed already


async def _to_backend(x: Exchange, upstream: ClientConnection) -> tuple[int, str]:
    """The client's messages, until it disconnects. Returns its close code and reason."""
    while True:
        message = await x.receive()
        if message["type"] == "websocket.disconnect":
            return message.get("code") or NO_STATUS, message.get("reason") or ""
        text = message.get("text")
        with contextlib.suppress(ConnectionClosed):  # the other direction notices, and tells the client
            await upstream.send(text if text is not None else message["bytes"])


async def _to_client(x: Exchange, upstream: ClientConnection) -> None:
    """The backend's messages, until it closes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            data = await upstream.recv()
            key = "text" if isinstance(data, str) else "bytes"
            await x.send({"type": "websocket.send", key: data})


async def _close_client(x: Exchange, upstream: ClientConnection) -> None:
    """Close the client's side as the backend closed; if that just vanished, say so."""
    x.end = End.COMPLETE
    code, reason = upstream.close_code, upstream.close_reason or ""
    if code is None or code == ABNORMAL:
        x.end, code, reason = End.BROKE_IN_BODY, BACKEND_BROKE, "the backend is gone"
    await x.send({"type": "websocket.close", "code": NORMAL if code == NO_STATUS else code, "reason": reason})


async def _cancel(task: asyncio.Task[Any]) -> None:
    """End a task and wait for its end; what it failed with was told to the other side already."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _refusal(error: InvalidStatus) -> Answer:
    """The backend's answer to a handshake that it refused, to be passed on as it is."""
    response = error.response
    fields = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.raw_items()
        if name.lower().encode("latin-1") not in NOT_FROM_BACKEND and name.lower() != "content-length"
    ]
    return Answer(response.status_code, bytes(response.body or b""), fields)
