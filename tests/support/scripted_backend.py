"""A backend that misbehaves byte by byte: each connection is handled by a function that the test gives."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

Handler = Callable[["Connection"], None]

CHECK_PREFLIGHT = b"OPTIONS /api/v1/jobs "
"""How checks ask for a CORS policy."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Connection:
    """One accepted connection, with what scripts need."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(10)
        self.data = b""

    def head(self) -> bytes:
        """Read up to and with the next empty line; b"" if the peer closed instead."""
        while b"\r\n\r\n" not in self.data:
            more = self._recv()
            if not more:
                return b""
            self.data += more
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def all(self) -> bytes:
        """Read until the peer closes."""
        while more := self._recv():
            self.data += more
        return self.data

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """Close with a reset instead of an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def until_closed(self) -> float:
        """Wait for the peer to close; returns the wall-clock time at which it did."""
        while self._recv():
            pass
        return time.time()

    def _recv(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except OSError:
            return b""


class ScriptedBackend:
    """Listens on a port of its own; `handler` is called in a thread for each connection. Checks are answered."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.handler: Handler = lambda connection: None
        self.connections = 0
        self.heads: list[bytes] = []
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def use(self, handler: Handler) -> None:
        """From now on, connections are handled so; those of the last script are closed, and known to be."""
        self.handler = handler
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        if self._open:
            self._open.clear()
            time.sleep(0.03)  # the gateway sees the ends of its idle connections
        self.connections = 0
        self.heads = []

    def answering(self, response: bytes, *, close: bool = True) -> None:
        """Answer each connection's first request with these bytes, and close."""

        def handle(connection: Connection) -> None:
            if connection.head():
                connection.send(response)
                if not close:
                    connection.until_closed()

        self.use(handle)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock)
        with contextlib.suppress(OSError):
            first = sock.recv(65536, socket.MSG_PEEK)
            if first.startswith((b"GET /_health ", CHECK_PREFLIGHT)):
                sock.sendall(OK)
            elif first:
                self.connections += 1
                self._open.append(sock)
                self.heads.append(first)
                self.handler(connection)
        with contextlib.suppress(OSError):
            sock.close()
