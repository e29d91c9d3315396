"""Does anything grow over a million requests?

Method: fastgw with everything on (API key, rate limit, cache, metrics, access log, trace headers), one worker, a Redis
of its own. Slices of 2 s in turn: misses, hits of 5 KB, POSTs of 4 KiB, and requests of which each has a path and a
client address of its own; until so many requests are answered. After each slice, with no request under way: resident
memory of the gateway's largest process, open files of all of them, what Redis has allocated, and the slice's p99.
Growth is the highest of the last quarter of slices less the highest of the second quarter: in the first, pools and
tables fill up.

Read it with care:
- A million requests take two minutes. What grows by the hour (a log file, a cache that is filled rarely) is not seen:
  `--soak-requests 100000000` is a night.
- The access log goes to a file that is deleted afterwards; its page cache is the kernel's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.harness import chain, proc
from bench.harness.process import PROBE_FIELDS, running_peer
from bench.harness.stats import spread
from bench.harness.store import Client, running_store
from bench.peers.fastgw import FastgwWhole
from bench.report.answer import Answer, Budget, Lines, Point, Table, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.cores import Cores
    from bench.harness.load import Generator, Request
    from bench.harness.process import Running
    from bench.harness.store import Store

NAME = "soak"
SLICE_S = 2
DONE = "requests answered"
CONNECTIONS = 64
GROWTH_LIMIT_MIB = 4.0
"""What an allocator may keep of one slice more than of another; a leak of 20 bytes a request is above it."""

MEMORY_LIMIT_MB = 120.0  # spec 11
SLOWER_LIMIT = 1.5
"""p99 at the end over p99 at the beginning, of slices of the same kind."""


@dataclass(frozen=True)
class Plan:
    """requests: to be answered, at least."""

    requests: int
    cores: Cores
    generator: Generator


@dataclass(frozen=True)
class Slice:
    """After one. requests: of this slice. files: open, of all the gateway's processes."""

    load: str
    requests: int
    errors: int
    p99_ms: float
    memory_mib: float
    files: int
    store_mib: float


def measure(plan: Plan, backend: Running, told: Callable[[str], None]) -> list[Slice]:
    """Raises StartError, LoadError."""
    slices: list[Slice] = []
    with (
        running_store(plan.cores.backend) as store,
        running_peer(FastgwWhole(), backend, plan.cores.gateway, store) as target,
    ):
        chain.check(target)
        loads = _loads(target)
        done = 0
        while done < plan.requests or len(slices) < 4 * len(loads):
            for name, request in loads.items():
                told(f"soak: {done:,} of {plan.requests:,} requests, {name}")
                load = plan.generator.run(request, CONNECTIONS, SLICE_S, plan.cores.load)
                done += load.requests
                slices.append(_slice(name, load.requests, load.errors, load.p99_ms, target, store))
        chain.check(target)
    return slices


def _loads(target: Running) -> dict[str, Request]:
    fields = tuple(PROBE_FIELDS.items())
    distinct = target.request("/api/v1/jobs", fields)
    return {
        "misses": target.request(chain.MISS_200, fields),
        "hits": target.request(chain.HIT_5K, fields),
        "posts": target.request("/api/v1/jobs", fields, 4096),
        "distinct": type(distinct)(distinct.url, distinct.fields, distinct=True),
    }


def _slice(name: str, requests: int, errors: int, p99_ms: float, target: Running, store: Store) -> Slice:
    family = proc.family(target.pid) if target.pid is not None else []
    with Client(store) as client:
        used = client.used_memory()
    return Slice(
        load=name,
        requests=requests,
        errors=errors,
        p99_ms=p99_ms,
        memory_mib=max(proc.rss_bytes([pid]) for pid in family) / 2**20,
        files=proc.open_files(family),
        store_mib=used / 2**20,
    )


def growth(slices: list[Slice], figure: str) -> float:
    """The highest of the last quarter less the highest of the second. figure: a field of Slice."""
    values, quarter = [float(getattr(one, figure)) for one in slices], len(slices) // 4
    return max(values[-quarter:]) - max(values[quarter : 2 * quarter])


def slower(slices: list[Slice], load: str) -> float:
    """The median p99 of the last quarter of the slices of this load, over that of the second quarter."""
    values = [one.p99_ms for one in slices if one.load == load]
    quarter = max(1, len(values) // 4)
    return spread(values[-quarter:]).median / spread(values[quarter : 2 * quarter]).median


def answer(slices: list[Slice]) -> Answer:
    """slices: of `measure`."""
    total, errors = sum(one.requests for one in slices), sum(one.errors for one in slices)
    names = tuple(dict.fromkeys(one.load for one in slices))
    rows = tuple(
        (
            name,
            f"{sum(one.requests for one in slices if one.load == name):,}",
            show(spread([one.p99_ms for one in slices if one.load == name]), 1),
            f"{slower(slices, name):.2f}",
            str(sum(one.errors for one in slices if one.load == name)),
        )
        for name in names
    )
    figures = {"memory, MiB": "memory_mib", "open files": "files", "Redis, MiB": "store_mib"}
    grown = tuple(
        (
            title,
            f"{getattr(slices[0], figure):,.1f}",
            f"{max(getattr(one, figure) for one in slices):,.1f}",
            f"{getattr(slices[-1], figure):,.1f}",
            f"{growth(slices, figure):+,.1f}",
        )
        for title, figure in figures.items()
    )
    peak_mb = max(one.memory_mib for one in slices) * 2**20 / 1e6
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(
            Table(f"{total:,} requests", ("load", "requests", "p99 ms", "p99, end / begin", "errors"), rows),
            Table("What stays", ("", "after the first slice", "most", "at the end", "growth"), grown),
        ),
        budgets=(
            Budget("requests that failed in the soak", errors, 0),
            Budget("memory growth over the soak, MiB", growth(slices, "memory_mib"), GROWTH_LIMIT_MIB),
            Budget("memory of the worker, at most, MB", peak_mb, MEMORY_LIMIT_MB),
            Budget("p99 at the end over the beginning", max(slower(slices, name) for name in names), SLOWER_LIMIT),
        ),
        data={"fastgw_whole": _data(slices)},
        plots=(
            Lines(
                "memory, MiB", {"worker": _course(slices, "memory_mib"), "Redis": _course(slices, "store_mib")}, DONE
            ),
            Lines("p99, ms", {name: _course(slices, "p99_ms", name) for name in names}, DONE),
        ),
    )


def _course(slices: list[Slice], figure: str, load: str = "") -> tuple[Point, ...]:
    """load: only its slices; empty: all."""
    done, points = 0, []
    for one in slices:
        done += one.requests
        if load in {"", one.load}:
            points.append(Point(done, float(getattr(one, figure))))
    return tuple(points)


def _data(slices: list[Slice]) -> dict[str, Any]:
    names = ("p99_ms", "memory_mib", "files", "store_mib")
    figures = {name: spread([float(getattr(one, name)) for one in slices]).as_json() for name in names}
    grown = {f"growth_{name}": round(growth(slices, name), 3) for name in ("memory_mib", "files", "store_mib")}
    return {**figures, **grown, "rounds": [asdict(one) for one in slices]}
