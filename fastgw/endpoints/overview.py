"""/gateway/ui/data: what the status page shows, as JSON."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from fastgw import __version__
from fastgw.respond import json_answer, respond
from fastgw.telemetry import families
from fastgw.telemetry.exposition import Total
from fastgw.telemetry.families import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastgw.endpoints.health import Health, RedisState
    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend
    from fastgw.telemetry.families import Family
    from fastgw.telemetry.ledger import Ledger

MAX_ROUTES: Final = 40


class Overview:
    """The figures of all processes, and the surroundings as this one sees them."""

    def __init__(
        self,
        ledger: Ledger,
        health: Health,
        redis: Callable[[], RedisState],
        backends: Sequence[Backend],
        regions: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """regions: of GPU workers: {region, total, online, busy, utilization_percent}."""
        self._ledger = ledger
        self._health = health
        self._redis = redis
        self._backends = backends
        self._regions = regions

    async def show(self, x: Exchange) -> None:
        """GET: see `content`."""
        total = await asyncio.to_thread(Total, self._ledger)
        await respond(x, json_answer(200, self.content(total)))

    def content(self, total: Total) -> dict[str, Any]:
        """{version, time, uptime_s, status, processes, active, counters, latency, routes, backends, redis, workers}.

        Counters only grow while the gateway runs, so a page makes rates of their differences. Latencies are counts per
        bucket, one more than there are bounds.
        """
        _, health = self._health.report()
        regions = self._regions()
        statuses: Counter[str] = Counter()
        routes: Counter[str] = Counter()
        for (_, route, status), cells in total.of(families.REQUESTS).items():
            statuses[status] += int(cells[0])
            routes[route] += int(cells[0])
        summed = {name: sum(region[name] for region in regions) for name in ("total", "online", "busy")}
        return {
            "version": __version__,
            "time": time(),
            "uptime_s": round(monotonic() - self._ledger.since, 1),
            "status": health["status"],
            "processes": int(total.sum_of(families.PROCESSES)),
            "active": int(total.sum_of(families.ACTIVE)),
            "counters": {
                "requests": statuses.total(),
                "statuses": dict(statuses),
                "cache": {
                    "hit": _count(total, families.HITS),
                    "miss": _count(total, families.MISSES),
                    "stale": _count(total, families.STALE),
                },
                "rate_limited": _count(total, families.REJECTED),
                "auth_failures": _count(total, families.AUTH_FAILURES),
                "shed": _count(total, families.SHED),
                "retries": _count(total, families.RETRIES),
                "proxy_errors": _count(total, families.PROXY_ERRORS),
                "log_lines_dropped": _count(total, families.LINES_DROPPED),
            },
            "latency": {
                "bounds_s": BOUNDS,
                "total": _buckets(total, families.DURATION),
                "overhead": _buckets(total, families.OVERHEAD),
                "upstream": _buckets(total, families.UPSTREAM),
            },
            "routes": [{"route": route, "requests": count} for route, count in routes.most_common(MAX_ROUTES)],
            "backends": [self._backend(backend, total) for backend in self._backends],
            "redis": self._redis_shown(),
            "workers": {**summed, "idle": summed["online"] - summed["busy"], "regions": regions},
            "loop_lag_ms": _lag_ms(total),
        }

    def _backend(self, backend: Backend, total: Total) -> dict[str, Any]:
        in_flight = total.of(families.BACKEND_IN_FLIGHT).get((backend.label,), [0.0])
        return {
            "url": backend.url,
            "region": backend.region or "",
            "weight": backend.weight,
            "state": backend.record.state.name.lower(),
            "in_flight": int(in_flight[0]),
            "latency_ms": None if backend.latency_ms is None else round(backend.latency_ms, 3),
            "problem": backend.problem or backend.record.complaint,
        }

    def _redis_shown(self) -> dict[str, Any]:
        redis = self._redis()
        return {
            "status": "connected" if redis.is_up else "disconnected",
            "mode": redis.mode,
            "latency_ms": None if redis.latency_ms is None else round(redis.latency_ms, 3),
            "breaker": redis.breaker,
            "problem": redis.problem,
        }


def _count(total: Total, family: Family) -> int:
    return int(total.sum_of(family))


def _buckets(total: Total, family: Family) -> list[int]:
    """Counts per bucket, of all series of a histogram together."""
    counts = [0] * (len(BOUNDS) + 1)
    for cells in total.of(family).values():
        for bucket, count in enumerate(cells[:-1]):
            counts[bucket] += int(count)
    return counts


def _lag_ms(total: Total) -> float | None:
    """How late the loops were on average, since the start."""
    counts = _buckets(total, families.LOOP_LAG)
    if not sum(counts):
        return None
    seconds = sum(cells[-1] for cells in total.of(families.LOOP_LAG).values())
    return round(seconds / sum(counts) * 1e3, 3)
