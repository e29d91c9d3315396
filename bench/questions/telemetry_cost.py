"""What do metrics, the access log and tracing cost a request?

Method: fastgw against itself. In each round, in turn, one process on one core forwards the same small answer with
everything off (`fastgw`), with metrics, a JSON line per request and unsampled tracing (`fastgw_told`), and with every
request sampled (`fastgw_traced`), the spans sent to a collector that takes them at once. Differences of the CPU per
request, in microseconds, are taken within a round; medians over rounds [lowest..highest].

Read it with care:
- The lines go to a file, as under a container's runtime; the thread that writes them and the one that sends the spans
  are in the figure, the collector is not.
- Spans that the collector does not take in time are dropped, which is cheaper than sending them; whether that happened
  is not in the figure (gateway_spans_dropped_total tells).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.harness.rounds import disturbances
from bench.harness.stats import spread
from bench.report.answer import Answer, Budget, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample
    from bench.harness.stats import Spread

NAME = "telemetry_cost"
SILENT, TOLD, TRACED = "fastgw", "fastgw_told", "fastgw_traced"
TOLD_LIMIT_US = 8.0  # issue 5
TRACED_LIMIT_US = 40.0


def answer(samples: dict[str, list[Sample]]) -> Answer:
    """samples: by peer, in the order of rounds, the same number for each."""
    added = {peer: _added(samples, peer) for peer in (TOLD, TRACED) if peer in samples and SILENT in samples}
    rows = [
        (
            peer,
            show(spread([sample.per_second for sample in taken]), 0),
            show(spread([sample.p99_ms for sample in taken]), 2),
            show(spread([sample.cpu_us for sample in taken]), 1),
            show(added.get(peer), 1),
            str(sum(sample.errors for sample in taken)),
        )
        for peer, taken in samples.items()
    ]
    columns = ("", "requests/s", "p99 ms", "CPU us/request", "added us", "errors")
    limits = {TOLD: TOLD_LIMIT_US, TRACED: TRACED_LIMIT_US}
    promises = {
        TOLD: "CPU that metrics, access log and unsampled tracing add, us per request",
        TRACED: "CPU that they add with every request sampled, us per request",
    }
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(Table("fastgw, silent and told", columns, tuple(rows), disturbances(samples)),),
        budgets=tuple(
            Budget(promises[peer], figure.median, limits[peer], spread=figure) for peer, figure in added.items()
        ),
        data={peer: _data(taken, added.get(peer)) for peer, taken in samples.items()},
    )


def _added(samples: dict[str, list[Sample]], peer: str) -> Spread:
    pairs = zip(samples[peer], samples[SILENT], strict=True)
    return spread([told.cpu_us - silent.cpu_us for told, silent in pairs])


def _data(taken: list[Sample], added: Spread | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        name: spread([float(getattr(sample, name)) for sample in taken]).as_json()
        for name in ("per_second", "p99_ms", "cpu_us")
    }
    if added is not None:
        figures["added_us"] = added.as_json()
    return {**figures, "rounds": [asdict(sample) for sample in taken]}
