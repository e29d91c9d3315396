"""Writes deploy/grafana/fastgw.json, the dashboard for Grafana 10 and later. `make docs`.

ROWS is the whole dashboard: rows of panels, panels of queries. In a query, FLEET stands for the matchers of the chosen
job and instances, ROUTE for these and the chosen routes. What Grafana wants around it is made below.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parent.parent / "deploy" / "grafana" / "fastgw.json"
FLEET: Final = 'job=~"$job", instance=~"$instance"'
ROUTE: Final = f'{FLEET}, route=~"$route"'
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
"""Grafana's grid."""
SCHEMA_VERSION: Final = 38
"""Grafana 10.0's; later ones bring it up to date when they import it."""


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and how its lines are called: `{{label}}` is replaced by Grafana."""

    expr: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """One graph. help: what it says to whoever points at its title. lines: where a limit is drawn, with the colour."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    help: str = ""
    lines: tuple[tuple[str, float], ...] = ()
    stacked: bool = False
    stat: bool = False
    most: float | None = None
    width: int = 8


def rate(metric: str, by: str, matchers: str = "FLEET") -> str:
    """Per second, summed up."""
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def total(metric: str, matchers: str = "FLEET") -> str:
    """Per second, of all; 0 where nothing was counted yet, so that a share of it is drawn all the same."""
    return f"(sum(rate({metric}{{{matchers}}}[$__rate_interval])) or vector(0))"


def quantile(share: float, histogram: str, by: str = "", matchers: str = "FLEET") -> str:
    """The time that this share of the observations stays below."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels, matchers)})"


def quantiles(histogram: str, matchers: str = "FLEET") -> tuple[Query, ...]:
    """The three that every latency is told by, with exemplars."""
    return tuple(
        Query(quantile(q, histogram, "", matchers), f"p{q * 100:.0f}", exemplars=True) for q in (0.5, 0.9, 0.99)
    )


def above(histogram: str, bound: str) -> str:
    """The share of the observations above the bound of a bucket."""
    below = f'sum(rate({histogram}_bucket{{FLEET, le="{bound}"}}[$__rate_interval]))'
    return f"1 - {below} / sum(rate({histogram}_count{{FLEET}}[$__rate_interval]))"


ALL: Final = total("gateway_requests_total", "ROUTE")
FAILED: Final = total("gateway_requests_total", 'ROUTE, status=~"5.."') + f" / {ALL}"
UNANSWERED: Final = total("gateway_requests_total", 'ROUTE, status=~"502|503|504"') + f" / {ALL}"
LOOKUPS: Final = " + ".join(total(f"gateway_cache_{kind}_total") for kind in ("hits", "stale", "misses"))
ANSWERED: Final = " + ".join(total(f"gateway_cache_{kind}_total") for kind in ("hits", "stale"))
GPU_ONLINE: Final = "max by (region) (gateway_workers_online{FLEET})"
GPU_BUSY: Final = "max by (region) (gateway_workers_busy{FLEET})"

TRAFFIC: Final = (
    Panel("Requests", "reqps", (Query(total("gateway_requests_total", "ROUTE"), "requests"),), stat=True, width=4),
    Panel(
        "Answered 5xx",
        "percentunit",
        (Query(FAILED, "5xx"),),
        "By a backend or by the gateway. The objective is 0.1 %.",
        lines=(("red", 0.001),),
        stat=True,
        width=4,
    ),
    Panel("Gateways", "none", (Query("sum by (version) (gateway_info{FLEET})", "{{version}}"),), stat=True, width=4),
    Panel(
        "Backends up",
        "none",
        (Query("sum(max by (backend) (gateway_backend_up{FLEET}))", "backends"),),
        "Which at least one gateway asks.",
        stat=True,
        width=4,
    ),
    Panel("GPU workers online", "none", (Query(f"sum({GPU_ONLINE})", "workers"),), stat=True, width=4),
    Panel(
        "Without Redis",
        "none",
        (Query("count(gateway_redis_up{FLEET} == 0) or vector(0)", "gateways"),),
        stat=True,
        width=4,
    ),
    Panel("Requests by route", "reqps", (Query(rate("gateway_requests_total", "route", "ROUTE"), "{{route}}"),)),
    Panel(
        "Requests by status",
        "reqps",
        (Query(rate("gateway_requests_total", "status", "ROUTE"), "{{status}}"),),
        stacked=True,
    ),
    Panel(
        "Share answered 5xx",
        "percentunit",
        (
            Query(FAILED, "5xx"),
            Query(UNANSWERED, "502, 503, 504: no answer from a backend"),
        ),
        "The line is the objective: 0.1 %.",
        lines=(("red", 0.001),),
    ),
    Panel("Requests under way", "none", (Query("gateway_active_connections{FLEET}", "{{instance}}"),), width=12),
    Panel(
        "Wait before the gateway",
        "s",
        quantiles("gateway_queue_seconds"),
        "From X-Request-Start, which a trusted proxy sets, to the handler. Empty without such a proxy.",
        width=12,
    ),
)

LATENCY: Final = (
    Panel(
        "Duration", "s", quantiles("gateway_request_duration_seconds", "ROUTE"), "A point leads to its trace.", width=12
    ),
    Panel(
        "Duration by route, p99",
        "s",
        (Query(quantile(0.99, "gateway_request_duration_seconds", "route", "ROUTE"), "{{route}}", exemplars=True),),
        width=12,
    ),
    Panel("Wait for the backend", "s", quantiles("gateway_upstream_duration_seconds"), width=12),
    Panel(
        "Wait for each backend, p99",
        "s",
        (Query(quantile(0.99, "gateway_upstream_duration_seconds", "backend"), "{{backend}}", exemplars=True),),
        width=12,
    ),
)

OVERHEAD: Final = (
    Panel(
        "What the gateway itself takes",
        "s",
        quantiles("gateway_overhead_seconds"),
        "Duration without the wait for the backend. The lines are the budgets: 1 ms with few requests, 5 ms with many.",
        lines=(("yellow", 0.001), ("red", 0.005)),
        width=12,
    ),
    Panel(
        "Share above the budgets",
        "percentunit",
        (
            Query(above("gateway_overhead_seconds", "0.001"), "above 1 ms"),
            Query(above("gateway_overhead_seconds", "0.005"), "above 5 ms"),
        ),
        "The lines: 1 % may be above 5 ms, 10 % above 1 ms.",
        lines=(("red", 0.01), ("yellow", 0.1)),
        width=12,
    ),
)

CACHE: Final = (
    Panel(
        "Lookups",
        "ops",
        tuple(Query(total(f"gateway_cache_{kind}_total"), kind) for kind in ("hits", "stale", "misses")),
        stacked=True,
        width=12,
    ),
    Panel(
        "Share answered from the cache",
        "percentunit",
        (Query(f"({ANSWERED}) / ({LOOKUPS})", "hits and stale"),),
        "Of the requests that the cache was asked about.",
        most=1,
        width=12,
    ),
)

LIMITS: Final = (
    Panel(
        "Refused by the rate limit (429)",
        "reqps",
        (Query(rate("gateway_ratelimit_rejected_total", "instance"), "{{instance}}"),),
    ),
    Panel("Failed authentications", "reqps", (Query(rate("gateway_auth_failures_total", "reason"), "{{reason}}"),)),
    Panel(
        "Shed (503)",
        "reqps",
        (Query(rate("gateway_shed_total", "reason"), "{{reason}}"),),
        "With OVERLOAD_PROTECTION, and by the limits on concurrency.",
    ),
)

BACKENDS: Final = (
    Panel(
        "Up",
        "none",
        (Query("min by (backend) (gateway_backend_up{FLEET})", "{{backend}}"),),
        "0: at least one gateway has ejected it, or it fails its checks.",
        most=1,
    ),
    Panel("Requests in flight", "none", (Query("sum by (backend) (gateway_backend_in_flight{FLEET})", "{{backend}}"),)),
    Panel(
        "Ejections",
        "none",
        (
            Query(
                "sum by (backend) (increase(gateway_backend_ejections_total{FLEET}[$__rate_interval]))", "{{backend}}"
            ),
        ),
    ),
    Panel(
        "Failed attempts",
        "ops",
        (Query(rate("gateway_proxy_errors_total", "backend, reason"), "{{backend}} {{reason}}"),),
        width=12,
    ),
    Panel("Retries", "ops", (Query(rate("gateway_retries_total", "instance"), "{{instance}}"),), width=12),
)

GPU: Final = (
    Panel("Online by region", "none", (Query(GPU_ONLINE, "{{region}}"),), stacked=True),
    Panel("Busy by region", "none", (Query(GPU_BUSY, "{{region}}"),), stacked=True),
    Panel("Share that is busy", "percentunit", (Query(f"{GPU_BUSY} / {GPU_ONLINE}", "{{region}}"),), most=1),
)

REDIS: Final = (
    Panel("Connected", "none", (Query("gateway_redis_up{FLEET}", "{{instance}}"),), most=1, width=12),
    Panel(
        "Latency",
        "s",
        (Query("gateway_redis_latency_seconds{FLEET}", "{{instance}}"),),
        "The line is the time after which a call is given up.",
        lines=(("red", 0.035),),
        width=12,
    ),
)

PROCESSES: Final = (
    Panel(
        "Event loop late",
        "s",
        (
            Query(quantile(0.5, "gateway_loop_lag_seconds", "instance"), "{{instance}} p50"),
            Query(quantile(0.99, "gateway_loop_lag_seconds", "instance"), "{{instance}} p99"),
        ),
        lines=(("red", 0.05),),
    ),
    Panel(
        "Memory of a worker process",
        "bytes",
        (Query("gateway_memory_bytes{FLEET} / gateway_processes{FLEET}", "{{instance}}"),),
        "On average. The line is the budget at 1,000 concurrent requests: 120 MB.",
        lines=(("red", 120e6),),
    ),
    Panel(
        "CPU",
        "percentunit",
        (
            Query(
                f"{rate('gateway_cpu_seconds_total', 'instance')} / sum by (instance) (gateway_processes{{FLEET}})",
                "{{instance}}",
            ),
        ),
        "Of one core, by each worker process on average.",
    ),
    Panel("Worker processes", "none", (Query("gateway_processes{FLEET}", "{{instance}}"),), width=12),
    Panel(
        "CPU for a request",
        "s",
        (Query(f"{total('gateway_cpu_seconds_total')} / {total('gateway_requests_total')}", "CPU"),),
        width=12,
    ),
)

DROPS: Final = (
    Panel(
        "Lost",
        "ops",
        (
            Query(total("gateway_log_lines_dropped_total"), "log lines"),
            Query(total("gateway_spans_dropped_total"), "spans"),
            Query(total("gateway_series_dropped_total"), "counts without a series of their own"),
        ),
    ),
    Panel("Spans exported", "ops", (Query(rate("gateway_spans_exported_total", "instance"), "{{instance}}"),)),
    Panel("Failures of plugins", "ops", (Query(rate("gateway_plugin_errors_total", "plugin"), "{{plugin}}"),)),
)

ROWS: Final = {
    "Traffic": TRAFFIC,
    "Latency": LATENCY,
    "The gateway's own overhead": OVERHEAD,
    "Cache": CACHE,
    "Limits and authentication": LIMITS,
    "Backends": BACKENDS,
    "GPU workers": GPU,
    "Redis": REDIS,
    "Processes": PROCESSES,
    "Drops": DROPS,
}


def target(query: Query, ref: str) -> dict[str, Any]:
    """A query as Grafana has it."""
    expr = query.expr.replace("FLEET", FLEET).replace("ROUTE", ROUTE)
    made = {"datasource": DATASOURCE, "expr": expr, "legendFormat": query.legend, "refId": ref, "editorMode": "code"}
    return {**made, "range": True, "exemplar": query.exemplars}


def thresholds(panel: Panel) -> dict[str, Any]:
    """The limits of a panel, as steps that begin with green."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    return {
        "mode": "absolute",
        "steps": steps + [{"color": c, "value": at} for c, at in sorted(panel.lines, key=lambda p: p[1])],
    }


def defaults(panel: Panel) -> dict[str, Any]:
    """How a panel draws its lines."""
    made: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": thresholds(panel)}
    if panel.most is not None:
        made["max"] = panel.most
    if panel.stat:
        return made
    drawn = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    limits = {"mode": "dashed" if panel.lines else "off"}
    return {**made, "custom": {**drawn, "stacking": stacking, "thresholdsStyle": limits}}


def options(panel: Panel) -> dict[str, Any]:
    """A stat shows the last value, a graph its legend with the largest one."""
    if panel.stat:
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "area", "textMode": "auto"}
    legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def drawn(panel: Panel, ident: int, place: dict[str, int]) -> dict[str, Any]:
    """A panel as Grafana has it."""
    return {
        "id": ident,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults(panel), "overrides": []},
        "options": options(panel),
        "targets": [target(query, chr(ord("A") + i)) for i, query in enumerate(panel.queries)],
    }


def panels() -> list[dict[str, Any]]:
    """Headings and panels, from left to right and down."""
    made: list[dict[str, Any]] = []
    idents = count(1)
    y = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        made.append(
            {"id": next(idents), "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        x, y, height = 0, y + 1, 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            height = 4 if panel.stat else 8
            made.append(drawn(panel, next(idents), {"x": x, "y": y, "w": panel.width, "h": height}))
            x += panel.width
        y += height
    return made


def choice(name: str, query: str, label: str) -> dict[str, Any]:
    """A variable whose values are those of a label; several may be chosen, and all are at first."""
    made = {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "definition": query, "hide": 0}
    chosen = {"selected": True, "text": ["All"], "value": ["$__all"]}
    many = {"includeAll": True, "allValue": ".*", "multi": True, "current": chosen}
    return {**made, **many, "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1}


def variables() -> list[dict[str, Any]]:
    """Which Prometheus, and which part of what it knows."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}
    return [
        {**source, "current": {}, "includeAll": False, "multi": False, "refresh": 1},
        choice("job", "label_values(gateway_info, job)", "Job"),
        choice("instance", 'label_values(gateway_info{job=~"$job"}, instance)', "Gateway"),
        choice("route", 'label_values(gateway_requests_total{job=~"$job", instance=~"$instance"}, route)', "Route"),
    ]


def alerts() -> dict[str, Any]:
    """The alerts of deploy/prometheus, as marks in all graphs."""
    expr = 'ALERTS{alertname=~"Gateway.*", alertstate="firing", job=~"$job"}'
    named = {"name": "Alerts", "titleFormat": "{{alertname}}", "textFormat": "{{instance}} {{backend}} {{region}}"}
    return {
        **named,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": expr,
        "step": "60s",
    }


def dashboard() -> dict[str, Any]:
    """The whole."""
    return {
        "uid": "fastgw",
        "title": "fastgw",
        "description": "The gateway in front of the inference platform. See docs/concepts/monitoring.md.",
        "tags": ["fastgw", "gateway"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [alerts()]},
        "templating": {"list": variables()},
        "links": [],
        "panels": panels(),
    }


def page() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(page(), encoding="utf-8")
    print(f"wrote {FILE.relative_to(FILE.parents[2])}")
