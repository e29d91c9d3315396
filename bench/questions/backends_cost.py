"""What does a request cost with three backends, compared with one?

Method: as forwarding_cost, but the peers are two gateways of ours: one knows the backend under one address, the other
under three, so three backends to it: a choice by round-robin, three pools, three records of failures. Active checks are
made in both. Each ratio is taken within a round.

Read it with care:
- The three are one server in truth, so that its cost is the same. Connections to each are a third as many.
- The difference that is asked for is a hundredth of what a shared machine does to a figure: take many rounds.
- All backends are well. While one is ejected or returns, a choice costs more.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.harness.rounds import disturbances
from bench.harness.stats import ratios, spread
from bench.report.answer import Answer, Budget, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample

NAME = "backends_cost"
ONE = "fastgw"
THREE = "fastgw_three"
CPU_LIMIT_OF_ONE = 1.05  # issue 4


def answer(samples: dict[str, list[Sample]]) -> Answer:
    """samples: by peer, in the order of rounds, the same number for each."""
    cpu = {peer: [sample.cpu_us for sample in taken] for peer, taken in samples.items()}
    ratio = ratios(cpu[THREE], cpu[ONE]) if ONE in cpu and THREE in cpu else None
    rows = [
        (
            peer,
            show(spread(cpu[peer]), 1),
            show(spread([sample.per_second for sample in taken]), 0),
            show(ratio, 3) if peer == THREE else "",
            str(sum(sample.errors for sample in taken)),
        )
        for peer, taken in samples.items()
    ]
    columns = ("", "CPU us/request", "requests/s", "CPU / one backend's", "errors")
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(Table("One backend and three", columns, tuple(rows), disturbances(samples)),),
        budgets=()
        if ratio is None
        else (
            Budget(
                "CPU per request with three backends as a share of one", ratio.median, CPU_LIMIT_OF_ONE, spread=ratio
            ),
        ),
        data={
            peer: {"cpu_us": spread(cpu[peer]).as_json(), "rounds": [asdict(sample) for sample in taken]}
            for peer, taken in samples.items()
        },
    )
