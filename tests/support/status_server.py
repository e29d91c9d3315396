"""A server for the status page alone: the page's own bytes and fields, and data that a test scripts."""

from __future__ import annotations

import asyncio
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from fastgw.endpoints.ui import UiPage
from tests.pure.asgi import Client, accepted, exchange
from tests.support.ports import free_port
from tests.support.status_data import quiet


class StatusServer:
    """Serves /gateway/ui and /gateway/ui/data until it is stopped; can begin again on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/gateway/ui"
        self.reset()
        client = Client()
        asyncio.run(UiPage().show(accepted(exchange(client=client))))
        self.page, self.fields = client.body, client.fields
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def reset(self) -> None:
        """All is well, and everybody may look."""
        self.data: Any = quiet()
        self.status = 200
        self.token = ""
        self.asked: list[tuple[str, str | None]] = []

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str, token: str | None) -> tuple[int, bytes, dict[bytes, bytes]]:
        """Status, body and fields."""
        self.asked.append((path, token))
        if path == "/gateway/ui":
            return 200, self.page, self.fields
        if path != "/gateway/ui/data":
            return 404, b"", {}
        status = self.status
        if self.token:
            status = 403 if token is None else 200 if token == self.token else 401
        body = self.data if isinstance(self.data, bytes) else json.dumps(self.data).encode()
        return status, body, {b"content-type": b"application/json", b"cache-control": b"no-store"}


class _Handler(BaseHTTPRequestHandler):
    of: StatusServer

    def do_GET(self) -> None:
        token = self.headers.get("X-Admin-Token")  # which http.server reads as Latin-1
        status, body, fields = self.of.answer(self.path, token and token.encode("latin-1").decode())
        self.send_response(status)
        for name, value in {**fields, b"content-length": b"%d" % len(body)}.items():
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests say what went wrong themselves."""
