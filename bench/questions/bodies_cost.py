"""What do bodies cost, from 1 to 64 KiB, down and up?

Method: as forwarding_cost, with GETs whose answers have a body of 1, 4, 16, 64 KiB, then POSTs that carry one and are
answered with 200 bytes. CPU per request of each peer, and as a ratio of Envoy's within the round; medians over rounds
[lowest..highest].

Read it with care:
- On loopback a copy is what a body costs; over a network card much of that is done by the card.
- The backend reads and forgets a request's body. None of the peers is allowed to keep a whole body before it sends it
  on, nginx neither (its buffering is off).
- The load generator has to read and write the bodies too: at 64 KiB it may be the limit ("core busy" below 100 %).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.harness.rounds import Ask, disturbances
from bench.harness.stats import ratios, spread
from bench.report.answer import Answer, Lines, Point, Table, show

if TYPE_CHECKING:
    from bench.harness.rounds import Sample

NAME = "bodies_cost"
REFERENCE = "envoy"
KIB = (1, 4, 16, 64)


def loads(connections: int) -> dict[str, Ask]:
    """What is sent, by name."""
    down = {f"down {kib} KiB": Ask(connections, f"/bodies/{kib}k") for kib in KIB}
    return {**down, **{f"up {kib} KiB": Ask(connections, body_bytes=kib * 1024) for kib in KIB}}


def answer(samples: dict[str, dict[str, list[Sample]]]) -> Answer:
    """samples: by load, then by peer."""
    rows: list[tuple[str, ...]] = []
    data: dict[str, dict[str, Any]] = {}
    for load, by_peer in samples.items():
        reference = [sample.cpu_us for sample in by_peer.get(REFERENCE, [])]
        for peer, taken in by_peer.items():
            if peer == "direct":
                continue
            cpu = [sample.cpu_us for sample in taken]
            ratio = ratios(cpu, reference) if peer != REFERENCE else None
            rows.append(
                (
                    f"{peer}, {load}",
                    show(spread([sample.per_second for sample in taken]), 0),
                    show(spread(cpu), 1),
                    show(ratio, 2),
                    f"{spread([sample.core_busy for sample in taken]).median:.0%}",
                    str(sum(sample.errors for sample in taken)),
                )
            )
            data.setdefault(peer, {})[load] = {
                "cpu_us": spread(cpu).as_json(),
                "of_envoy": ratio.as_json() if ratio else None,
                "rounds": [asdict(sample) for sample in taken],
            }
    columns = ("body", "requests/s", "CPU us/request", f"CPU / {REFERENCE}'s", "core busy", "errors")
    notes = tuple(note for by_peer in samples.values() for note in disturbances(by_peer))
    plots = tuple(
        Lines(
            f"CPU per request, bodies {way}, us",
            {
                peer: tuple(
                    Point.of(kib, spread([sample.cpu_us for sample in samples[f"{way} {kib} KiB"][peer]]))
                    for kib in KIB
                )
                for peer in data
            },
            x_label="KiB",
            x_log=True,
            y_log=True,
        )
        for way in ("down", "up")
    )
    return Answer(NAME, __doc__ or "", (Table("Bodies", columns, tuple(rows), notes),), (), data, plots)
