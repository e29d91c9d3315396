"""What does forwarding one small request cost, in CPU and in throughput?

Method: GET of a 200-byte JSON answer over kept-alive connections (64 unless told otherwise), closed loop; the gateway
alone on one core, one worker; load generator and backend elsewhere. Rounds interleave the peers, each started fresh and
warmed; all have the same backend and the same connections. Figures are medians over rounds [lowest..highest]; ratios
are taken within a round, then their median. CPU is user plus system time of every process of the gateway, from /proc.

Read it with care:
- CPU per request is the figure to compare: it holds also where the load generator or the backend was the bottleneck
  ("core busy" well under 100 %: then requests/s is not the gateway's limit).
- Peers do different work: nginx and httpx_naive add one or no header field; fastgw and Envoy also make request ids,
  timings, statistics. None of them authenticates, limits, caches or logs here.
- On loopback the kernel does part of the receiver's work in the sender's time; over a network the sums differ.
  Latencies of a closed loop at full load measure the queue, not the gateway.
- The request has one header field (Host), the answer five. Each further field costs a gateway in Python more than one
  in C or C++.
- Neighbours: samples during which others used the gateway's core are named below the table; what disturbed the core of
  load and backend is not seen. Trust a ratio only if its brackets are narrow.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.harness.rounds import disturbances
from bench.harness.stats import Spread, ratios, spread
from bench.report.answer import Answer, Budget, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample

NAME = "forwarding_cost"
SUBJECT = "fastgw"
REFERENCES = ("envoy", "nginx")
CPU_LIMIT_OF_ENVOY = 1.0  # spec 11; the aim is 0.8


def answer(samples: dict[str, list[Sample]]) -> Answer:
    """samples: by peer, in the order of rounds, the same number for each."""
    compared = {peer: _ratios(samples, peer) for peer in samples if peer != "direct"}
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(_figures(samples), _comparison(compared)),
        budgets=_budgets(compared.get(SUBJECT, {})),
        data={peer: _data(taken, compared.get(peer, {})) for peer, taken in samples.items()},
    )


def _of(taken: list[Sample], figure: str) -> list[float]:
    return [float(getattr(sample, figure)) for sample in taken]


def _figures(samples: dict[str, list[Sample]]) -> Table:
    rows = []
    for peer, taken in samples.items():
        gateway = peer != "direct"
        rows.append(
            (
                peer,
                show(spread(_of(taken, "per_second")), 0),
                show(spread(_of(taken, "p50_ms")), 2),
                show(spread(_of(taken, "p99_ms")), 2),
                show(spread(_of(taken, "cpu_us")) if gateway else None, 1),
                show(spread([100 * busy for busy in _of(taken, "core_busy")]) if gateway else None, 0),
                str(sum(sample.errors for sample in taken)),
            )
        )
    columns = ("", "requests/s", "p50 ms", "p99 ms", "CPU us/request", "core busy %", "errors")
    return Table("Forwarding one small request", columns, tuple(rows), disturbances(samples))


def _ratios(samples: dict[str, list[Sample]], peer: str) -> dict[str, dict[str, Spread]]:
    """{reference: {figure: ratio of `peer` to it}}; without references that were not measured."""
    found: dict[str, dict[str, Spread]] = {}
    for reference in REFERENCES:
        if reference == peer or reference not in samples:
            continue
        by_figure = {
            figure: ratios(_of(samples[peer], figure), _of(samples[reference], figure))
            for figure in ("cpu_us", "per_second")
        }
        found[reference] = {figure: value for figure, value in by_figure.items() if value is not None}
    return found


def _comparison(compared: dict[str, dict[str, dict[str, Spread]]]) -> Table:
    shown = {"cpu_us": "CPU", "per_second": "requests/s"}
    columns = [f"{label} / {reference}'s" for reference in REFERENCES for label in shown.values()]
    rows = [
        (peer, *(show(found.get(reference, {}).get(figure), 2) for reference in REFERENCES for figure in shown))
        for peer, found in compared.items()
    ]
    return Table("Ratios within a round", ("", *columns), tuple(rows))


def _budgets(found: dict[str, dict[str, Spread]]) -> tuple[Budget, ...]:
    cpu = found.get("envoy", {}).get("cpu_us")
    if cpu is None:
        return ()
    return (Budget("CPU per request as a share of Envoy's (aim 0.8)", cpu.median, CPU_LIMIT_OF_ENVOY, spread=cpu),)


def _data(taken: list[Sample], found: dict[str, dict[str, Spread]]) -> dict[str, Any]:
    return {
        **{
            name: spread(_of(taken, name)).as_json()
            for name in ("per_second", "p50_ms", "p99_ms", "cpu_us", "core_busy")
        },
        "ratios": {
            reference: {figure: value.as_json() for figure, value in by_figure.items()}
            for reference, by_figure in found.items()
        },
        "rounds": [asdict(sample) for sample in taken],
    }
