"""Every metric that there is: its name, what it counts, its labels, and how the processes' figures become one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

BOUNDS: Final = (
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.003,
    0.004,
    0.005,
    0.0075,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds of the buckets, in seconds: fine below 5 ms, the gateway's own budget; up to jobs."""

HISTOGRAM_CELLS: Final = len(BOUNDS) + 2
"""One count per bucket, one above the last bound, and the sum."""


class Kind(Enum):
    """What becomes of the processes' figures. Gauges are those of living processes only."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUM = "sum"
    MAX = "max"
    MIN = "min"

    @property
    def is_gauge(self) -> bool:
        """Whether it tells of now, not of all that was."""
        return self in {Kind.SUM, Kind.MAX, Kind.MIN}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. Counters' names are without their _total."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


REQUESTS: Final = Family("gateway_requests", Kind.COUNTER, "Requests by their end.", ("method", "route", "status"))
DURATION: Final = Family(
    "gateway_request_duration_seconds", Kind.HISTOGRAM, "From the request's head to the end of its answer.", ("route",)
)
UPSTREAM: Final = Family(
    "gateway_upstream_duration_seconds", Kind.HISTOGRAM, "Wait for the head of the backend's answer.", ("backend",)
)
OVERHEAD: Final = Family(
    "gateway_overhead_seconds", Kind.HISTOGRAM, "From the request's head to that of the answer, without the backend's."
)
ACTIVE: Final = Family("gateway_active_connections", Kind.SUM, "Requests under way.")
HITS: Final = Family("gateway_cache_hits", Kind.COUNTER, "Answers from the cache.")
MISSES: Final = Family("gateway_cache_misses", Kind.COUNTER, "Looked for in the cache, and not there or not fresh.")
STALE: Final = Family("gateway_cache_stale", Kind.COUNTER, "Answers from the cache that were no longer fresh.")
REJECTED: Final = Family("gateway_ratelimit_rejected", Kind.COUNTER, "Requests over their rate limit.")
AUTH_FAILURES: Final = Family("gateway_auth_failures", Kind.COUNTER, "Requests refused for who sent them.", ("reason",))
SHED: Final = Family("gateway_shed", Kind.COUNTER, "Requests refused for overload.", ("reason",))
RETRIES: Final = Family("gateway_retries", Kind.COUNTER, "Tries after the first.")
PROXY_ERRORS: Final = Family(
    "gateway_proxy_errors", Kind.COUNTER, "Tries that brought no complete answer.", ("backend", "reason")
)
PLUGIN_ERRORS: Final = Family(
    "gateway_plugin_errors", Kind.COUNTER, "Faults of the gateway itself, by the room they arose in.", ("plugin",)
)
WORKERS_ONLINE: Final = Family("gateway_workers_online", Kind.MAX, "GPU workers online.", ("region",))
WORKERS_BUSY: Final = Family("gateway_workers_busy", Kind.MAX, "GPU workers busy.", ("region",))
BACKEND_UP: Final = Family(
    "gateway_backend_up", Kind.MIN, "1: in use; 0: ejected, or failing its checks.", ("backend",)
)
BACKEND_IN_FLIGHT: Final = Family("gateway_backend_in_flight", Kind.SUM, "Requests on a backend.", ("backend",))
EJECTIONS: Final = Family(
    "gateway_backend_ejections", Kind.COUNTER, "Times that a process took it out of use.", ("backend",)
)
REDIS_UP: Final = Family("gateway_redis_up", Kind.MIN, "1: every process has its connection to Redis.")
REDIS_LATENCY: Final = Family("gateway_redis_latency_seconds", Kind.MAX, "Last measured round trip to Redis.")
LOOP_LAG: Final = Family(
    "gateway_loop_lag_seconds", Kind.HISTOGRAM, "How late the event loop was, four times a second."
)
QUEUE: Final = Family(
    "gateway_queue_seconds", Kind.HISTOGRAM, "From X-Request-Start of a trusted proxy to the handler."
)
MEMORY: Final = Family("gateway_memory_bytes", Kind.SUM, "Resident memory of the worker processes.")
CPU: Final = Family("gateway_cpu_seconds", Kind.COUNTER, "CPU time of the worker processes.")
PROCESSES: Final = Family("gateway_processes", Kind.SUM, "Worker processes that live.")
INFO: Final = Family("gateway_info", Kind.MAX, "1, with the version.", ("version",))
LINES_DROPPED: Final = Family("gateway_log_lines_dropped", Kind.COUNTER, "Log lines that nobody took in time.")
SPANS_EXPORTED: Final = Family("gateway_spans_exported", Kind.COUNTER, "Spans that the collector has taken.")
SPANS_DROPPED: Final = Family("gateway_spans_dropped", Kind.COUNTER, "Spans that it has not, or not in time.")
SERIES_DROPPED: Final = Family("gateway_series_dropped", Kind.COUNTER, "Series for which there was no room.")

ALL: Final = (
    INFO,
    PROCESSES,
    REQUESTS,
    DURATION,
    UPSTREAM,
    OVERHEAD,
    ACTIVE,
    HITS,
    MISSES,
    STALE,
    REJECTED,
    AUTH_FAILURES,
    SHED,
    RETRIES,
    PROXY_ERRORS,
    PLUGIN_ERRORS,
    WORKERS_ONLINE,
    WORKERS_BUSY,
    BACKEND_UP,
    BACKEND_IN_FLIGHT,
    EJECTIONS,
    REDIS_UP,
    REDIS_LATENCY,
    LOOP_LAG,
    QUEUE,
    MEMORY,
    CPU,
    LINES_DROPPED,
    SPANS_EXPORTED,
    SPANS_DROPPED,
    SERIES_DROPPED,
)
BY_NAME: Final = {family.name: family for family in ALL}
