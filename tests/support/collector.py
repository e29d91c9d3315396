"""A collector that takes Zipkin v2 JSON as the real one does, and can be told to refuse, to hang, or to go away."""

from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.ports import free_port
from tests.support.wait import until

ID = re.compile(r"[0-9a-f]{16}")
TRACE_ID = re.compile(r"[0-9a-f]{16}([0-9a-f]{16})?")
KINDS = {"CLIENT", "SERVER", "PRODUCER", "CONSUMER"}
FIELDS = {
    "traceId", "id", "parentId", "kind", "name", "timestamp", "duration", "debug", "shared",
    "localEndpoint", "remoteEndpoint", "annotations", "tags",
}  # fmt: skip


def check(span: dict[str, Any]) -> None:
    """What zipkin2-api.yaml demands of a span."""
    assert set(span) <= FIELDS, set(span) - FIELDS
    assert TRACE_ID.fullmatch(span["traceId"])
    assert ID.fullmatch(span["id"])
    assert "parentId" not in span or ID.fullmatch(span["parentId"])
    assert span.get("kind", "CLIENT") in KINDS
    assert isinstance(span["name"], str)
    assert isinstance(span["timestamp"], int)
    assert abs(span["timestamp"] / 1e6 - time.time()) < 60
    assert isinstance(span["duration"], int)
    assert span["duration"] >= 1
    assert set(span["localEndpoint"]) <= {"serviceName", "ipv4", "ipv6", "port"}
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in span.get("tags", {}).items())


class Collector:
    """POST /api/v2/spans. answer: status that it gives; hang_s: how long it takes for it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api/v2/spans"
        self.spans: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.answer, self.hang_s = 202, 0.0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert not self.problems, self.problems

    def start(self) -> None:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(collector.hang_s)
                if collector.answer == 202:
                    collector.take(body, self.headers["content-type"])
                self.send_response(collector.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, body: bytes, content_type: str) -> None:
        try:
            assert content_type == "application/json"
            for span in json.loads(body):
                if span["localEndpoint"].get("serviceName") != "fastapi-server":  # an encoder of somebody else's
                    check(span)
                self.spans.append(span)
        except Exception as error:
            self.problems.append(f"{error!r}: {body[:500]!r}")

    def of(self, trace_id: str, count: int, seconds: float = 8) -> list[dict[str, Any]]:
        """The spans of a trace, when there are so many."""

        def found() -> list[dict[str, Any]]:
            return [span for span in self.spans if span["traceId"] == trace_id]

        until(
            lambda: len(found()) >= count or self.problems, seconds, f"{count} spans of {trace_id}; there are {found()}"
        )
        return found()
