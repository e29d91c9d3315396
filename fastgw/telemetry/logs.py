"""Lifecycle lines: one JSON object each, or text for a terminal; to stdout, from the parent and from the workers."""

from __future__ import annotations

import json
import logging
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.telemetry.writer import STDOUT, write_now

if TYPE_CHECKING:
    from fastgw.telemetry.writer import LogWriter

PARENT_WAIT_S: Final = 0.1
"""How long the parent waits for stdout to take a line: it has workers to look after."""

TEXT: Final = "%(asctime)s fastgw %(levelname)s %(message)s"

LEVELS: Final = {
    "granian": "WARNING",
    "_granian": "ERROR",  # its own chatter is a line for each departed client
    "opentelemetry": "CRITICAL",  # collector.py tells of a collector that is away, once
    "urllib3": "ERROR",
}


def configure(level: str, form: str, writer: LogWriter | None = None) -> None:
    """Send the process's log lines to stdout. form: json or text. writer: of a worker; the parent has none."""
    handler = StdoutHandler(writer)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING")
    logging.getLogger("fastgw").setLevel(level.upper())
    for name, least in LEVELS.items():
        logging.getLogger(name).setLevel(least)


class StdoutHandler(logging.Handler):
    """Hands lines to the writer, or writes them if stdout takes them at once."""

    def __init__(self, writer: LogWriter | None) -> None:
        """writer: see `configure`."""
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:
            self.handleError(record)
            return
        if self._writer is not None:
            self._writer.put(line)
        else:
            write_now(STDOUT, line, PARENT_WAIT_S)


class JsonFormatter(logging.Formatter):
    """{time, level, message, logger, pid, exception?}."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        content: dict[str, Any] = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            "pid": record.process,
        }
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(content).decode()
        except TypeError:  # a text that is no Unicode, such as bytes of a path
            return json.dumps(content)


def iso_time(seconds: float) -> str:
    """RFC 3339, UTC, with milliseconds. seconds: since the epoch."""
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{int(seconds * 1000) % 1000:03d}Z"
