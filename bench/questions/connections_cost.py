"""What do many connections cost, from 1 to 10,000?

Method: as forwarding_cost, with 1, 10, 100, 1,000 and 10,000 kept-alive connections in turn, each with a request under
way all the time (closed loop). After each, the most that the gateway's largest process had resident until then. The
overload protection is off in this question: it would refuse much of what 10,000 clients at once ask of one core, and
refusals are cheap. Medians over rounds [lowest..highest].

Read it with care:
- In a closed loop latency is connections divided by throughput: at 10,000 it says how long the queue is, that is all.
- At one connection nothing is batched and every hop wakes a process: its CPU per request is the highest.
- Where the limit of open files is too low for 10,000 connections on both sides, fewer are measured.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.harness.rounds import disturbances
from bench.harness.stats import spread
from bench.report.answer import Answer, Budget, Lines, Point, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample

NAME = "connections_cost"
SUBJECT = "fastgw_unprotected"
CONNECTIONS = (1, 10, 100, 1_000, 10_000)
LIMITED_AT, LIMIT_MB = 1_000, 120.0  # spec 11


def load_name(connections: int) -> str:
    """The name of its load."""
    return f"{connections} connections"


def answer(samples: dict[str, dict[str, list[Sample]]]) -> Answer:
    """samples: by load, then by peer."""
    rows: list[tuple[str, ...]] = []
    data: dict[str, dict[str, Any]] = {}
    for load, by_peer in samples.items():
        for peer, taken in by_peer.items():
            cells = (
                show(_of(taken, "per_second"), 0),
                show(_of(taken, "p50_ms"), 2),
                show(_of(taken, "p99_ms"), 2),
                show(_of(taken, "cpu_us"), 1) if peer != "direct" else "-",
                show(_of(taken, "peak_mib"), 0) if peer != "direct" else "-",
                str(sum(sample.errors for sample in taken)),
            )
            rows.append((f"{peer}, {load.partition(' ')[0]}", *cells))
            data.setdefault(peer, {})[load] = _data(taken)
    columns = ("connections", "requests/s", "p50 ms", "p99 ms", "CPU us/request", "peak MiB", "errors")
    notes = tuple(note for load, by_peer in samples.items() for note in disturbances(by_peer))
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(Table("Many connections", columns, tuple(rows), notes),),
        budgets=_budgets(samples.get(load_name(LIMITED_AT), {}).get(SUBJECT)),
        data=data,
        plots=tuple(
            Lines(
                title,
                {
                    peer: tuple(
                        Point.of(int(load.partition(" ")[0]), _of(by_peer[peer], figure))
                        for load, by_peer in samples.items()
                        if peer in by_peer
                    )
                    for peer in data
                    if peer != "direct"
                },
                x_label="connections",
                x_log=True,
                y_log=True,
            )
            for title, figure in (("CPU per request, us", "cpu_us"), ("most memory of a process, MiB", "peak_mib"))
        ),
    )


def _of(taken: list[Sample], figure: str) -> Any:
    return spread([float(getattr(sample, figure)) for sample in taken])


def _budgets(taken: list[Sample] | None) -> tuple[Budget, ...]:
    if not taken:
        return ()
    peak_mb = spread([sample.peak_mib * 2**20 / 1e6 for sample in taken])
    promise = f"memory of a worker with {LIMITED_AT:,} requests under way, MB"
    return (Budget(promise, peak_mb.median, LIMIT_MB, spread=peak_mb),)


def _data(taken: list[Sample]) -> dict[str, Any]:
    figures = {name: _of(taken, name).as_json() for name in ("per_second", "p50_ms", "p99_ms", "cpu_us", "peak_mib")}
    return {**figures, "rounds": [asdict(sample) for sample in taken]}
