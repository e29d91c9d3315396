"""Whether this process is on its way out."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Drain:
    """Set once, by SIGUSR1 from the parent: health says draining, and clients are told to close."""

    def __init__(self) -> None:
        self.is_draining = False

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen for the parent's word."""
        loop.add_signal_handler(signal.SIGUSR1, self.begin)

    def begin(self) -> None:
        """The process will stop soon. There is no way back."""
        self.is_draining = True
