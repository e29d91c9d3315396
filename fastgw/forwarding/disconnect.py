"""The client goes away -> the backend's connection is closed, without a task per request.

granian's `send` does not tell of a disconnect, only `receive` does. A fast request is over before anybody
could have left, so nothing is done for it: requests under way stand in a set, and one timer per process, armed
only while the set is not empty, looks at it every TICK_SECONDS. What it meets a second time is slow, and only
then gets a task that waits for `http.disconnect`. Thus a departure is noticed within two ticks.

The same look ends clients that stall (`client_deadline`), and lets the head of a slow response go out before
its body (`nudge`).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from fastgw.errors import REQUEST_TIMEOUT, GatewayError
from fastgw.forwarding.cutoff import cut_off
from fastgw.forwarding.failures import GivenUp
from fastgw.upstream.errors import Aborted

if TYPE_CHECKING:
    from fastgw.exchange import Exchange

TICK_SECONDS: Final = 0.025
"""Two ticks and the closing itself stay well below the 100 ms in which the backend's connection is to be closed."""

TICKS_PER_SECOND: Final = 40
"""Stalls are counted in minutes: those who are being watched are looked at once a second."""


class Watch:
    """The requests under way in this process: new ones, slow ones, and slow ones that have their task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._new: set[Exchange] = set()
        self._slow: set[Exchange] = set()
        self._watched: set[Exchange] = set()
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Watch new={len(self._new)} slow={len(self._slow)} watched={len(self._watched)}>"

    def __len__(self) -> int:
        return len(self._new) + len(self._slow) + len(self._watched)

    def add(self, x: Exchange) -> None:
        """A request holds a backend's connection from now on."""
        self._new.add(x)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def discard(self, x: Exchange) -> None:
        """The request is over. Safe to call twice."""
        self._new.discard(x)
        if self._slow or self._watched:
            self._slow.discard(x)
            self._watched.discard(x)
            if x.watch is not None:
                x.watch.cancel()
                x.watch = None

    def close(self) -> None:
        """Stop looking; the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for x in [*self._slow, *self._watched]:
            self.discard(x)

    def _tick(self) -> None:
        now = self._loop.time()
        self._ticks += 1
        for x in list(self._slow):
            if x.body_read:
                if x.watch is None:
                    x.watch = self._loop.create_task(_until_gone(x))
                self._slow.discard(x)
                self._watched.add(x)
            if x.connection is not None:
                x.connection.nudge()
        if self._ticks % TICKS_PER_SECOND == 0:
            for x in [x for x in (*self._slow, *self._watched) if x.client_deadline < now]:
                _end_stalled(x)
        self._slow |= self._new
        self._new = set()
        under_way = self._slow or self._watched
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick) if under_way else None


async def _until_gone(x: Exchange) -> None:
    """Wait until the client has left, then give the backend's connection up."""
    while (await x.receive())["type"] != "http.disconnect":
        pass  # what is left of a body that was read to its length: an empty last message
    x.client_gone = True
    if x.connection is not None:
        x.connection.abort(Aborted("the client left"))


def _end_stalled(x: Exchange) -> None:
    """The client neither takes nor gives bytes: give the backend up, and the client where no 408 can reach it."""
    x.client_deadline = math.inf
    x.client_stalled = True
    if x.connection is not None:
        x.connection.abort(GivenUp(GatewayError(REQUEST_TIMEOUT)))
    if x.head_sent or x.connection is None:
        cut_off(x.scope)
