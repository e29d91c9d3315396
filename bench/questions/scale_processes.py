"""What do more worker processes bring?

Method: fastgw with 1, 2, 4, ... workers, up to twice the number of cores it may use, forwards as in forwarding_cost,
64 connections for each worker. On a machine with four cores or more the gateway has all but two of them, load and
backend the others; on a smaller one it has all, and shares them with load and backend. Requests per second, CPU per
request of all the gateway's processes, and throughput as a ratio of one worker's in the same round; medians over rounds
[lowest..highest].

Read it with care:
- On two cores a second worker takes the core from load and backend: the ratio is what is left, not what a second core
  brings. "load core" is how busy the load generator's core was: near 100 % the generator or the backend is the limit.
- CPU per request says more: were it to rise with the number of workers, they would be in each other's way.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.harness import proc
from bench.harness.cores import usable
from bench.harness.process import running_peer
from bench.harness.stats import ratios, spread
from bench.peers.fastgw import Fastgw, FastgwWith
from bench.report.answer import Answer, Lines, Point, Table, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Running

NAME = "scale_processes"
CONNECTIONS_EACH = 64
FOR_OTHERS = 2
"""Cores for load and backend where there are more than that many besides."""

MOST_WORKERS = 32


@dataclass(frozen=True)
class Plan:
    """seconds: per number of workers and round."""

    rounds: int
    seconds: int
    cores: Cores
    generator: Generator

    @property
    def gateway(self) -> tuple[int, ...]:
        """The cores that the gateway may use."""
        every = usable()
        return every[:-FOR_OTHERS] if len(every) >= 2 * FOR_OTHERS else every

    @property
    def others(self) -> int:
        """The core of load and backend."""
        return usable()[-1]

    @property
    def workers(self) -> tuple[int, ...]:
        """The numbers of processes that are measured."""
        most = min(MOST_WORKERS, 2 * len(self.gateway))
        return tuple(2**power for power in range(most.bit_length()) if 2**power <= most)


@dataclass(frozen=True)
class Scaled:
    """One number of workers in one round. load_core: share of the load generator's core that was in use."""

    per_second: float
    cpu_us: float
    p99_ms: float
    load_core: float
    errors: int


def measure(plan: Plan, backend: Running, told: Callable[[str], None]) -> dict[int, list[Scaled]]:
    """By number of workers. Raises StartError, LoadError."""
    taken: dict[int, list[Scaled]] = {workers: [] for workers in plan.workers}
    for number in range(plan.rounds):
        for workers in plan.workers if number % 2 == 0 else reversed(plan.workers):
            told(f"scale_processes, round {number + 1} of {plan.rounds}: {workers} workers")
            taken[workers].append(_slot(plan, backend, workers))
    return taken


def _slot(plan: Plan, backend: Running, workers: int) -> Scaled:
    peer = FastgwWith(Fastgw(), f"fastgw_{workers}", {"GATEWAY_WORKERS": str(workers)})
    connections = CONNECTIONS_EACH * workers
    with running_peer(peer, backend, plan.gateway) as target:
        plan.generator.run(target.request(), connections, 1, plan.others)
        cpu, busy, begin = target.cpu_ns(), proc.core_busy_ns(plan.others), time.perf_counter()
        load = plan.generator.run(target.request(), connections, plan.seconds, plan.others)
        elapsed = time.perf_counter() - begin
        return Scaled(
            per_second=load.per_second,
            cpu_us=(target.cpu_ns() - cpu) / 1e3 / load.requests,
            p99_ms=load.p99_ms,
            load_core=min(1.0, (proc.core_busy_ns(plan.others) - busy) / 1e9 / elapsed),
            errors=load.errors,
        )


def answer(plan: Plan, taken: dict[int, list[Scaled]]) -> Answer:
    """taken: of `measure`."""
    one = [sample.per_second for sample in taken[1]]
    rows, data = [], {}
    for workers, samples in taken.items():
        figures = {
            name: spread([float(getattr(sample, name)) for sample in samples])
            for name in ("per_second", "cpu_us", "p99_ms", "load_core")
        }
        of_one = ratios([sample.per_second for sample in samples], one)
        rows.append(
            (
                str(workers),
                show(figures["per_second"], 0),
                show(of_one, 2),
                show(figures["cpu_us"], 1),
                show(figures["p99_ms"], 1),
                f"{figures['load_core'].median:.0%}",
                str(sum(sample.errors for sample in samples)),
            )
        )
        data[str(workers)] = _data(samples, figures, of_one)
    columns = ("workers", "requests/s", "/ one worker's", "CPU us/request", "p99 ms", "load core", "errors")
    shared = plan.others in plan.gateway
    where = f"on {len(plan.gateway)} cores" + (", shared with load and backend" if shared else "")
    plots = tuple(
        Lines(
            title,
            {
                "fastgw": tuple(
                    Point.of(workers, spread([getattr(sample, figure) for sample in samples]))
                    for workers, samples in taken.items()
                )
            },
            x_label="worker processes",
        )
        for title, figure in (("requests/s", "per_second"), ("CPU per request, us", "cpu_us"))
    )
    return Answer(NAME, __doc__ or "", (Table(f"Worker processes {where}", columns, tuple(rows)),), (), data, plots)


def _data(samples: list[Scaled], figures: dict[str, Any], of_one: Any) -> dict[str, Any]:
    shown = {name: figure.as_json() for name, figure in figures.items()}
    return {**shown, "of_one": of_one and of_one.as_json(), "rounds": [asdict(sample) for sample in samples]}
