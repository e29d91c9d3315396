"""Rounds: in each, every peer in turn is started fresh, warmed, measured under each load, and stopped.

Rounds interleave the peers, so that what changes slowly (other tenants, temperature) hits all alike, and ratios are
taken within a round. Starting afresh puts the differences between processes (memory layout, hash seeds) into the
spread. The order is rotated from round to round.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.harness import proc
from bench.harness.load import LoadError
from bench.harness.process import PROBE_PATH, Running, StartError, running_peer
from bench.harness.store import Store, running_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.harness.cores import Cores
    from bench.harness.load import Fields, Generator
    from bench.harness.process import Peer

WARM_UP_S = 1
WARM_CONNECTIONS = 64  # at most: what a thousand do to memory is to be seen when a thousand are measured
DISTURBED = 0.1


@dataclass(frozen=True)
class Sample:
    """One peer, one load, one round. cpu_us: per request, all processes of the gateway; 0 for direct."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    core_busy: float  # share of the gateway's core that the gateway used, 0 to 1
    core_lost: float  # share of it that others took meanwhile: above DISTURBED the sample says little
    store_us: float = 0.0  # CPU of Redis per request; 0 where there is none
    store_calls: float = 0.0  # script calls that Redis got per request
    backend_us: float = 0.0  # CPU of the backend per request
    peak_mib: float = 0.0  # the most that the gateway's largest process had resident until now

    @property
    def good_per_second(self) -> float:
        """Answers that are no errors."""
        return self.per_second * (1 - self.errors / self.requests)


@dataclass(frozen=True)
class Ask:
    """What the load generator sends, over how many kept-alive connections."""

    connections: int
    path: str = PROBE_PATH
    fields: Fields = ()
    body_bytes: int = 0


def _anything_goes(_target: Running) -> None:
    """Every peer that answers is as it should be."""


@dataclass(frozen=True)
class Plan:
    """What is asked, of whom, how often.

    loads: by the name under which their samples are kept, in the order in which they are sent.
    store: how the peers reach the Valkey that each slot gets fresh (harness.store.WAYS); empty: there is none.
    check: raises StartError unless the peer does what is to be measured; called before and after the loads.
    """

    loads: dict[str, Ask]
    peers: tuple[Peer, ...]
    rounds: int
    seconds: int
    cores: Cores
    generator: Generator
    store: str = ""
    check: Callable[[Running], None] = _anything_goes


@dataclass
class Outcome:
    """samples[load][peer]: one Sample per round, in order. left_out[peer]: why it is not among them."""

    samples: dict[str, dict[str, list[Sample]]]
    left_out: dict[str, str]


def disturbances(samples: dict[str, list[Sample]]) -> tuple[str, ...]:
    """A line for people for each sample during which others used too much of the gateway's core."""
    return tuple(
        f"round {number}, {peer}: others took {sample.core_lost:.0%} of the gateway's core; do not trust this sample"
        for peer, taken in samples.items()
        for number, sample in enumerate(taken, 1)
        if sample.core_lost > DISTURBED and peer != "direct"
    )


def measure(plan: Plan, backend: Running, told: Callable[[str], None]) -> Outcome:
    """told: called with a line for people before each slot. A peer that fails once is left out of the whole result."""
    samples: dict[str, dict[str, list[Sample]]] = {load: {peer.name: [] for peer in plan.peers} for load in plan.loads}
    left_out: dict[str, str] = {}
    for round_number in range(plan.rounds):
        for peer in _rotated(plan.peers, round_number):
            if peer.name in left_out:
                told(f"{peer.name} is left out")
                continue
            told(f"round {round_number + 1} of {plan.rounds}: {peer.name}")
            try:
                for load, sample in _slot(plan, peer, backend).items():
                    samples[load][peer.name].append(sample)
            except (StartError, LoadError) as error:
                left_out[peer.name] = str(error)
                for by_peer in samples.values():
                    by_peer.pop(peer.name, None)
    return Outcome(samples, left_out)


def _rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    at = by % len(peers)
    return [*peers[at:], *peers[:at]]


def _slot(plan: Plan, peer: Peer, backend: Running) -> dict[str, Sample]:
    with ExitStack() as stack:
        store = stack.enter_context(running_store(plan.cores.backend, plan.store)) if plan.store else None
        target = stack.enter_context(running_peer(peer, backend, plan.cores.gateway, store))
        plan.check(target)
        widest = max(plan.loads.values(), key=lambda ask: ask.connections)
        connections = min(widest.connections, WARM_CONNECTIONS)
        plan.generator.run(target.request(widest.path, widest.fields), connections, WARM_UP_S, plan.cores.load)
        samples = {load: _sample(plan, target, backend, ask, store) for load, ask in plan.loads.items()}
        plan.check(target)
        return samples


def _sample(plan: Plan, target: Running, backend: Running, ask: Ask, store: Store | None) -> Sample:
    core, request = plan.cores.gateway, target.request(ask.path, ask.fields, ask.body_bytes)
    calls_before, store_before = (store.script_calls(), store.process.cpu_ns()) if store else (0, 0)
    backend_before = backend.cpu_ns()
    cpu_before, core_before, begin = target.cpu_ns(), proc.core_busy_ns(core), time.perf_counter()
    load = plan.generator.run(request, ask.connections, plan.seconds, plan.cores.load)
    elapsed = time.perf_counter() - begin
    cpu_ns = target.cpu_ns() - cpu_before
    others_ns = max(0, proc.core_busy_ns(core) - core_before - cpu_ns)
    return Sample(
        requests=load.requests,
        per_second=load.per_second,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        errors=load.errors,
        cpu_us=cpu_ns / 1e3 / load.requests,
        core_busy=cpu_ns / 1e9 / elapsed,
        core_lost=others_ns / 1e9 / elapsed,
        store_us=(store.process.cpu_ns() - store_before) / 1e3 / load.requests if store else 0.0,
        store_calls=(store.script_calls() - calls_before) / load.requests if store else 0.0,
        backend_us=(backend.cpu_ns() - backend_before) / 1e3 / load.requests,
        peak_mib=target.peak_bytes() / 2**20,
    )
