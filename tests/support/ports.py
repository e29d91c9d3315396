"""Ports for servers that want a number."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from typing import Final

WORKERS: Final = 8
"""How many pytest processes (pytest-xdist) get ports of their own, so that they never race for one."""

_SPAN: Final = 22_000 // WORKERS
_FIRST: Final = 10_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % WORKERS * _SPAN
"""Below Linux' ephemeral ports: else a client that tries a dead server's port again and again could meet itself."""

_offset = random.randrange(_SPAN)


def free_port() -> int:
    """A port that nobody uses, and that this process has not handed out for long."""
    return _free_ports(1)


def free_pair() -> int:
    """The first of two neighbouring ports, both free: the second is for a Cluster node's bus."""
    return _free_ports(2)


def _free_ports(count: int) -> int:
    global _offset  # noqa: PLW0603 - the one place that counts
    while True:
        _offset = (_offset + count) % (_SPAN - count)
        port = _FIRST + _offset
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for number in range(port, port + count):
                stack.enter_context(socket.socket()).bind(("0.0.0.0", number))
            return port


class RefusingPort:
    """A port that is bound but not listened on: it refuses, and nobody else can take it meanwhile."""

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self.port = int(self._sock.getsockname()[1])

    def close(self) -> None:
        self._sock.close()


class DeafPort:
    """A port that never answers a connection: it listens, its queue is full, so Linux drops what else knocks."""

    def __init__(self) -> None:
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(0)
        self.port = int(self._sock.getsockname()[1])
        self._queue = [self._knock() for _ in range(3)]

    def _knock(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self.port))
        return sock

    def close(self) -> None:
        for sock in (self._sock, *self._queue):
            sock.close()
