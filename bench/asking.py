"""From the checked command line to answers: which questions share rounds, what stands behind the peers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.backends.static import running_static
from bench.backends.streams import running_streams
from bench.harness import chain, rounds
from bench.peers.fastgw import Fastgw, FastgwThree, FastgwTold, FastgwTraced
from bench.questions import (
    backends_cost,
    chain_cost,
    forwarding_cost,
    hit_cost,
    overhead_c1,
    redis_cost,
    streams_memory,
    telemetry_cost,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Peer
    from bench.harness.rounds import Sample
    from bench.report.answer import Answer

FORWARDING = (forwarding_cost, overhead_c1)
CHAIN = (chain_cost, hit_cost)
ITSELF: tuple[tuple[Any, tuple[Peer, ...], str], ...] = (
    (backends_cost, (Fastgw(), FastgwThree()), "200 bytes of JSON, under three addresses"),
    (telemetry_cost, (Fastgw(), FastgwTold(), FastgwTraced()), "200 bytes of JSON"),
)
"""Questions that compare fastgw with itself, in other settings: module, peers, what the backend is."""

QUESTIONS = tuple(
    module.NAME for module in (*FORWARDING, *(module for module, _, _ in ITSELF), *CHAIN, redis_cost, streams_memory)
)
Samples = dict[str, dict[str, list["Sample"]]]


@dataclass(frozen=True)
class Asked:
    """The command line, checked. peers: of the forwarding and streams questions; chain_peers: of the chain's."""

    questions: tuple[str, ...]
    peers: tuple[Peer, ...]
    chain_peers: tuple[Peer, ...]
    rounds: int
    seconds: int
    connections: int
    streams: int
    stream_seconds: int
    redis: str
    redis_clients: int
    redis_entries: int
    cores: Cores
    generator: Generator

    def wants(self, *modules: Any) -> bool:
        """Whether one of these questions is asked."""
        return any(module.NAME in self.questions for module in modules)

    @property
    def slots(self) -> int:
        """Pieces of work, for the progress bar."""
        forwarding = self.rounds * len(self.peers) if self.wants(*FORWARDING) else 0
        chained = self.rounds * len(self.chain_peers) if self.wants(*CHAIN) else 0
        streaming = len(streams_memory.PARTS) * (len(self.peers) - 1) if self.wants(streams_memory) else 0
        of_itself = sum(self.rounds * len(peers) for module, peers, _ in ITSELF if self.wants(module))
        redis_parts = len(self.redis_plan.parts) if self.wants(redis_cost) else 0
        return forwarding + of_itself + chained + streaming + redis_parts

    @property
    def redis_plan(self) -> redis_cost.Plan:
        """Of redis_cost."""
        return redis_cost.Plan(self.redis_clients, self.redis_entries, self.cores)


@dataclass
class Asking:
    """Asks all questions of `asked`. samples: of the forwarding and the chain questions, by load and peer."""

    asked: Asked
    left_out: dict[str, str]
    told: Callable[[str], None]
    answers: list[Answer] = field(default_factory=list)
    forwarding: Samples = field(default_factory=dict)
    chain: Samples = field(default_factory=dict)
    backends: list[str] = field(default_factory=list)

    def run(self) -> None:
        """In the order of QUESTIONS. Raises StartError if a backend or Redis does not start."""
        asked = self.asked
        if asked.wants(*FORWARDING):
            self._forward()
        for module, peers, backend in ITSELF:
            if asked.wants(module):
                self._itself(module, peers, backend)
        if asked.wants(*CHAIN):
            self._chained()
        if asked.wants(redis_cost):
            self.answers.append(redis_cost.answer(redis_cost.measure(asked.redis_plan, self.told)))
        if asked.wants(streams_memory):
            self._streams()

    @property
    def method(self) -> dict[str, Any]:
        """How it was measured, for the report; after `run`."""
        asked = self.asked
        peers = (*(asked.peers if self._asks_peers else ()), *(asked.chain_peers if asked.wants(*CHAIN) else ()))
        return {
            "rounds": asked.rounds,
            "seconds": asked.seconds,
            "connections": asked.connections,
            "redis": asked.redis,
            "cores": asked.cores.described,
            "load": asked.generator.described,
            "backend": "; ".join(self.backends) or "none",
            "peers": {peer.name: peer.version() for peer in peers if peer.name not in self.left_out},
            "left_out": self.left_out,
        }

    @property
    def _asks_peers(self) -> bool:
        return self.asked.wants(*FORWARDING, streams_memory)

    def _measured(self, plan: rounds.Plan, backend: str) -> Samples:
        with running_static(plan.cores.backend) as running:
            self.backends.append(f"{running.name} ({backend}), the same for all peers")
            outcome = rounds.measure(plan, running, self.told)
        self.left_out.update(outcome.left_out)
        return outcome.samples

    def _forward(self) -> None:
        """forwarding_cost and overhead_c1 share their rounds: a peer is started once for both."""
        asked = self.asked
        connections = {forwarding_cost: asked.connections, overhead_c1: 1}
        loads = {module.NAME: rounds.Ask(connections[module]) for module in FORWARDING if asked.wants(module)}
        plan = rounds.Plan(loads, asked.peers, asked.rounds, asked.seconds, asked.cores, asked.generator)
        self.forwarding = self._measured(plan, "200 bytes of JSON")
        self.answers += [module.answer(self.forwarding[module.NAME]) for module in FORWARDING if asked.wants(module)]

    def _itself(self, module: Any, peers: tuple[Peer, ...], backend: str) -> None:
        """Fastgw against itself."""
        asked = self.asked
        loads = {module.NAME: rounds.Ask(asked.connections)}
        plan = rounds.Plan(loads, peers, asked.rounds, asked.seconds, asked.cores, asked.generator)
        self.answers.append(module.answer(self._measured(plan, backend)[module.NAME]))

    def _chained(self) -> None:
        """So do chain_cost and hit_cost."""
        asked = self.asked
        names = tuple(dict.fromkeys(load for module in CHAIN if asked.wants(module) for load in module.LOADS))
        plan = rounds.Plan(
            chain.asked(names, asked.connections),
            asked.chain_peers,
            asked.rounds,
            asked.seconds,
            asked.cores,
            asked.generator,
            store=asked.redis,
            check=chain.check,
        )
        self.chain = self._measured(plan, "200 bytes and 5 KB of JSON")
        self.answers += [module.answer(self.chain) for module in CHAIN if asked.wants(module)]

    def _streams(self) -> None:
        asked = self.asked
        peers = tuple(peer for peer in asked.peers if peer.name != "direct" and peer.name not in self.left_out)
        plan = streams_memory.Plan(peers, asked.stream_seconds, asked.streams, asked.cores, asked.generator)
        with running_streams(asked.cores.backend) as backend:
            self.backends.append("asyncio streams on uvloop for long bodies")
            outcome = streams_memory.measure(plan, backend, self.told)
        self.left_out.update(outcome.left_out)
        self.answers.append(streams_memory.answer(outcome.figures))
