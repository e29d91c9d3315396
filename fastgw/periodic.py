"""Jobs that a process does again and again beside its requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

JITTER: Final = 0.1
"""Share of the interval by which a run may come early or late, so that many processes do not knock together."""

log = logging.getLogger("fastgw.periodic")


class Periodic:
    """Runs one job at an interval until it is closed. A failure is logged once per run and does not end it."""

    def __init__(self, name: str, job: Callable[[], Awaitable[None]], interval_s: float) -> None:
        """name: for the log. interval_s: seconds between the end of a run and the start of the next, +-10 %."""
        self._name = name
        self._job = job
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run now, and then at the interval."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Stop, also in the middle of a run."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        spread = Random().uniform  # noqa: S311 - spreads load, hides nothing
        while True:
            try:
                await self._job()
            except Exception:
                log.exception("the periodic job %s failed", self._name)
            await asyncio.sleep(self._interval_s * spread(1 - JITTER, 1 + JITTER))
