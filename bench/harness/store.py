"""The Valkey that both peers of the chain questions share: the server of the wheel, fresh, on a core of its choosing.

It keeps nothing on disk and has no memory bound. It listens on a TCP port of HOST and on a unix socket; `by` says which
of the two the peers are to use.
"""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import hiredis

from bench.harness.process import HOST, PROBE_TIMEOUT_S, StartError, free_port, running, working_home
from bench.harness.process import Command as Program
from fastgw.store.embedded import EmbeddedValkeyError, find_binary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from bench.harness.process import Running

TCP, UNIX = "tcp", "unix"
WAYS = (TCP, UNIX)
Command = tuple[Any, ...]  # words and arguments: bytes, str or int
_READ_BYTES = 1 << 20
_BATCH_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Store:
    """A running Valkey. by: TCP or UNIX."""

    process: Running
    socket_path: Path
    by: str

    @property
    def url(self) -> str:
        """As REDIS_URL takes it."""
        return f"unix://{self.socket_path}" if self.by == UNIX else f"redis://{HOST}:{self.process.port}"

    def script_calls(self) -> int:
        """EVAL and EVALSHA so far."""
        with Client(self) as client:
            lines: list[bytes] = client.ask("INFO", "commandstats").splitlines()
        counted = (re.match(rb"cmdstat_eval(?:sha)?:calls=(\d+)", line) for line in lines)
        return sum(int(found[1]) for found in counted if found)


@contextmanager
def running_store(core: int, by: str = TCP) -> Iterator[Store]:
    """Started on `core`. Raises StartError."""
    try:
        binary = str(find_binary())
    except EmbeddedValkeyError as error:
        raise StartError(str(error)) from error
    port = free_port()
    with working_home("store") as home:
        path = home / "valkey.sock"
        listen = ("--bind", HOST, "--port", str(port), "--unixsocket", str(path))
        keep = ("--dir", str(home), "--save", "", "--appendonly", "no")
        server = Program((binary, *listen, *keep))
        with running("store", server, home, port, core, _answers_ping) as started:
            yield Store(started, path, by)


def _answers_ping(port: int) -> str:
    try:
        with socket.create_connection((HOST, port), PROBE_TIMEOUT_S) as client:
            client.sendall(b"PING\r\n")
            answer = client.recv(64)
    except OSError as error:
        return type(error).__name__
    return "" if answer.startswith(b"+PONG") else repr(answer)


class Client:
    """A connection over which whole batches of commands are sent in one write; hiredis packs and parses."""

    def __init__(self, store: Store) -> None:
        """To be used as a context."""
        self._socket = socket.create_connection((HOST, store.process.port), _BATCH_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, in order. Raises hiredis.ReplyError for the first that is an error, and OSError."""
        self._socket.sendall(b"".join([hiredis.pack_command(command) for command in commands]))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            if reply is not False:
                replies.append(reply)
                continue
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the store closed the connection")
            self._reader.feed(data)
        return replies

    def ask(self, *command: bytes | str | int) -> Any:
        """One command's reply."""
        return self.batch([command])[0]

    def used_memory(self) -> int:
        """Bytes that Valkey has allocated, by its own count."""
        lines: list[bytes] = self.ask("INFO", "memory").splitlines()
        return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"used_memory:"))
