"""The ASGI callable: lifespan, http, websocket; a page of the gateway's own, or the path of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastgw.endpoints.table import ROOT
from fastgw.exchange import Exchange
from fastgw.telemetry import logs
from fastgw.telemetry.writer import LogWriter
from fastgw.wiring import House

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from fastgw.background import Drain
    from fastgw.endpoints.table import Pages
    from fastgw.exchange import Receive, Scope, Send
    from fastgw.forwarding.shed import Shed
    from fastgw.gateway import Gateway
    from fastgw.settings.load import Loaded
    from fastgw.wiring import Shared


class App:
    """One process's ASGI 3 application. It must be given its lifespan events before the first request."""

    def __init__(
        self,
        loaded: Loaded,
        embedded_url: str,
        drain: Drain,
        shared: Shared | None = None,
        writer: LogWriter | None = None,
    ) -> None:
        """embedded_url: of the embedded Valkey, or "". drain: told by the server when the process is to stop.

        shared: with the other processes, if there are any. writer: of log lines; without it there is no access log.
        """
        self._loaded = loaded
        self._embedded_url = embedded_url
        self._drain = drain
        self._shared = shared
        self._writer = writer
        self._gateway: Gateway
        self._pages: Pages
        self._elsewhere = ""
        self._shed: Shed | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See the ASGI specification. What it returns never raises for a request.

        No coroutine of its own: it only says whose the request is.
        """
        kind = scope["type"]
        if kind == "lifespan":
            return self._lifespan(receive, send)
        path = scope["path"]
        page = self._pages.find(path) if path.startswith(ROOT) or path == self._elsewhere else None
        shed = self._shed
        if shed is not None and page is None and (why := shed.door()):
            return shed.turn_away(scope, send, why, must_close=self._drain.is_draining)
        x = Exchange(scope, receive, send)
        if self._drain.is_draining:
            x.must_close = True
        if page is not None:
            return self._gateway.page(x, page if kind == "http" else self._pages.unknown)
        return self._gateway.http(x) if kind == "http" else self._gateway.websocket(x)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        house = House(self._loaded, self._drain, self._embedded_url, self._shared, self._writer)
        await house.open()
        self._gateway, self._pages, self._shed = house.gateway, house.pages, house.shed
        self._elsewhere = house.pages.elsewhere
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        await house.close()
        if self._writer is not None:
            self._writer.close()  # its thread would end with the process, and the last lines with it
        await send({"type": "lifespan.shutdown.complete"})


def build(loaded: Loaded, embedded_url: str, shared: Shared, drain: Drain) -> App:
    """The application for one worker process, in that process. shared: by all of them."""
    writer = LogWriter()
    logs.configure(loaded.settings.log_level, loaded.settings.log_format, writer)
    return App(loaded, embedded_url, drain, shared, writer)
