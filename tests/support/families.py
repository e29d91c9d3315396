"""The metric families that rules and dashboard may count on: name -> labels; `le` marks a histogram."""

from __future__ import annotations

import re

Families = dict[str, frozenset[str]]

PROMISED = """
gateway_info{version}
gateway_processes
gateway_requests_total{method,route,status}
gateway_request_duration_seconds{route,le}
gateway_upstream_duration_seconds{backend,le}
gateway_overhead_seconds{le}
gateway_active_connections
gateway_cache_hits_total
gateway_cache_misses_total
gateway_cache_stale_total
gateway_ratelimit_rejected_total
gateway_auth_failures_total{reason}
gateway_shed_total{reason}
gateway_retries_total
gateway_proxy_errors_total{backend,reason}
gateway_plugin_errors_total{plugin}
gateway_workers_online{region}
gateway_workers_busy{region}
gateway_backend_up{backend}
gateway_backend_in_flight{backend}
gateway_backend_ejections_total{backend}
gateway_redis_up
gateway_redis_latency_seconds
gateway_loop_lag_seconds{le}
gateway_queue_seconds{le}
gateway_memory_bytes
gateway_cpu_seconds_total
gateway_log_lines_dropped_total
gateway_spans_exported_total
gateway_spans_dropped_total
gateway_series_dropped_total
"""


def families(text: str) -> Families:
    """Lines of `name{label,label}`."""
    found = (re.fullmatch(r"(\w+)(?:\{([\w,]+)\})?", line) for line in text.split())
    return {one[1]: frozenset((one[2] or "").split(",")) - {""} for one in found if one}


def scraped(text: str) -> Families:
    """The families of an exposition (text format or OpenMetrics), with the labels that its samples have.

    A family that has a TYPE but no sample yet is there, with no labels that are known.
    """
    made: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if declared := re.match(r"# TYPE (\w+) (\w+)", line):
            name, kind = declared.groups()
            name += "_total" if kind == "counter" and not name.endswith("_total") else ""
            kinds[name] = kind
            made.setdefault(name, {"le"} if kind == "histogram" else set())
        elif sample := re.match(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? ', line):
            family = re.sub(r"_(bucket|sum|count)$", "", sample[1])
            name = family if kinds.get(family) == "histogram" else sample[1]
            labels = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', sample[2] or "")
            made.setdefault(name, set()).update(labels)
    return {name: frozenset(labels) for name, labels in made.items() if not name.endswith("_created")}
