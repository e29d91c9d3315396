"""From the checked command line to answers: which questions share rounds, what stands behind the peers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.backends.static import running_static
from bench.backends.streams import running_streams
from bench.harness import chain, rounds
from bench.harness.streams import allow_files, streams_possible
from bench.peers.fastgw import Fastgw, FastgwThree, FastgwTold, FastgwTraced, FastgwWhole, FastgwWith
from bench.questions import (
    backends_cost,
    bodies_cost,
    chain_cost,
    connections_cost,
    forwarding_cost,
    hit_cost,
    latency_open_loop,
    overhead_c1,
    redis_cost,
    scale_processes,
    soak,
    streams_many,
    streams_memory,
    telemetry_cost,
    tuning,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Peer, Running
    from bench.harness.rounds import Sample
    from bench.report.answer import Answer

FORWARDING = (forwarding_cost, overhead_c1)
CHAIN = (chain_cost, hit_cost)
ITSELF: tuple[tuple[Any, tuple[Peer, ...], str], ...] = (
    (backends_cost, (Fastgw(), FastgwThree()), "200 bytes of JSON, under three addresses"),
    (telemetry_cost, (Fastgw(), FastgwTold(), FastgwTraced()), "200 bytes of JSON"),
)
"""Questions that compare fastgw with itself, in other settings: module, peers, what the backend is."""

UNPROTECTED = FastgwWith(Fastgw(), connections_cost.SUBJECT, {"OVERLOAD_PROTECTION": "false"})
QUESTIONS = tuple(
    module.NAME
    for module in (
        *FORWARDING,
        *(module for module, _, _ in ITSELF),
        *CHAIN,
        latency_open_loop,
        connections_cost,
        bodies_cost,
        scale_processes,
        redis_cost,
        streams_memory,
        streams_many,
        soak,
        tuning,
    )
)
WITHOUT_BUDGET = (bodies_cost.NAME, scale_processes.NAME, tuning.NAME)
BUDGETED = tuple(name for name in QUESTIONS if name not in WITHOUT_BUDGET)
"""What is asked unless questions are named: all that decides on a budget."""

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
    many_streams: int
    stream_seconds: int
    soak_requests: int
    knob: tuple[str, ...]
    redis: str
    redis_clients: int
    redis_entries: int
    cores: Cores
    generator: Generator

    def wants(self, *modules: Any) -> bool:
        """Whether one of these questions is asked."""
        return any(module.NAME in self.questions for module in modules)

    @property
    def through(self) -> tuple[Peer, ...]:
        """The forwarding peers without direct."""
        return tuple(peer for peer in self.peers if peer.name != "direct")

    @property
    def crowded(self) -> tuple[Peer, ...]:
        """Of connections_cost."""
        return (UNPROTECTED, *(peer for peer in self.through if peer.name not in {"fastgw", "httpx_naive"}))

    @property
    def proxies(self) -> tuple[Peer, ...]:
        """Those that are made for load."""
        return tuple(peer for peer in self.through if peer.name != "httpx_naive")

    @property
    def open_loop(self) -> latency_open_loop.Plan:
        """Of latency_open_loop."""
        lua = tuple(peer for peer in self.chain_peers if peer.name == "nginx_lua")
        peers = (*self.proxies, FastgwWhole(), *lua)
        return latency_open_loop.Plan(peers, self.rounds, self.seconds, self.redis, self.cores, self.generator)

    @property
    def scale(self) -> scale_processes.Plan:
        """Of scale_processes."""
        return scale_processes.Plan(self.rounds, self.seconds, self.cores, self.generator)

    @property
    def redis_plan(self) -> redis_cost.Plan:
        """Of redis_cost."""
        return redis_cost.Plan(self.redis_clients, self.redis_entries, self.cores)

    @property
    def many(self) -> streams_many.Plan:
        """Of streams_many."""
        return streams_many.Plan(self.many_streams, self.cores)

    @property
    def soak(self) -> soak.Plan:
        """Of soak."""
        return soak.Plan(self.soak_requests, self.cores, self.generator)

    @property
    def tuning(self) -> tuning.Plan:
        """Of tuning."""
        return tuning.Plan(self.knob, self.rounds, self.seconds, self.cores, self.generator)

    @property
    def slots(self) -> int:
        """Pieces of work, for the progress bar; of a soak the number is not known beforehand."""
        parts = (
            (self.wants(*FORWARDING), self.rounds * len(self.peers)),
            *((self.wants(module), self.rounds * len(peers)) for module, peers, _ in ITSELF),
            (self.wants(*CHAIN), self.rounds * len(self.chain_peers)),
            (self.wants(latency_open_loop), self.rounds * len(self.open_loop.peers)),
            (self.wants(connections_cost), self.rounds * len(self.crowded)),
            (self.wants(bodies_cost), self.rounds * len(self.proxies)),
            (self.wants(scale_processes), self.rounds * len(self.scale.workers)),
            (self.wants(redis_cost), len(self.redis_plan.parts)),
            (self.wants(streams_memory), len(streams_memory.PARTS) * len(self.through)),
            (self.wants(streams_many), 1),
            (self.wants(soak), 1),
            (self.wants(tuning), len(self.tuning.asked)),
        )
        return sum(size for wanted, size in parts if wanted)


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
        """In the order of QUESTIONS. Raises StartError if a backend or Redis does not start, LoadError."""
        asked = self.asked
        if asked.wants(*FORWARDING):
            self._forward()
        for module, peers, backend in ITSELF:
            if asked.wants(module):
                self._itself(module, peers, backend)
        if asked.wants(*CHAIN):
            self._chained()
        steps = {
            latency_open_loop: self._open_loop,
            connections_cost: self._connections,
            bodies_cost: self._bodies,
            scale_processes: self._scale,
            redis_cost: self._redis,
            streams_memory: self._streams,
            streams_many: self._many,
            soak: self._soak,
            tuning: self._tuning,
        }
        for module, step in steps.items():
            if asked.wants(module):
                step()

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
            "streams": [asked.streams, asked.many_streams],
            "soak_requests": asked.soak_requests,
            "cores": asked.cores.described,
            "load": asked.generator.described,
            "backend": "; ".join(dict.fromkeys(self.backends)) or "none",
            "peers": {peer.name: peer.version() for peer in peers if peer.name not in self.left_out},
            "left_out": self.left_out,
        }

    @property
    def _asks_peers(self) -> bool:
        return self.asked.wants(*FORWARDING, latency_open_loop, connections_cost, bodies_cost, streams_memory)

    @contextmanager
    def _static(self, backend: str = "200 bytes of JSON", core: int | None = None) -> Iterator[Running]:
        with running_static(self.asked.cores.backend if core is None else core) as running:
            self.backends.append(f"{running.name} ({backend}), the same for all peers")
            yield running

    def _plan(self, loads: dict[str, rounds.Ask], peers: tuple[Peer, ...]) -> rounds.Plan:
        asked = self.asked
        return rounds.Plan(loads, peers, asked.rounds, asked.seconds, asked.cores, asked.generator)

    def _measured(self, plan: rounds.Plan, backend: str = "200 bytes of JSON") -> Samples:
        with self._static(backend) as running:
            outcome = rounds.measure(plan, running, self.told)
        self.left_out.update(outcome.left_out)
        return outcome.samples

    def _forward(self) -> None:
        """forwarding_cost and overhead_c1 share their rounds: a peer is started once for both."""
        asked = self.asked
        connections = {forwarding_cost: asked.connections, overhead_c1: 1}
        loads = {module.NAME: rounds.Ask(connections[module]) for module in FORWARDING if asked.wants(module)}
        self.forwarding = self._measured(self._plan(loads, asked.peers))
        self.answers += [module.answer(self.forwarding[module.NAME]) for module in FORWARDING if asked.wants(module)]

    def _itself(self, module: Any, peers: tuple[Peer, ...], backend: str) -> None:
        """Fastgw against itself."""
        plan = self._plan({module.NAME: rounds.Ask(self.asked.connections)}, peers)
        self.answers.append(module.answer(self._measured(plan, backend)[module.NAME]))

    def _chained(self) -> None:
        """So do chain_cost and hit_cost."""
        asked = self.asked
        names = tuple(dict.fromkeys(load for module in CHAIN if asked.wants(module) for load in module.LOADS))
        plan = replace(
            self._plan(chain.asked(names, asked.connections), asked.chain_peers), store=asked.redis, check=chain.check
        )
        self.chain = self._measured(plan, "200 bytes and 5 KB of JSON")
        self.answers += [module.answer(self.chain) for module in CHAIN if asked.wants(module)]

    def _open_loop(self) -> None:
        with self._static() as backend:
            outcome = latency_open_loop.measure(self.asked.open_loop, backend, self.told)
        self.left_out.update(outcome.left_out)
        self.answers.append(latency_open_loop.answer(outcome))

    def _connections(self) -> None:
        possible = streams_possible(max(connections_cost.CONNECTIONS))
        loads = {
            connections_cost.load_name(number): rounds.Ask(number)
            for number in dict.fromkeys(min(number, possible) for number in connections_cost.CONNECTIONS)
        }
        self.answers.append(connections_cost.answer(self._measured(self._plan(loads, self.asked.crowded))))

    def _bodies(self) -> None:
        plan = self._plan(bodies_cost.loads(self.asked.connections), self.asked.proxies)
        self.answers.append(bodies_cost.answer(self._measured(plan, "bodies of 1 to 64 KiB")))

    def _scale(self) -> None:
        plan = self.asked.scale
        with self._static(core=plan.others) as backend:
            self.answers.append(scale_processes.answer(plan, scale_processes.measure(plan, backend, self.told)))

    def _redis(self) -> None:
        self.answers.append(redis_cost.answer(redis_cost.measure(self.asked.redis_plan, self.told)))

    @contextmanager
    def _streaming(self) -> Iterator[Running]:
        with running_streams(self.asked.cores.backend) as backend:
            self.backends.append("asyncio streams on uvloop for long bodies and slow answers")
            yield backend

    def _streams(self) -> None:
        asked = self.asked
        peers = tuple(peer for peer in asked.through if peer.name not in self.left_out)
        plan = streams_memory.Plan(peers, asked.stream_seconds, asked.streams, asked.cores, asked.generator)
        with self._streaming() as backend:
            outcome = streams_memory.measure(plan, backend, self.told)
        self.left_out.update(outcome.left_out)
        self.answers.append(streams_memory.answer(outcome.figures))

    def _many(self) -> None:
        allow_files(2 * self.asked.many_streams)  # for the backend, which holds all of them in one process
        with self._streaming() as backend:
            self.answers.append(
                streams_many.answer(self.asked.many, streams_many.measure(self.asked.many, backend, self.told))
            )

    def _soak(self) -> None:
        with self._static() as backend:
            self.answers.append(soak.answer(soak.measure(self.asked.soak, backend, self.told)))

    def _tuning(self) -> None:
        plan = self.asked.tuning
        with self._static() as static, self._streaming() as slow:
            self.answers.append(tuning.answer(plan, tuning.measure(plan, static, slow, self.told)))
