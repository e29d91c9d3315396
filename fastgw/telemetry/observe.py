"""DOOR: what became of this request? Told at its end: metrics, a log line, a span. What is off costs nothing.

What must be right to the request, also if the process is killed, is counted at once. The rest (durations, the line,
spans) is settled for some requests together: one by one, between other work, it takes over twice as long, as code and
data have left the core's caches by then.
"""

from __future__ import annotations

import logging
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from fastgw.telemetry.metrics import CLIENT_CLOSED
from fastgw.telemetry.tracing import pass_on

if TYPE_CHECKING:
    import asyncio

    from fastgw.exchange import Exchange
    from fastgw.telemetry.access_log import AccessLog
    from fastgw.telemetry.metrics import Metrics
    from fastgw.telemetry.routes import Route, Routes
    from fastgw.telemetry.tracing import Tracing

SETTLE_S: Final = 0.02
"""How long requests that have ended wait for others: what a killed process loses of durations, lines and spans."""

BATCH: Final = 64
"""So many are settled at once: it holds the loop up for half a millisecond at most."""

UNOBSERVED: Final = "request %s could not be observed"

log = logging.getLogger("fastgw.telemetry")


class Observe:
    """Told of each request twice: `begin`, when accept has let it in, and at the end."""

    def __init__(
        self,
        routes: Routes,
        metrics: Metrics | None = None,
        access_log: AccessLog | None = None,
        tracing: Tracing | None = None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """None: it is off. loop: where requests are settled together; without it each is at once."""
        self._routes = routes
        self._metrics = metrics
        self._access_log = access_log
        self._tracing = tracing
        self._loop = loop
        self._is_armed = False
        self._ended: list[tuple[Exchange, Route, float]] = []
        self._is_silent = metrics is None and access_log is None and tracing is None
        self.begin = pass_on if tracing is None else tracing.begin

    def __call__(self, x: Exchange) -> None:
        """The request has ended, however it did. Never raises: its client has been answered."""
        if self._is_silent:
            return
        now = perf_counter()
        try:
            if not x.head_sent and not x.status:
                x.status = CLIENT_CLOSED
            route = self._routes(x.raw_path)
            if self._metrics is not None:
                self._metrics.count(x, route.template)
        except Exception:
            log.exception(UNOBSERVED, x.request_id.decode("latin-1"))
            return
        ended = self._ended
        ended.append((x, route, now))
        if not self._is_armed:
            self._arm()
        elif len(ended) >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Time, log and trace those that have ended."""
        ended, self._ended = self._ended, []
        metrics, access_log, tracing = self._metrics, self._access_log, self._tracing
        wall_s = time() - perf_counter()
        for x, route, now in ended:
            seconds = now - x.started
            try:
                if metrics is not None:
                    metrics.time(x, route.template, seconds, wall_s + now)
                if access_log is not None:
                    access_log.request(x, route, seconds, wall_s + now)
                if tracing is not None:
                    tracing.end(x, route, seconds, wall_s + now)
            except Exception:
                log.exception(UNOBSERVED, x.request_id.decode("latin-1"))

    def _arm(self) -> None:
        if self._loop is None:
            self.settle()
        else:
            self._is_armed = True
            self._loop.call_later(SETTLE_S, self._ring)

    def _ring(self) -> None:
        self._is_armed = False
        self.settle()

    def fault(self, error: BaseException) -> None:
        """A fault of ours ended a request: in which room did it arise?"""
        if self._metrics is not None:
            self._metrics.fault(room_of(error))


def room_of(error: BaseException) -> str:
    """The room of fastgw that is the last in an error's traceback."""
    room = "gateway"
    at = error.__traceback__
    while at is not None:
        parts = at.tb_frame.f_globals.get("__name__", "").split(".")
        if parts[0] == "fastgw" and len(parts) > 1:
            room = parts[1]
        at = at.tb_next
    return room
