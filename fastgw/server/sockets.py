"""The listening sockets, owned by the parent: one per worker slot.

granian would bind one socket per worker with SO_REUSEPORT, in the worker; the connections that wait in its queue
are then reset when that worker ends, so a reload or a crash fails requests. Ours outlive the workers: what waits
is served by the next one. Separate queues rather than one for all, as the kernel then spreads connections evenly;
on one shared queue the worker that wakes first takes a whole burst.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

BACKLOG: Final = 4096
"""Connections that may wait to be accepted, per worker; the kernel cuts it to net.core.somaxconn (4096 since 5.4)."""


class ListenError(Exception):
    """The address can't be listened on; the text says why and what to do."""


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Open `count` sockets that listen on the same address. Port 0: any free one, the same for all.

    Raises ListenError if the address is taken, not ours, or not to be resolved.
    """
    where = f"port {port} on {host}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )[0]
    except socket.gaierror as error:
        raise ListenError(f"the host {host} is unknown ({error.strerror}); set GATEWAY_HOST to an address") from None
    try:
        # SO_REUSEPORT would let a second gateway share the port in silence: ask once without it
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = probe.getsockname()
        return [_open(family, address) for _ in range(count)]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = "is taken; stop what listens there, or set GATEWAY_PORT to another port"
        elif error.errno == errno.EACCES:
            advice = "needs more rights; take a port above 1023, or give the process CAP_NET_BIND_SERVICE"
        elif error.errno == errno.EADDRNOTAVAIL:
            advice = "is not an address of this machine; set GATEWAY_HOST to one that is, or to 0.0.0.0"
        else:
            advice = f"can't be listened on ({error.strerror}); set GATEWAY_HOST and GATEWAY_PORT"
        raise ListenError(f"{where} {advice}") from None


def reopen(listener: socket.socket) -> socket.socket:
    """A socket in the place of one whose workers don't start: what waits there is reset, not left to hang.

    It is bound but does not listen, so the kernel gives new connections to the others; granian makes it listen when
    a worker serves.
    """
    fresh = _bind(listener.family, listener.getsockname())
    listener.close()
    return fresh


def _open(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = _bind(family, address)
    sock.listen(BACKLOG)
    return sock


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    sock.bind(address)
    sock.setblocking(False)
    return sock
