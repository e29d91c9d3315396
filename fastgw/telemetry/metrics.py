"""Counts what became of each request, on this process's sheet. On the path: each line here is paid for by everyone."""

from __future__ import annotations

from bisect import bisect_left
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from fastgw.telemetry import families
from fastgw.telemetry.families import BOUNDS

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.telemetry.ledger import Cells, Series, Sheet

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
"""Others count as OTHER: a client may invent as many as it likes."""

CLIENT_CLOSED: Final = 499
"""nginx's status for a client that left before it was answered."""

SWITCHED: Final = 101

STATUSES: Final = frozenset({*(int(status) for status in HTTPStatus), CLIENT_CLOSED})
"""Others count by their class, such as 5xx."""

MAX_QUEUE_S: Final = 600.0
"""An older X-Request-Start is a clock that is wrong, or a lie."""


class Metrics:
    """The figures of a process."""

    def __init__(self, sheet: Sheet) -> None:
        """sheet: of this process."""
        self.sheet = sheet
        self._requests: dict[tuple[bytes, str, int], Cells] = {}
        self._durations: dict[str, Series] = {}
        self._upstream: dict[str, Series] = {}
        self._overhead = sheet.series(families.OVERHEAD)
        one = families.REJECTED, families.RETRIES, families.HITS, families.MISSES, families.STALE
        self._rejected, self._retries, hits, misses, stale = [sheet.series(family).cells for family in one]
        self._hits = hits
        self._by_cache = {b"HIT": hits, b"MISS": misses, b"STALE": stale}

    def count(self, x: Exchange, route: str) -> None:
        """One request has ended. x.status must be set."""
        key = x.method, route, x.status
        count = self._requests.get(key)
        if count is None:
            count = self._new_requests(key)
        count[0] += 1
        if x.is_plain_hit:
            self._hits[0] += 1
        elif x.cache_fields and (count := self._by_cache.get(x.cache_fields[0][1])) is not None:
            count[0] += 1
        if x.failures or x.status >= 400:
            self._unusual(x)

    def time(self, x: Exchange, route: str, seconds: float, ended: float) -> None:
        """What it has taken: seconds in all. ended: seconds since the epoch."""
        if x.status == SWITCHED:
            return  # how long a WebSocket was open is no latency
        durations = self._durations.get(route)
        if durations is None:
            durations = self._durations[route] = self.sheet.series(families.DURATION, route)
        cells = durations.cells
        bucket = bisect_left(BOUNDS, seconds)
        cells[bucket] += 1
        cells[-1] += seconds
        trace = x.trace
        if trace.is_sampled:
            self.sheet.note_exemplar(durations, bucket, seconds, ended, trace.trace_id)
        own_s = x.own_s
        if own_s:
            cells = self._overhead.cells
            cells[bisect_left(BOUNDS, own_s)] += 1
            cells[-1] += own_s
        upstream_s = x.upstream_s
        if upstream_s:
            self.observe(self._upstream.get(x.backend) or self._new_upstream(x.backend), upstream_s)
            if x.attempts > 1:
                self._retries[0] += x.attempts - 1
        start = x.request_start
        if start and x.is_peer_trusted and (waited_s := queued_s(start, ended - seconds)) is not None:
            self.observe(self.sheet.series(families.QUEUE), waited_s)

    def observe(self, series: Series, seconds: float) -> None:
        """Add one duration to a histogram."""
        cells = series.cells
        cells[bisect_left(BOUNDS, seconds)] += 1
        cells[-1] += seconds

    def fault(self, room: str) -> None:
        """A fault of the gateway's own arose in a room."""
        self.sheet.series(families.PLUGIN_ERRORS, room).cells[0] += 1

    # -- what is new, or rare -------------------------------------------------------------------------

    def _new_requests(self, key: tuple[bytes, str, int]) -> Cells:
        method, route, status = key
        labels = method_label(method), route, status_label(status)
        cells = self.sheet.series(families.REQUESTS, *labels).cells
        if method in METHODS and status in STATUSES:  # else clients could fill the memory with names
            self._requests[key] = cells
        return cells

    def _new_upstream(self, backend: str) -> Series:
        series = self._upstream[backend] = self.sheet.series(families.UPSTREAM, backend)
        return series

    def _unusual(self, x: Exchange) -> None:
        series = self.sheet.series
        if x.limited:
            self._rejected[0] += 1
        if x.refused_for:
            series(families.AUTH_FAILURES, x.refused_for).cells[0] += 1
        for backend, reason in x.failures:
            series(families.PROXY_ERRORS, backend, reason).cells[0] += 1


def method_label(method: bytes) -> str:
    """A method as a label: bounded."""
    return method.decode() if method in METHODS else "OTHER"


def status_label(status: int) -> str:
    """A status as a label: bounded."""
    if status in STATUSES:
        return str(status)
    return f"{status // 100}xx" if 100 <= status < 600 else "other"


def queued_s(value: bytes, now: float) -> float | None:
    """Seconds since an X-Request-Start: `t=` and seconds (nginx's $msec), milliseconds or microseconds since the epoch.

    None if it is none, or no time that can be. now: seconds since the epoch.
    """
    try:
        at = float(value.removeprefix(b"t="))
    except ValueError:
        return None
    for unit in (1.0, 1e3, 1e6):
        waited_s = now - at / unit
        if -1.0 < waited_s < MAX_QUEUE_S:
            return max(0.0, waited_s)
    return None
