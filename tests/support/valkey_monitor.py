"""What a server says that it did: the lines of MONITOR, taken apart."""

from __future__ import annotations

import re
import socket
import threading
import uuid
from dataclasses import dataclass, field
from typing import Self

from redis import Redis

from tests.support.wait import until

_LINE = re.compile(rb'^\+?[\d.]+ \[(?P<db>\d+) (?P<source>[^\]]+)\] (?P<args>".*)$')
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


@dataclass(frozen=True)
class Call:
    """One command that a server ran. source: the client's address, or `lua` for one that a script called."""

    source: str
    args: tuple[bytes, ...]

    @property
    def name(self) -> bytes:
        return self.args[0].upper()


def parse(line: bytes) -> Call | None:
    """A line of MONITOR without line end; None for one of another form (the first `+OK`)."""
    match = _LINE.match(line)
    if match is None:
        return None
    args = tuple(_ESCAPE.sub(_unescape, text) for text in _ARGUMENT.findall(match["args"]))
    return Call(match["source"].decode(), args)


def _unescape(match: re.Match[bytes]) -> bytes:
    text = match[1]
    return bytes.fromhex(text[1:].decode()) if text[:1] == b"x" else _PLAIN.get(text, text)


@dataclass
class Monitor:
    """Collects what one server does while the `with` block runs; complete when the block has ended, or after sync()."""

    port: int
    admin: Redis
    calls: list[Call] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._sock = socket.create_connection(("127.0.0.1", self.port), 5)
        self._sock.sendall(b"MONITOR\r\n")
        assert self._sock.recv(5) == b"+OK\r\n"
        self._sock.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.sync()
        finally:
            self._sock.shutdown(socket.SHUT_RDWR)
            self._thread.join(5)
            self._sock.close()

    def sync(self) -> None:
        """Wait until all that was done up to now is in `calls` (without the mark that this call leaves)."""
        mark = uuid.uuid4().hex.encode()
        self.admin.execute_command("ECHO", mark)
        until(lambda: any(call.args[1:] == (mark,) for call in reversed(self.calls)), 10, "the end of MONITOR")
        self.calls[:] = [call for call in self.calls if call.args[1:] != (mark,)]

    def names(self) -> set[bytes]:
        """The commands that were run, upper case."""
        return {call.name for call in self.calls}

    def keys(self, call: Call) -> list[tuple[bytes, set[bytes]]]:
        """The keys of a call with their flags (RO, RW, OW, RM, access, insert, update, delete), as the server tells.

        Empty for a command without keys.
        """
        try:
            found = self.admin.execute_command("COMMAND GETKEYSANDFLAGS", *call.args)
        except Exception as error:
            if "no key arguments" in str(error):
                return []
            raise
        return [(key, set(flags)) for key, flags in found]

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                data = self._sock.recv(65536)
            except OSError:
                return
            if not data:
                return
            *lines, rest = (rest + data).split(b"\r\n")
            self.calls += [call for line in lines if (call := parse(line))]
