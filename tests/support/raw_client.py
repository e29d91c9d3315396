"""A client that sends exactly the bytes it is given, and tells a complete response from a broken one."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Response:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_complete: bool = True
    raw: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json["error"]["code"])


class RawClient:
    """One connection."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout_s)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def response(self, method: str = "GET") -> Response:
        """Read one response. `is_complete` is False if the connection ended or was reset in its body."""
        parser = http.client.HTTPResponse(self.sock, method=method)
        parser.begin()
        try:
            body, complete = parser.read(), True
        except http.client.IncompleteRead as error:
            body, complete = error.partial, False
        except (ConnectionError, ValueError):
            body, complete = b"", False
        return Response(parser.status, parser.getheaders(), body, complete)

    def rest(self) -> bytes:
        """All bytes until the connection ends, by an end or a reset. One that hangs instead is a failure."""
        data = b""
        try:
            while more := self.sock.recv(65536):
                data += more
        except ConnectionError:
            pass
        except TimeoutError:
            raise AssertionError(
                f"still open after {self.sock.gettimeout()} s without a byte; so far: {data[:200]!r}"
            ) from None
        return data

    def ends_by_reset(self) -> bool:
        """Read to the end: whether it was a reset. Without a length, only that tells a broken body from a whole one."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            return True
        return False

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Leave with a reset instead of an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(port: int, target: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Response:
    """One request on a connection of its own; header names with _ for -."""
    fields = {"Host": "gateway.test", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
    with RawClient(port) as client:
        client.send(head.encode("latin-1") + (body or b""))
        return client.response(method)
