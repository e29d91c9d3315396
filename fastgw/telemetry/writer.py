"""Log lines on their way to stdout, without ever holding the event loop up.

Lines are gathered for a moment and handed to one thread, which alone may wait for whoever reads stdout. What it has not
got rid of is bounded; beyond that, lines are dropped and counted. A closed stdout takes nothing, and costs nothing.

To a pipe, at most PIPE_BUF bytes are written at a time, whole lines: such writes are atomic (pipe(7)), so that lines of
different processes are never mixed. A longer line is its own write.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

FLUSH_S: Final = 0.05
"""How long lines are gathered: what a killed process loses."""

FLUSH_LINES: Final = 512
MAX_PENDING_BYTES: Final = 4 * 1024 * 1024
"""Of lines that stdout has not taken: a second of 10,000 requests."""

PIPE_BYTES: Final = 4096
FILE_BYTES: Final = 64 * 1024
FAREWELL_S: Final = 1.0
"""How long the end waits for stdout to take what is left."""

STDOUT: Final = 1


class LogWriter:
    """The way out for the lines of one process. To be made after forking: it has a thread."""

    def __init__(self, fd: int = STDOUT) -> None:
        """fd: where to."""
        self._fd = fd
        self._lines: list[bytes] = []
        self._is_armed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._batches: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._handed = 0  # bytes, since the start; under the lock
        self._done = 0  # the thread's
        self._size = _write_size(fd)
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="fastgw-log", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LogWriter fd={self._fd} pending={self._handed - self._done} dropped={self.dropped}>"

    def use(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop that `add` is called in."""
        self._loop = loop

    def add(self, line: bytes) -> None:
        """A line, with its end. In the loop only; 0.1 us."""
        lines = self._lines
        lines.append(line)
        if not self._is_armed:
            if self._loop is None:
                self.flush()
                return
            self._is_armed = True
            self._loop.call_later(FLUSH_S, self.flush)
        elif len(lines) >= FLUSH_LINES:
            self._hand_over()

    def put(self, data: bytes) -> None:
        """A line that should not wait. From any thread."""
        self._queue(data, 1)

    def flush(self) -> None:
        """Hand over what was gathered."""
        self._is_armed = False
        self._hand_over()

    def close(self) -> None:
        """Write what is left, for FAREWELL_S at most. To be called last: later lines are lost."""
        self.flush()
        self._batches.put(None)
        self._thread.join(FAREWELL_S)

    # -- inside ---------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._queue(b"".join(lines), len(lines))

    def _queue(self, data: bytes, count: int) -> None:
        with self._lock:
            if self._handed - self._done + len(data) > MAX_PENDING_BYTES:
                self.dropped += count
                return
            self._handed += len(data)
        self._batches.put(data)

    def _run(self) -> None:
        while (data := self._batches.get()) is not None:
            for piece in pieces(data, self._size):
                if not _write(self._fd, piece):
                    with self._lock:
                        self.dropped += piece.count(b"\n")
            self._done += len(data)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Whole lines, as many as fit in `size` bytes, or one that is longer."""
    start = 0
    while len(data) - start > size:
        end = data.rfind(b"\n", start, start + size) + 1 or data.find(b"\n", start + size) + 1 or len(data)
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]


def write_now(fd: int, data: bytes, wait_s: float) -> bool:
    """Write a line, waiting at most `wait_s` for each PIPE_BYTES of it, for a process without a LogWriter.

    False: it is lost, or the rest of it. A pipe that can be written to has room for PIPE_BYTES (pipe(7)).
    """
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    try:
        for start in range(0, len(data), PIPE_BYTES):
            if not poll.poll(wait_s * 1e3):
                return False
            os.write(fd, data[start : start + PIPE_BYTES])
    except OSError:
        return False
    return True


def _write(fd: int, data: bytes) -> bool:
    """All of it, however long that takes. False: nobody can read it any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # whoever shares stdout has made it so
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except (OSError, ValueError):
            return False
    return True


def _write_size(fd: int) -> int:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return FILE_BYTES
    return PIPE_BYTES if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else FILE_BYTES


def is_terminal(fd: int = STDOUT) -> bool:
    """Whether a person reads it."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
