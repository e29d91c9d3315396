"""Backends that can be killed, frozen, restarted, slowed, and replaced by a liar; each keeps its port all the time."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import ROOT, accepts
from tests.support.wait import until

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
LIES = (
    b"",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    bytes(range(256)) * 4,
    b"HTTP/1.1 20",
    b"HTTP/1.1 200 OK\r\nContent-Len",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 999999 What\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
)


class Member:
    """A uvicorn with tests/support/chaos_app.py on a port of its own."""

    def __init__(self, directory: Path, name: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger = directory / "ledger"
        self.slow_file = directory / f"slow-{name}"
        self._log = (directory / f"uvicorn-{name}.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self._liar: Liar | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "tests.support.chaos_app:app", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--log-level", "warning", "--no-access-log"]
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CHAOS_LEDGER": str(self.ledger),
            "CHAOS_SLOW": str(self.slow_file),
        }
        self._process = subprocess.Popen(command, env=env, stdout=self._log, stderr=self._log)
        until(lambda: accepts(self.port), 20, "uvicorn's start")
        assert self._process.poll() is None

    def kill(self) -> None:
        """At once, with all that is under way."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """As a deployment does: what is under way is finished."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def freeze(self) -> None:
        """The kernel still takes connections; nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def slow(self, seconds: float) -> None:
        """Answers take longer by that, but not the health page's."""
        self.slow_file.write_text(f"{seconds}")

    def lie(self) -> None:
        """Kill it, and let somebody else have its port who is well by his health page and talks nonsense otherwise."""
        self.kill()
        self._liar = Liar(self.port)

    def heal(self) -> None:
        """Whatever was done to it."""
        self.slow_file.unlink(missing_ok=True)
        if self._liar is not None:
            self._liar.close()
            self._liar = None
        assert self._process is not None
        if self._process.poll() is None:
            self.thaw()
        else:
            self.start()

    def close(self) -> None:
        if self._liar is not None:
            self._liar.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(10)
        self._log.close()


class Liar:
    """A server that answers anything but the health page with what is no answer."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._random = random.Random(port)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes its accept
        self._thread.join(5)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        with sock, contextlib.suppress(OSError):
            sock.settimeout(5)
            if first := sock.recv(65536):
                sock.sendall(HEALTHY if first.startswith(b"GET /health ") else self._random.choice(LIES))
        self._open.discard(sock)
