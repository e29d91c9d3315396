"""The telemetry of one process, built from the settings: what is switched on, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fastgw.telemetry import families
from fastgw.telemetry.access_log import AccessLog
from fastgw.telemetry.gauges import Gauges
from fastgw.telemetry.metrics import Metrics
from fastgw.telemetry.observe import Observe
from fastgw.telemetry.routes import Routes
from fastgw.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastgw.settings.model import Settings
    from fastgw.telemetry.gauges import Value
    from fastgw.telemetry.ledger import Ledger
    from fastgw.telemetry.spans import Collector
    from fastgw.telemetry.writer import LogWriter

CLOSE_S = 2.0
"""How long the collector may take for the last spans."""


class Station:
    """To be made in the running loop; `close` at the end."""

    def __init__(self, settings: Settings, ledger: Ledger, writer: LogWriter | None) -> None:
        """ledger: shared by the processes. writer: of log lines; None: there is no access log."""
        self._writer = writer
        self._collector: Collector | None = None
        self._gauges: Gauges | None = None
        self.metrics = Metrics(ledger.claim())
        loop = asyncio.get_running_loop()
        if writer is not None:
            writer.use(loop)
        access_log = None
        if writer is not None and settings.access_log:
            access_log = AccessLog(writer, settings.log_format)
        counting = self.metrics if settings.metrics_enabled else None
        self.observe = Observe(
            Routes(settings.metrics_routes), counting, access_log, self._tracing(settings), loop=loop
        )

    def measure(self, *sources: Callable[[], Iterable[Value]]) -> Gauges:
        """Begin to write what is so now; its `refresh` is to be run every second."""
        self._gauges = Gauges(self.metrics, (self._own, *sources))
        return self._gauges

    async def close(self) -> None:
        """Hand over what is left: figures, spans, lines. Bounded."""
        self.observe.settle()
        if self._gauges is not None:
            await self._gauges.refresh()
            self._gauges.close()
        if self._collector is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._collector.close), CLOSE_S)
        if self._writer is not None:
            self._writer.flush()

    def _tracing(self, settings: Settings) -> Tracing | None:
        if not settings.otel_enabled:
            return None
        from fastgw.telemetry.spans import Collector  # noqa: PLC0415 - 60 ms and 10 MB that only tracing needs

        self._collector = Collector(settings.otel_zipkin_endpoint, settings.otel_service_name)
        return Tracing(
            self._collector.emit, settings.otel_sample_ratio, settings.otel_slow_ms / 1e3, trusts=settings.otel_trust
        )

    def _own(self) -> Iterable[Value]:
        if self._writer is not None:
            yield families.LINES_DROPPED, (), float(self._writer.dropped)
        if self._collector is not None:
            yield families.SPANS_EXPORTED, (), float(self._collector.exported)
            yield families.SPANS_DROPPED, (), float(self._collector.dropped + self._collector.failed)
