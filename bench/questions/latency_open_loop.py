"""How long do clients wait that come when they like, at 10, 50, 70 and 90 % of what a gateway can carry?

Method: each peer is started fresh in each round, warmed, and its capacity measured in a closed loop (64 connections).
Then GETs of a 200-byte answer are due at exponential intervals (a Poisson process), at each share of that capacity,
over 256 kept-alive connections that have had a request each; latency is counted from when a request was due, so that a
gateway that stops is charged with all that would have come meanwhile (no coordinated omission). Right after each, the
backend is asked directly at the same rate and the same times: the overhead is the difference of the same percentile of
the two.
`fastgw` and `envoy`, `nginx` forward; `fastgw_whole` and `nginx_lua` have the full chain over the same Redis
(fastgw_whole with metrics, access log and trace headers too). Medians over rounds [lowest..highest].

Read it with care:
- Client, backend and Redis share a core on a machine with two: at high rates their waiting for each other is in the
  figure, and Redis's is in that of the chain only. "late" is how late the client itself sent (p99): where it nears the
  latency, the latency is the client's.
- The client sends 20,000 a second at most. A peer that carries more is asked up to there; its shares then say so.
- A closed loop lets requests gather, and what gathers is done together, which is cheaper: 90 % of that capacity may be
  more than all of what can be carried of requests that come singly.
- Samples during which others took more than a tenth of the gateway's core are named, and left out where there are
  better ones: a tail is the first to tell of neighbours.
- A request that comes alone costs three to five times the CPU of one among many: the core is woken, its caches are
  cold. At 70 % of the closed loop's capacity it may be busy for 90 % of the time.
- p99 of one minus p99 of the other is no percentile of anything; it is what spec 11 limits.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.harness import open_loop, proc
from bench.harness.load import LoadError
from bench.harness.open_loop import MOST_PER_S, Seen
from bench.harness.process import PROBE_FIELDS, PROBE_PATH, StartError, running_peer
from bench.harness.rounds import DISTURBED
from bench.harness.stats import spread
from bench.harness.store import running_store
from bench.report.answer import Answer, Budget, Lines, Point, Table, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Peer, Running
    from bench.harness.stats import Spread

NAME = "latency_open_loop"
SUBJECT = "fastgw_whole"
SHARES = (0.1, 0.5, 0.7, 0.9)
LIMITED_SHARE, P99_LIMIT_MS = 0.7, 5.0  # spec 11
CONNECTIONS, CAPACITY_CONNECTIONS, CAPACITY_S = 256, 64, 2
FIELDS = tuple(PROBE_FIELDS.items())


@dataclass(frozen=True)
class Plan:
    """seconds: for each share, and again for the backend alone. redis: harness.store.WAYS."""

    peers: tuple[Peer, ...]
    rounds: int
    seconds: int
    redis: str
    cores: Cores
    generator: Generator


@dataclass(frozen=True)
class Pair:
    """One share in one round. per_second: what was asked for, of `capacity`. core_lost: as in rounds.Sample."""

    capacity: float
    per_second: float
    through: Seen
    direct: Seen
    core_lost: float

    def overhead_ms(self, figure: str) -> float:
        """figure: a field of Seen."""
        value: float = getattr(self.through, figure) - getattr(self.direct, figure)
        return value


@dataclass
class Outcome:
    """pairs[peer][share]: one Pair per round. left_out[peer]: why it is not among them."""

    pairs: dict[str, dict[float, list[Pair]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def measure(plan: Plan, backend: Running, told: Callable[[str], None]) -> Outcome:
    """told: called with a line for people before each slot."""
    outcome = Outcome({peer.name: {share: [] for share in SHARES} for peer in plan.peers})
    for number in range(plan.rounds):
        for peer in (*plan.peers[number % len(plan.peers) :], *plan.peers[: number % len(plan.peers)]):
            told(f"latency_open_loop, round {number + 1} of {plan.rounds}: {peer.name}")
            if peer.name in outcome.left_out:
                continue
            try:
                for share, pair in _slot(plan, peer, backend, seed=number).items():
                    outcome.pairs[peer.name][share].append(pair)
            except (StartError, LoadError) as error:
                outcome.left_out[peer.name] = str(error)
                del outcome.pairs[peer.name]
    return outcome


def _slot(plan: Plan, peer: Peer, backend: Running, seed: int) -> dict[float, Pair]:
    pairs = {}
    with ExitStack() as stack:
        store = stack.enter_context(running_store(plan.cores.backend, plan.redis))
        target = stack.enter_context(running_peer(peer, backend, plan.cores.gateway, store))
        request = target.request(PROBE_PATH, FIELDS)
        plan.generator.run(request, CAPACITY_CONNECTIONS, 1, plan.cores.load)
        capacity = plan.generator.run(request, CAPACITY_CONNECTIONS, CAPACITY_S, plan.cores.load).per_second
        for share in SHARES:
            rate = share * min(capacity, MOST_PER_S / max(SHARES))
            asked = open_loop.Plan(target.port, PROBE_PATH, FIELDS, rate, plan.seconds, CONNECTIONS, seed)
            cpu, busy, begin = target.cpu_ns(), proc.core_busy_ns(plan.cores.gateway), time.perf_counter()
            through = open_loop.run(asked, plan.cores.load)
            elapsed_ns = (time.perf_counter() - begin) * 1e9
            others_ns = proc.core_busy_ns(plan.cores.gateway) - busy - (target.cpu_ns() - cpu)
            direct = open_loop.run(replace(asked, port=backend.port), plan.cores.load)
            pairs[share] = Pair(capacity, rate, through, direct, max(0.0, others_ns / elapsed_ns))
    return pairs


def _undisturbed(pairs: list[Pair]) -> list[Pair]:
    """Those during which others left the gateway's core alone; all, if there is none."""
    return [pair for pair in pairs if pair.core_lost <= DISTURBED] or pairs


def answer(outcome: Outcome) -> Answer:
    """outcome: of `measure`."""
    measured = outcome.pairs
    outcome = Outcome(
        {
            peer: {share: _undisturbed(pairs) for share, pairs in by_share.items()}
            for peer, by_share in measured.items()
        },
        outcome.left_out,
    )
    rows = tuple(
        (f"{peer}, {share:.0%}", *_cells(pairs))
        for peer, by_share in outcome.pairs.items()
        for share, pairs in by_share.items()
    )
    columns = (
        "of capacity",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "direct p99",
        "overhead p99",
        "late",
        "errors",
    )
    notes = tuple(
        f"{peer} carries {by_share[SHARES[0]][0].capacity:,.0f} a second; the shares are of what the client can send"
        for peer, by_share in outcome.pairs.items()
        if max(pair.capacity for pair in by_share[SHARES[0]]) > MOST_PER_S / max(SHARES)
    )
    disturbed = tuple(
        f"round {number}, {peer} at {share:.0%}: others took {pair.core_lost:.0%} of the gateway's core"
        for peer, by_share in measured.items()
        for share, pairs in by_share.items()
        for number, pair in enumerate(pairs, 1)
        if pair.core_lost > DISTURBED
    )
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(Table("Latency when requests come by themselves", columns, rows, notes + disturbed),),
        budgets=_budgets(outcome.pairs.get(SUBJECT)),
        data={
            peer: {f"{share:.0%}": _data(pairs) for share, pairs in by_share.items()}
            for peer, by_share in outcome.pairs.items()
        },
        plots=tuple(
            Lines(
                f"{percentile} when requests come by themselves",
                {
                    peer: tuple(Point.of(100 * share, _of(pairs, figure)) for share, pairs in by_share.items())
                    for peer, by_share in outcome.pairs.items()
                },
                x_label="share of what each carries, %",
                y_label="ms",
                y_log=True,
            )
            for percentile, figure in (("p50", "p50_ms"), ("p99", "p99_ms"))
        ),
    )


def _of(pairs: list[Pair], figure: str) -> Spread:
    return spread([getattr(pair.through, figure) for pair in pairs])


def _cells(pairs: list[Pair]) -> tuple[str, ...]:
    return (
        show(spread([pair.per_second for pair in pairs]), 0),
        *(show(_of(pairs, figure), 2) for figure in ("p50_ms", "p99_ms", "p999_ms")),
        show(spread([pair.direct.p99_ms for pair in pairs]), 2),
        show(spread([pair.overhead_ms("p99_ms") for pair in pairs]), 2),
        show(_of(pairs, "late_ms"), 2),
        str(sum(pair.through.errors for pair in pairs)),
    )


def _budgets(by_share: dict[float, list[Pair]] | None) -> tuple[Budget, ...]:
    if by_share is None:
        return ()
    over = spread([pair.overhead_ms("p99_ms") for pair in by_share[LIMITED_SHARE]])
    promise = f"overhead at {LIMITED_SHARE:.0%} of capacity, everything on, p99 in ms"
    return (Budget(promise, over.median, P99_LIMIT_MS, spread=over),)


def _data(pairs: list[Pair]) -> dict[str, Any]:
    figures = {figure: _of(pairs, figure).as_json() for figure in ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "late_ms")}
    overheads = {
        f"overhead_{figure}": spread([pair.overhead_ms(figure) for pair in pairs]).as_json()
        for figure in ("p50_ms", "p99_ms")
    }
    rates = {
        figure: spread([getattr(pair, figure) for pair in pairs]).as_json() for figure in ("capacity", "per_second")
    }
    return {**rates, **figures, **overheads, "rounds": [asdict(pair) for pair in pairs]}
