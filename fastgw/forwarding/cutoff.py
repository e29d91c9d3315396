"""Break the client's connection off, so that a response cut short can't look complete.

ASGI has no message for it, and granian ends a chunked response cleanly when the application stops in its
middle: the client would take a half for the whole (RFC 9112 8: an incomplete message must be recognisable).
So the client's socket is looked up among the descriptors of this process, by the address of its peer, and
reset. With HTTP/2 this ends the other streams of the same connection too: they see an error, not a wrong body.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastgw.exchange import Scope

_DISCONNECT: Final = struct.pack("@H14x", socket.AF_UNSPEC)
"""A sockaddr of family AF_UNSPEC: connect(2) with it dissolves a TCP connection, and Linux sends a reset."""

_libc: Final = ctypes.CDLL(None, use_errno=True)

Peer = tuple[str, int]


class Descriptors:
    """Client address -> descriptor. Filled when one is missing, as a look at thousands of sockets is not free."""

    def __init__(self) -> None:
        self._by_peer: dict[Peer, int] = {}

    def find(self, peer: Peer) -> int | None:
        """The descriptor of the socket that is connected to `peer`, None if there is none."""
        fd = self._by_peer.get(peer)
        if fd is not None and _peer_of(fd) == peer:
            return fd
        self._by_peer = {}
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are wanted, not paths
            found = _peer_of(int(name))
            if found is not None:
                self._by_peer[found] = int(name)
        return self._by_peer.get(peer)


_descriptors: Final = Descriptors()


def cut_off(scope: Scope) -> bool:
    """Reset the client's connection. Whether it was found; if not, it is gone already."""
    host, port = scope["client"]
    fd = _descriptors.find((host, int(port)))
    if fd is None:
        return False
    return _libc.connect(fd, _DISCONNECT, len(_DISCONNECT)) == 0  # type: ignore[no-any-return]  # ctypes knows no types


def _peer_of(fd: int) -> Peer | None:
    """The peer of a descriptor, None if it is no connected TCP socket."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        address = sock.getpeername()
    except OSError:
        return None
    else:
        return (address[0], address[1]) if isinstance(address, tuple) else None
    finally:
        sock.detach()
