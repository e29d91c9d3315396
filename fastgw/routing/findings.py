"""What active checks found, shared by the processes of a host.

The parent makes it before it forks; then all have the same memory, and one lock, of which each process is an owner of
its own. Whoever holds the lock asks the backends and writes, the others read. The system takes the lock of a killed
process back, and a page that it left half written is taken by nobody: its checksum is wrong.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from fastgw.locks import nameless_file

SIZE: Final = 1 << 20
"""Bytes of the page: 3,000 backends at about 300 bytes each. What is not written to takes no memory."""

HEAD: Final = struct.Struct("=QII")
"""Version of the page (even a killed writer never uses one twice), length of its text, checksum of both."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    url: str
    """What was asked for: the health page of a backend."""
    asked_at: float
    """When it was begun, monotonic seconds (the same clock for all processes of a host)."""
    next_at: float
    """When to ask again."""
    latency_ms: float | None
    """To the end of the answer; None: there was none."""
    problem: str
    """What was wrong with this check, or ""."""
    is_healthy: bool
    """The verdict; a single problem is no verdict yet (health.py)."""
    has_cors: bool | None = None
    """Whether it has a CORS policy of its own; None: not known, or not asked."""


class Findings:
    """A page of findings in shared memory, with a lock. To be made before forking, or by a process for itself."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, SIZE)  # shared and anonymous
        self._lock = nameless_file("fastgw-checks")
        self._version = 0

    def close(self) -> None:
        """Let go of the lock and of the memory. Other processes keep theirs."""
        if self._lock >= 0:
            os.close(self._lock)
            self._page.close()
            self._lock = -1

    def claim(self) -> bool:
        """Be the one who asks, or still be it. False: another process is."""
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give_up(self) -> None:
        """Let another process ask."""
        fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def write(self, findings: list[Finding]) -> bool:
        """Replace the page; only for who has the claim. False: it does not fit, and nothing was changed."""
        text = orjson.dumps([asdict(finding) for finding in findings])
        if len(text) > SIZE - HEAD.size:
            return False
        version = HEAD.unpack_from(self._page)[0] + 1
        HEAD.pack_into(self._page, 0, version, len(text), _checksum(version, text))
        self._page[HEAD.size : HEAD.size + len(text)] = text
        return True

    def read(self) -> list[Finding]:
        """What was written since the last call; nothing if nothing was, or if it is being written right now."""
        version, length, checksum = HEAD.unpack_from(self._page)
        if version == self._version or length > SIZE - HEAD.size:
            return []
        text = self._page[HEAD.size : HEAD.size + length]
        if _checksum(version, text) != checksum:
            return []
        self._version = version
        return [Finding(**found) for found in orjson.loads(text)]


def _checksum(version: int, text: bytes) -> int:
    return zlib.crc32(text, version & 0xFFFFFFFF)
