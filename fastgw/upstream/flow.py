"""Backpressure: the only place that pauses a transport.

Reading is paused while more than HIGH_WATER bytes of body wait for the client, and resumed below
LOW_WATER. Writing waits while the kernel's and uvloop's buffers are full. One object a connection.
"""

from __future__ import annotations

import asyncio
from typing import Final

HIGH_WATER: Final = 64 * 1024
"""Bytes read ahead of the client. One read of uvloop may carry 256 KiB, so the mark is soft by that much."""

LOW_WATER: Final = 16 * 1024
"""Below this, reading goes on: a quarter, so that pauses do not flutter."""

WRITE_HIGH_WATER: Final = 64 * 1024
"""Request bytes that may wait for the backend: as much as is read ahead in the other direction."""


class Flow:
    """Pause and resume for the two directions of one transport. All methods are idempotent."""

    __slots__ = ("_drained", "_transport", "reading_paused", "writing_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._drained: asyncio.Future[None] | None = None
        self.reading_paused = False
        self.writing_paused = False
        transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def pause_reading(self) -> None:
        """Stop taking bytes from the kernel."""
        if not self.reading_paused:
            self.reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self.reading_paused:
            self.reading_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The transport's buffer is above its mark: `drain` waits from now on."""
        self.writing_paused = True

    def resume_writing(self) -> None:
        """The transport's buffer is low, or the connection is gone: whoever waits goes on."""
        self.writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    async def drain(self) -> None:
        """Wait until more may be written. Returns too when the connection is lost: the next call tells."""
        if self.writing_paused:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
