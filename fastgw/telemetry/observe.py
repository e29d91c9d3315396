"""DOOR: what became of this request? One call at its end: metrics, a log line, a span. What is off costs nothing."""

from __future__ import annotations

import logging
from time import perf_counter, time
from typing import TYPE_CHECKING

from fastgw.telemetry.metrics import CLIENT_CLOSED
from fastgw.telemetry.tracing import pass_on

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.telemetry.access_log import AccessLog
    from fastgw.telemetry.metrics import Metrics
    from fastgw.telemetry.routes import Routes
    from fastgw.telemetry.tracing import Tracing

log = logging.getLogger("fastgw.telemetry")


class Observe:
    """Told of each request twice: `begin`, when accept has let it in, and at the end."""

    def __init__(
        self, routes: Routes, metrics: Metrics | None, access_log: AccessLog | None, tracing: Tracing | None
    ) -> None:
        """None: it is off."""
        self._routes = routes
        self._metrics = metrics
        self._access_log = access_log
        self._tracing = tracing
        self._is_silent = metrics is None and access_log is None and tracing is None
        self.begin = pass_on if tracing is None else tracing.begin

    def __call__(self, x: Exchange) -> None:
        """The request has ended, however it did. Never raises: its client has been answered."""
        if self._is_silent:
            return
        try:
            seconds = perf_counter() - x.started
            if not x.head_sent and not x.status:
                x.status = CLIENT_CLOSED
            route = self._routes(x.raw_path)
            if self._metrics is not None:
                self._metrics.request(x, route.template, seconds)
            if self._access_log is not None or self._tracing is not None:
                ended = time()
                if self._access_log is not None:
                    self._access_log.request(x, route, seconds, ended)
                if self._tracing is not None:
                    self._tracing.end(x, route, seconds, ended)
        except Exception:
            log.exception("request %s could not be observed", x.request_id.decode("latin-1"))

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
