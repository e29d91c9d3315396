"""What /gateway/ui/data answers, made up: a quiet platform, and how it goes on."""

from __future__ import annotations

import copy
from typing import Any

BOUNDS_S = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]

HOSTILE = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'
"""What a route, an address or a region may try to be."""


def quiet(**changes: Any) -> dict[str, Any]:
    """A platform in which all is well."""
    buckets = [0] * (len(BOUNDS_S) + 1)
    return {
        "version": "0.1.0",
        "time": 1_764_459_000.0,
        "uptime_s": 93_784.0,
        "status": "healthy",
        "processes": 2,
        "active": 3,
        "counters": {
            "requests": 10_000,
            "statuses": {"200": 9_800, "404": 150, "429": 40, "502": 10},
            "cache": {"hit": 3_000, "miss": 1_000, "stale": 100},
            "rate_limited": 40,
            "auth_failures": 2,
            "shed": 0,
            "retries": 1,
            "proxy_errors": 10,
            "log_lines_dropped": 0,
        },
        "latency": {"bounds_s": BOUNDS_S, "total": buckets, "overhead": buckets, "upstream": buckets},
        "routes": [{"route": "/api/v1/jobs/{id}", "requests": 6_000}, {"route": "/api/v1/jobs", "requests": 4_000}],
        "backends": [backend("http://10.0.0.5:8000", region="europe-west"), backend("http://10.0.0.6:8000", weight=2)],
        "redis": {
            "status": "connected",
            "mode": "standalone",
            "latency_ms": 0.21,
            "breaker": "closed",
            "problem": "",
        },
        "workers": {
            "total": 5,
            "online": 4,
            "busy": 2,
            "idle": 2,
            "regions": [
                {"region": "asia-east", "total": 3, "online": 3, "busy": 1, "utilization_percent": 41.5},
                {"region": "europe-west", "total": 2, "online": 1, "busy": 1, "utilization_percent": None},
            ],
        },
        "loop_lag_ms": 0.4,
        **changes,
    }


def backend(url: str, **changes: Any) -> dict[str, Any]:
    """One that serves."""
    one = {"region": "", "weight": 1, "state": "serving", "in_flight": 2, "latency_ms": 1.2, "problem": ""}
    return {"url": url, **one, **changes}


def later(data: dict[str, Any], seconds: float, **more: int) -> dict[str, Any]:
    """The same platform some seconds later. more: what was added to counters; `s502`, `hit` and the like too."""
    after = copy.deepcopy(data)
    after["time"] += seconds
    after["uptime_s"] += seconds
    counters = after["counters"]
    for name, number in more.items():
        if name[1:].isdigit():
            counters["statuses"][name[1:]] = counters["statuses"].get(name[1:], 0) + number
        else:
            (counters["cache"] if name in counters["cache"] else counters)[name] += number
    return after


def timed(data: dict[str, Any], part: str, buckets: dict[float, int]) -> None:
    """Add to a histogram: how many took up to a bound (in seconds; `inf` is the last)."""
    counts = list(data["latency"][part])
    for bound, number in buckets.items():
        counts[BOUNDS_S.index(bound) if bound in BOUNDS_S else -1] += number
    data["latency"][part] = counts


def many(backends: int = 100, routes: int = 40, regions: int = 12) -> dict[str, Any]:
    """A large platform."""
    return quiet(
        backends=[
            backend(f"http://inference-{n}.internal.example:8000", region="north-america-east") for n in range(backends)
        ],
        routes=[{"route": f"/api/v1/resources-{n}/{{id}}/results", "requests": 9_000 - n} for n in range(routes)],
        workers={
            **dict.fromkeys(["total", "online", "busy", "idle"], regions),
            "regions": [
                {"region": f"region-{n}", "total": 1, "online": 1, "busy": 0, "utilization_percent": n * 7.5}
                for n in range(regions)
            ],
        },
    )
