"""Spans on their way to Zipkin: OpenTelemetry's batch processor and exporter, with an encoder and manners of our own.

The exporter's own encoder took 20 to 38 us a span (bench/experiments), ours 5; and it asks Zipkin to keep every span
("debug"). A collector that is away, slow or refuses costs spans, which are counted, and two log lines.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
import requests
from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PENDING: Final = 2048
"""Spans that wait for the collector; beyond it they are dropped. 3 KB each."""

MAX_BATCH: Final = 512
EVERY_MS: Final = 1000
TIMEOUT_S: Final = 5
FAREWELL_S: Final = 1.0
"""How long the end of a process waits for the collector to take what is left."""

log = logging.getLogger("fastgw.tracing")


class Span:
    """A span that has ended."""

    __slots__ = ("duration_s", "kind", "name", "parent_id", "span_id", "started", "tags", "trace_id")

    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    """What the batch processor looks at: that it is sampled."""
    resource = Resource({})
    """What the exporter looks at; our encoder knows the service's name."""

    def __init__(
        self, ids: tuple[bytes, bytes, bytes], name: str, kind: str, time_s: tuple[float, float], tags: dict[str, str]
    ) -> None:
        """ids: of the trace, the span and its parent, hex; the last b"" for a root. kind: SERVER or CLIENT.

        time_s: when it began, seconds since the epoch, and how long it took.
        """
        self.trace_id, self.span_id, self.parent_id = ids
        self.name = name
        self.kind = kind
        self.started, self.duration_s = time_s
        self.tags = tags


class Encoder:
    """Spans as Zipkin v2 JSON (https://zipkin.io/zipkin-api/#/default/post_spans)."""

    def __init__(self, service: str) -> None:
        """service: this service's name."""
        self._endpoint = {"serviceName": service}

    def content_type(self) -> str:
        """For the exporter."""
        return "application/json"

    def serialize(self, spans: Sequence[Span], _node: Any) -> bytes:
        """For the exporter."""
        return orjson.dumps([self._span(span) for span in spans])

    def _span(self, span: Span) -> dict[str, Any]:
        content = {
            "traceId": span.trace_id.decode(),
            "id": span.span_id.decode(),
            "name": span.name,
            "kind": span.kind,
            "timestamp": int(span.started * 1e6),
            "duration": max(1, int(span.duration_s * 1e6)),
            "localEndpoint": self._endpoint,
            "tags": span.tags,
        }
        if span.parent_id:
            content["parentId"] = span.parent_id.decode()
        return content


class Collector(SpanExporter):
    """Sends spans to Zipkin, from the batch processor's thread. `emit` is the loop's."""

    def __init__(self, endpoint: str, service: str) -> None:
        """endpoint: OTEL_ZIPKIN_ENDPOINT. service: OTEL_SERVICE_NAME."""
        self._where = endpoint
        self._exporter = ZipkinExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._exporter.encoder = Encoder(service)  # type: ignore[assignment]  # all that is called of it is there
        self._exporter.session.trust_env = False  # a proxy in the environment is not for the collector
        self._emitted = 0  # the loop's
        self._done = 0  # the thread's
        self._is_closing = False
        self.problem = ""
        self.exported = 0
        self.dropped = 0  # the loop's: no room
        self.failed = 0  # the thread's: the collector would not have them
        self._processor = BatchSpanProcessor(
            self,
            max_queue_size=MAX_PENDING + MAX_BATCH,
            schedule_delay_millis=EVERY_MS,
            max_export_batch_size=MAX_BATCH,
        )

    def __repr__(self) -> str:
        return f"<Collector pending={self._emitted - self._done} exported={self.exported} {self.problem}>"

    def emit(self, span: Span) -> None:
        """Send a span when there are enough, or in a second. In the loop only; never waits."""
        if self._emitted - self._done >= MAX_PENDING:
            self.dropped += 1
            return
        self._emitted += 1
        self._processor.on_end(span)  # type: ignore[arg-type]  # it looks at the context only

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """For the batch processor."""
        problem = "the gateway is stopping" if self._is_closing and self.problem else self._send(spans)
        self._done += len(spans)
        if problem:
            self.failed += len(spans)
        else:
            self.exported += len(spans)
        if bool(problem) is not bool(self.problem):
            if problem:
                log.warning(
                    "the trace collector %s does not take spans: %s; they are dropped until it does, requests go on; "
                    "check OTEL_ZIPKIN_ENDPOINT",
                    self._where,
                    problem,
                )
            else:
                log.info("the trace collector takes spans again")
        self.problem = problem
        return SpanExportResult.FAILURE if problem else SpanExportResult.SUCCESS

    def _send(self, spans: Sequence[Span]) -> str:
        """What went wrong, or ""."""
        try:
            result = self._exporter.export(cast("Any", spans))
        except requests.Timeout:
            return f"no answer within {TIMEOUT_S} s"
        except requests.RequestException as error:
            return type(error).__name__
        return "" if result is SpanExportResult.SUCCESS else "it refuses them"

    def shutdown(self) -> None:
        """For the batch processor."""
        self._exporter.shutdown()

    def close(self) -> None:
        """Send what is left, if the collector takes it. Blocks for several seconds at worst: call it in a thread."""
        self._is_closing = True
        self._processor.shutdown()  # type: ignore[no-untyped-call]
