"""A TCP proxy in front of a real server, whose network can be frozen, cut and slowed down."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

PIECE_BYTES = 65536


class TcpProxy:
    """Passes bytes between a port of its own and `target_port`, unless it is told to misbehave."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self.piece_bytes = PIECE_BYTES
        """At most so many bytes are passed on at a time."""
        self.pause_s = 0.0
        """Seconds between two pieces."""
        self._open: list[socket.socket] = []
        self._was_cut: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """From now on not a byte passes, nor an end: as if a cable was pulled."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def cut(self, *, by_reset: bool = False) -> None:
        """End all connections on both sides; new ones are served."""
        ending, self._open = self._open, []
        self._was_cut.update(ending)
        for sock in ending:
            with contextlib.suppress(OSError):
                if by_reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RD)  # wakes who reads; the reset goes out when nobody does any more
                    sock.close()
                else:
                    sock.shutdown(socket.SHUT_RDWR)

    def whole(self) -> None:
        """The network is as it should be, and no connection of the past is left."""
        self.piece_bytes, self.pause_s = PIECE_BYTES, 0.0
        self.thaw()
        self.cut()
        self.connections = 0

    def close(self) -> None:
        self._listener.close()
        self.whole()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target) as far:
            self.connections += 1
            self._open += [near, far]
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self.piece_bytes):
                self._flows.wait()
                sink.sendall(data)
                if self.pause_s:
                    time.sleep(self.pause_s)
        self._flows.wait()
        if source not in self._was_cut:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
