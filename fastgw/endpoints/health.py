"""/gateway/health and /gateway/health/live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from fastgw import __version__
from fastgw.respond import json_answer, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend


@dataclass(slots=True)
class RedisState:
    """What is known of Redis."""

    is_up: bool | None = None
    """None: not asked yet."""
    latency_ms: float | None = None
    """Of the last round trip that was measured."""
    problem: str = ""
    """Why it is not up."""
    mode: str = ""
    """standalone, sentinel, cluster or embedded."""
    breaker: str = ""
    """closed, open or probing."""
    address: str = ""
    """As REDIS_URL has it, without user and password."""


class Health:
    """Tells whether this process can serve, from what the background checks have found; asks nobody itself."""

    def __init__(
        self,
        backends: Sequence[Backend],
        redis: Callable[[], RedisState],
        is_draining: Callable[[], bool],
        started: float,
    ) -> None:
        """started: monotonic seconds at which the process began to serve."""
        self._backends = backends
        self._redis = redis
        self._is_draining = is_draining
        self._started = started

    async def full(self, x: Exchange) -> None:
        """/gateway/health: 200 when healthy or degraded, 503 when draining or without a healthy backend."""
        status, content = self.report()
        await respond(x, json_answer(status, content))

    async def live(self, x: Exchange) -> None:
        """/gateway/health/live: 200 as long as the process answers at all."""
        await respond(x, json_answer(200, {"status": "alive", "version": __version__}))

    def report(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and content: {status, version, uptime, timestamp, redis, errors?}.

        status: healthy, degraded (serves, but something is amiss: see errors), unhealthy or draining. uptime is in
        seconds, timestamp is RFC 3339.
        """
        errors = [f"backend {b.url}: {b.problem}" for b in self._backends if b.is_healthy is False]
        errors += [f"backend {b.url}: {b.record.complaint}" for b in self._backends if b.record.complaint]
        status, code = "healthy", 200
        redis = self._redis()
        if redis.is_up is False:
            errors.append(f"redis: {redis.problem}")
        if errors:
            status = "degraded"
        if all(b.is_healthy is False for b in self._backends):
            status, code = "unhealthy", 503
        if self._is_draining():
            status, code = "draining", 503
        content: dict[str, Any] = {
            "status": status,
            "version": __version__,
            "uptime": round(monotonic() - self._started, 3),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "redis": "connected" if redis.is_up else "unknown" if redis.is_up is None else "disconnected",
        }
        if errors:
            content["errors"] = errors
        return code, content
