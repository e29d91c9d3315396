"""Rounds: in each, every peer in turn is started fresh, warmed, measured for each question, and stopped.

Rounds interleave the peers, so that what changes slowly (other tenants, temperature) hits all alike, and ratios are
taken within a round. Starting afresh puts the differences between processes (memory layout, hash seeds) into the
spread. The order is rotated from round to round.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.harness import proc
from bench.harness.load import LoadError
from bench.harness.process import Running, StartError, running_peer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Peer

WARM_UP_S = 1
DISTURBED = 0.1


@dataclass(frozen=True)
class Sample:
    """One peer, one question, one round. cpu_us: per request, all processes of the gateway; 0 for direct."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    core_busy: float  # share of the gateway's core that the gateway used, 0 to 1
    core_lost: float  # share of it that others took meanwhile: above DISTURBED the sample says little


@dataclass(frozen=True)
class Plan:
    """What is asked, of whom, how often. connections: question name -> kept-alive connections."""

    connections: dict[str, int]
    peers: tuple[Peer, ...]
    rounds: int
    seconds: int
    cores: Cores
    generator: Generator


@dataclass
class Outcome:
    """samples[question][peer]: one Sample per round, in order. left_out[peer]: why it is not among them."""

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
    samples: dict[str, dict[str, list[Sample]]] = {
        question: {peer.name: [] for peer in plan.peers} for question in plan.connections
    }
    left_out: dict[str, str] = {}
    for round_number in range(plan.rounds):
        for peer in _rotated(plan.peers, round_number):
            if peer.name in left_out:
                told(f"{peer.name} is left out")
                continue
            told(f"round {round_number + 1} of {plan.rounds}: {peer.name}")
            try:
                for question, sample in _slot(plan, peer, backend).items():
                    samples[question][peer.name].append(sample)
            except (StartError, LoadError) as error:
                left_out[peer.name] = str(error)
                for by_peer in samples.values():
                    by_peer.pop(peer.name, None)
    return Outcome(samples, left_out)


def _rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    at = by % len(peers)
    return [*peers[at:], *peers[:at]]


def _slot(plan: Plan, peer: Peer, backend: Running) -> dict[str, Sample]:
    with running_peer(peer, backend, plan.cores.gateway) as target:
        plan.generator.run(target.url, max(plan.connections.values()), WARM_UP_S, plan.cores.load)
        return {question: _sample(plan, target, connections) for question, connections in plan.connections.items()}


def _sample(plan: Plan, target: Running, connections: int) -> Sample:
    core = plan.cores.gateway
    cpu_before, core_before, begin = target.cpu_ns(), proc.core_busy_ns(core), time.perf_counter()
    load = plan.generator.run(target.url, connections, plan.seconds, plan.cores.load)
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
    )
