"""A path -> the template that stands for it in metrics, logs and spans: bounded, whatever clients send.

The platform's routes, and those of METRICS_ROUTES; all else is "other".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.telemetry import redact

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER: Final = "other"

PLATFORM: Final = (
    "/",
    "/admin",
    "/api/v1/jobs",
    "/api/v1/jobs/stats/queue",
    "/api/v1/jobs/sync",
    "/api/v1/jobs/{id}",
    "/api/v1/queue/stats",
    "/api/v1/workers",
    "/api/v1/workers/register",
    "/api/v1/workers/{id}",
    "/api/v1/workers/{id}/config",
    "/api/v1/workers/{id}/heartbeat",
    "/api/v1/workers/{id}/jobs/{job}/complete",
    "/api/v1/workers/{id}/next-job",
    "/api/v1/workers/{id}/verify",
    "/docs",
    "/health",
    "/openapi.json",
    "/redoc",
    "/regions",
)

REMEMBERED: Final = 4096
"""Paths whose template is known without a look. Ids make new paths all the time: it then starts anew."""

MAX_REMEMBERED_BYTES: Final = 256
"""A longer path is looked at each time: else whoever sends paths of 64 KiB would have 4,096 of them kept."""


class Route:
    """What is known of a path. shown: the path for a log line. is_plain: JSON takes it and the template as they are."""

    __slots__ = ("is_plain", "shown", "shown_bytes", "template", "template_bytes")

    def __init__(self, template: str, raw_path: bytes) -> None:
        """raw_path: as it stands on the request line."""
        self.template = template
        self.shown = redact.target(raw_path, b"")
        self.shown_bytes, self.template_bytes = self.shown.encode(), template.encode()
        self.is_plain = redact.is_plain(self.shown) is not None and redact.is_plain(template) is not None


class Routes:
    """Finds templates. A segment in braces stands for any one segment; a literal one goes before it."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """more: templates beside the platform's."""
        self._exact: dict[bytes, str] = {}
        self._by_length: dict[int, list[tuple[tuple[bytes | None, ...], str]]] = {}
        for template in (*PLATFORM, *more):
            parts = tuple(None if part.startswith("{") else part.encode() for part in template.split("/"))
            if None in parts:
                self._by_length.setdefault(len(parts), []).append((parts, template))
            else:
                self._exact[template.encode()] = template
        for same_length in self._by_length.values():
            same_length.sort(key=lambda pair: sum(part is None for part in pair[0]))  # the most literal first
        self._known: dict[bytes, Route] = {}

    def __call__(self, raw_path: bytes) -> Route:
        """What is known of a path as it stands on the request line. O(1) for a path that was seen lately."""
        known = self._known.get(raw_path)
        if known is None:
            known = Route(self._exact.get(raw_path) or self._match(raw_path), raw_path)
            if len(raw_path) <= MAX_REMEMBERED_BYTES:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[raw_path] = known
        return known

    def _match(self, raw_path: bytes) -> str:
        parts = raw_path.split(b"/")
        for pattern, template in self._by_length.get(len(parts), ()):
            if all(want is None or want == part for want, part in zip(pattern, parts, strict=True)):
                return template
        return OTHER
