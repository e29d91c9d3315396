"""/gateway/health/detailed: the health page, and what it rests on."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from fastgw.endpoints.resources import resources
from fastgw.respond import json_answer, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastgw.endpoints.health import Health, RedisState
    from fastgw.endpoints.plugins import Plugins
    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend


class Detailed:
    """Tells what this process knows of its surroundings; asks nobody itself."""

    def __init__(
        self,
        health: Health,
        redis: Callable[[], RedisState],
        backends: Sequence[Backend],
        plugins: Plugins,
        workers: Callable[[], dict[str, Any]],
    ) -> None:
        """workers: what is known of the GPU workers, such as {total, online, busy, idle}."""
        self._health = health
        self._redis = redis
        self._backends = backends
        self._plugins = plugins
        self._workers = workers

    async def show(self, x: Exchange) -> None:
        """GET: 200 or 503 as /gateway/health."""
        status, content = self.report()
        await respond(x, json_answer(status, content))

    def report(self) -> tuple[int, dict[str, Any]]:
        """HTTP status, and the health page's content with redis as an object, backends, plugins, workers, resources."""
        status, content = self._health.report()
        content["redis"] = _redis(self._redis(), content["redis"])
        content["backends"] = [_backend(backend) for backend in self._backends]
        content["plugins"] = self._plugins.report()
        content["workers"] = self._workers()
        content["resources"] = resources()
        return status, content


def _redis(redis: RedisState, status: str) -> dict[str, Any]:
    """{status, latency_ms, mode, breaker, address, problem?}; latency_ms: of the last call that was measured."""
    shown = {
        "status": status,
        "latency_ms": _rounded(redis.latency_ms),
        "mode": redis.mode,
        "breaker": redis.breaker,
        "address": redis.address,
    }
    return {**shown, "problem": redis.problem} if redis.problem else shown


def _backend(backend: Backend) -> dict[str, Any]:
    """One backend as this process sees it.

    {url, status, state, in_use, share, ejections, in_flight, region?, weight, latency_ms, problem?}: status as active
    checks find it, state as its requests show it; latency_ms of the last check that was answered.
    """
    record = backend.record
    shown = {
        "url": backend.url,
        "status": {True: "healthy", False: "unhealthy", None: "unknown"}[backend.is_healthy],
        "state": record.state.name.lower(),
        "in_use": record.is_in_use,
        "share": round(record.share(monotonic()), 2),
        "ejections": record.ejections,
        "in_flight": backend.in_flight,
        "region": backend.region,
        "weight": backend.weight,
        "latency_ms": _rounded(backend.latency_ms),
        "problem": backend.problem or record.complaint,
    }
    return {name: value for name, value in shown.items() if value or name not in {"region", "problem"}}


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
