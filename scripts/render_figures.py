"""Write measured figures into tuning.md and README.md, from bench/results/kept/figures.json.

A page holds markers: `<!--knob:NAME-->...<!--/-->` (what a knob of `bench tuning` turns), and a table between
`<!--table:NAME-->` and `<!--/table-->`. What stands between is replaced, so that no figure is typed by hand.
`python scripts/render_figures.py [--check]`: with --check nothing is written, and status 1 says that a page is old.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from bench.report.kept import load  # noqa: E402 - the repository has to be on the path before

PAGES = ("tuning.md", "README.md", "README.zh-CN.md", "bench/README.md")
RESULTS = REPOSITORY / "bench" / "results"
NOT_KEPT = "not measured yet"
HEADROOM = 0.7
"""Share of a core that is planned for: spec 11 promises the latencies up to there."""


class Kept:
    """The kept figures. `of` follows names; a figure is {"median", "low", "high"}."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self._kept = kept

    def of(self, question: str, *names: str) -> Any:
        """None where there is none."""
        found: Any = self._kept.get(question, {}).get("data")
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def median(self, question: str, *names: str) -> float | None:
        """Of a figure."""
        value = self.of(question, *names, "median")
        return None if value is None else float(value)

    def budgets(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Question, how often it was asked, and each of its budgets."""
        return [
            (question, f"{run['method']['rounds']} x {run['method']['seconds']} s", budget)
            for question, run in self._kept.items()
            for budget in run["budgets"]
        ]

    def when(self, question: str) -> str:
        """Machine, commit and time of the run."""
        run = self._kept.get(question)
        if run is None:
            return NOT_KEPT
        where = run["environment"]
        return f"{where['cpu']}, {where['cores']} cores, commit {where['commit']}, {where['time'][:10]}"


def number(value: float | None, digits: int = 0) -> str:
    """For people."""
    return "-" if value is None else f"{value:,.{digits}f}"


def spread(figure: dict[str, float] | None, digits: int) -> str:
    """Median, and the extremes where they differ in print."""
    if figure is None:
        return "-"
    middle, low, high = (number(figure[name], digits) for name in ("median", "low", "high"))
    return middle if middle == low == high else f"{middle} [{low}..{high}]"


def knob(kept: Kept, name: str) -> str:
    """One line of `bench tuning`."""
    found = kept.of("tuning", name)
    if not found or "failed" in found:
        return NOT_KEPT
    before, after = found["before"]["median"], found["after"]["median"]
    digits = 0 if min(before, after) >= 100 else 1
    return f"{found['figure']}: {number(before, digits)} -> {number(after, digits)}, ratio {spread(found['ratio'], 2)}"


def comparison(kept: Kept) -> list[str]:
    """README's table of alternatives."""
    rows = (
        ("fastgw, forwarding", "forwarding_cost", "fastgw", "fastgw"),
        ("nginx, forwarding", "forwarding_cost", "nginx", "nginx"),
        ("Envoy, forwarding", "forwarding_cost", "envoy", "envoy"),
        ("a proxy of httpx on granian", "forwarding_cost", "httpx_naive", "httpx_naive"),
        ("fastgw, API key + rate limit + cache lookup", "chain_cost", "fastgw_chain", "fastgw_whole"),
        ("nginx, the same in Lua", "chain_cost", "nginx_lua", "nginx_lua"),
    )
    columns = ("CPU, us/request", "requests/s, one core", "adds at one connection, p50 ms", "p99 at 70 % load, ms")
    lines = [f"| | {' | '.join(columns)} | KiB per event stream |", "|---|---|---|---|---|---|"]
    for title, question, peer, loaded in rows:
        alone = kept.of("overhead_c1", peer, "overhead_p50_ms") if question == "forwarding_cost" else None
        cells = (
            spread(kept.of(question, peer, "cpu_us"), 0),
            number(kept.median(question, peer, "per_second")),
            spread(alone, 2),
            spread(kept.of("latency_open_loop", loaded, "70%", "p99_ms"), 1),
            number(kept.of("streams_memory", peer, "events", "kib_each"), 0),
        )
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines.append("")
    lines.append(f"({kept.when('forwarding_cost')})")
    return lines


def capacity(kept: Kept) -> list[str]:
    """tuning.md's table: what a core, a GiB and a Redis carry, at HEADROOM of what was measured."""
    works = (
        ("forwarding alone", "forwarding_cost", ("fastgw",)),
        ("API key, rate limit, cache miss", "chain_cost", ("fastgw_chain",)),
        ("cache hit, 5 KB", "hit_cost", ("fastgw_chain", "hit_5k")),
        ("all of it, and metrics, log, trace headers", "latency_open_loop", ("fastgw_whole", "70%")),
    )
    lines = ["| what it does | CPU, us/request | requests/s for one core at 70 % |", "|---|---|---|"]
    for title, question, names in works:
        if question == "latency_open_loop":
            carried = kept.median(question, *names, "capacity")
            used = None if carried is None else 1e6 / carried
        else:
            used = kept.median(question, *names, "cpu_us")
        lines.append(f"| {title} | {number(used)} | {number(used and 1e6 / used * HEADROOM)} |")
    lines += ["", "| what it holds | |", "|---|---|"]
    store_us = kept.median("chain_cost", "fastgw_chain", "store_us")
    idle = kept.median("connections_cost", "fastgw_unprotected", "1 connections", "peak_mib")
    busy = kept.median("connections_cost", "fastgw_unprotected", "1000 connections", "peak_mib")
    each = kept.of("streams_many", "fastgw", "heard", "kib_each")
    holds = (
        ("a worker process that has little to do", f"{number(idle)} MiB"),
        ("a worker with 1,000 requests under way", f"{number(busy)} MiB"),
        ("an open event stream or WebSocket", f"{number(each)} KiB, two file descriptors"),
        ("Redis, CPU per request with rate limit and lookup", f"{number(store_us)} us"),
        ("one Redis at 70 % of its core", f"{number(store_us and 1e6 / store_us * HEADROOM)} requests/s"),
        (
            "Redis, memory for 1,000 clients and 1,000 cached responses of 5 KB",
            f"{number(kept.of('redis_cost', 'guide', 'mb'), 1)} MB",
        ),
    )
    lines += [f"| {title} | {value} |" for title, value in holds]
    return [*lines, "", f"({kept.when('chain_cost')})"]


def connections(kept: Kept) -> list[str]:
    """tuning.md's table of many connections."""
    lines = ["| connections | requests/s | CPU, us/request | peak MiB of the worker |", "|---|---|---|---|"]
    for number_of, figures in (kept.of("connections_cost", "fastgw_unprotected") or {}).items():
        cells = (
            number(figures[name]["median"], digits)
            for name, digits in (("per_second", 0), ("cpu_us", 1), ("peak_mib", 0))
        )
        lines.append(f"| {int(number_of.partition(' ')[0]):,} | {' | '.join(cells)} |")
    return [*lines, "", f"({kept.when('connections_cost')})"]


def scale(kept: Kept) -> list[str]:
    """tuning.md's table of worker processes."""
    lines = ["| workers | requests/s | of one worker's | CPU, us/request |", "|---|---|---|---|"]
    for workers, figures in (kept.of("scale_processes") or {}).items():
        cells = (number(figures["per_second"]["median"]), spread(figures["of_one"], 2), spread(figures["cpu_us"], 1))
        lines.append(f"| {workers} | {' | '.join(cells)} |")
    return [*lines, "", f"({kept.when('scale_processes')})"]


def latency(kept: Kept) -> list[str]:
    """README's table of latencies in an open loop."""
    lines = [
        "| everything on, of what one core carries | requests/s | p50 ms | p99 ms | p99.9 ms |",
        "|---|---|---|---|---|",
    ]
    for share, figures in (kept.of("latency_open_loop", "fastgw_whole") or {}).items():
        cells = (
            spread(figures[name], digits)
            for name, digits in (("per_second", 0), ("p50_ms", 2), ("p99_ms", 1), ("p999_ms", 1))
        )
        lines.append(f"| {share} | {' | '.join(cells)} |")
    return [*lines, "", f"({kept.when('latency_open_loop')})"]


def verdict(kept: Kept) -> list[str]:
    """The bench's table of budgets."""
    lines = ["| budget | measured | limit | verdict | question, rounds |", "|---|---|---|---|---|"]
    for question, asked, budget in kept.budgets():
        measured = spread(budget["spread"], 2) if budget["spread"] else number(budget["value"], 2)
        sign = "at most" if budget["at_most"] else "at least"
        promise = f"{budget['promise']} | {measured} | {sign} {budget['limit']:,g} | {budget['verdict']}"
        lines.append(f"| {promise} | {question}, {asked} |")
    return lines


TABLES: dict[str, Callable[[Kept], list[str]]] = {
    "comparison": comparison,
    "verdict": verdict,
    "capacity": capacity,
    "connections": connections,
    "scale": scale,
    "latency": latency,
}


def rendered(text: str, kept: Kept) -> str:
    """The page with the figures of today. Raises KeyError for a table that nobody makes."""
    text = re.sub(r"<!--knob:(.+?)-->.*?<!--/-->", lambda m: f"<!--knob:{m[1]}-->{knob(kept, m[1])}<!--/-->", text)

    def table(match: re.Match[str]) -> str:
        return "\n".join([f"<!--table:{match[1]}-->", *TABLES[match[1]](kept), "<!--/table-->"])

    return re.sub(r"<!--table:(\w+)-->.*?<!--/table-->", table, text, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    """See the module."""
    kept, stale = Kept(load(RESULTS)), []
    for name in PAGES:
        page = REPOSITORY / name
        text = page.read_text()
        if (fresh := rendered(text, kept)) != text:
            stale.append(name)
            if "--check" not in arguments:
                page.write_text(fresh)
                print(f"written: {name}")
    if stale and "--check" in arguments:
        print(f"not current: {', '.join(stale)}; run: make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
