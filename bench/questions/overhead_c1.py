"""How much later does an answer arrive through the gateway than directly, when nothing else is going on?

Method: as forwarding_cost, but with one connection: the next request is sent when the last is answered. Overhead is the
peer's p50 (p99) minus direct's p50 (p99) of the same round; medians over rounds [lowest..highest].

Read it with care:
- At one connection every hop wakes a sleeping process. Direct's two processes may share a core, a gateway's hops cross
  cores; on a virtual machine waking an idle core costs tens of microseconds. That is in every peer's overhead alike.
- p99 minus p99 is no percentile of anything; it is what spec 11 limits, and shows pauses (collection, timers).
- CPU per request is higher than under load, as nothing is batched; it is no figure for capacity.
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

NAME = "overhead_c1"
SUBJECT = "fastgw"
P50_LIMIT_MS = 0.35  # issue 2; spec 11 allows 0.5
P99_LIMIT_MS = 1.0  # spec 11


def answer(samples: dict[str, list[Sample]]) -> Answer:
    """samples: by peer, in the order of rounds, the same number for each; without direct there is no overhead."""
    overheads = {peer: _overhead(samples, peer) for peer in samples if peer != "direct" and "direct" in samples}
    rows = []
    for peer, taken in samples.items():
        p50, p99 = overheads.get(peer, (None, None))
        cpu = spread([sample.cpu_us for sample in taken]) if peer != "direct" else None
        seen = (spread([sample.p50_ms for sample in taken]), spread([sample.p99_ms for sample in taken]))
        errors = str(sum(sample.errors for sample in taken))
        rows.append((peer, show(seen[0], 3), show(seen[1], 3), show(p50, 3), show(p99, 3), show(cpu, 1), errors))
    columns = ("", "p50 ms", "p99 ms", "overhead p50 ms", "overhead p99 ms", "CPU us/request", "errors")
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(Table("One connection", columns, tuple(rows), disturbances(samples)),),
        budgets=_budgets(overheads.get(SUBJECT)),
        data={peer: _data(taken, overheads.get(peer)) for peer, taken in samples.items()},
    )


def _overhead(samples: dict[str, list[Sample]], peer: str) -> tuple[Spread, Spread]:
    pairs = list(zip(samples[peer], samples["direct"], strict=True))
    return (
        spread([through.p50_ms - direct.p50_ms for through, direct in pairs]),
        spread([through.p99_ms - direct.p99_ms for through, direct in pairs]),
    )


def _budgets(overhead: tuple[Spread, Spread] | None) -> tuple[Budget, ...]:
    if overhead is None:
        return ()
    return (
        Budget("overhead at one connection, p50 in ms", overhead[0].median, P50_LIMIT_MS, spread=overhead[0]),
        Budget("overhead at one connection, p99 in ms", overhead[1].median, P99_LIMIT_MS, spread=overhead[1]),
    )


def _data(taken: list[Sample], overhead: tuple[Spread, Spread] | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        name: spread([float(getattr(sample, name)) for sample in taken]).as_json()
        for name in ("p50_ms", "p99_ms", "cpu_us")
    }
    if overhead is not None:
        figures["overhead_p50_ms"], figures["overhead_p99_ms"] = overhead[0].as_json(), overhead[1].as_json()
    return {**figures, "rounds": [asdict(sample) for sample in taken]}
