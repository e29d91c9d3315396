"""The limit, in a simulation with its own clock: backends with a queue, clients that come whatever happens."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

import pytest

from fastgw.forwarding.limit import FLOOR, MAX_KINDS, TARGET_S, Limit

JOB_S = 0.010
WORKERS = 4
CAPACITY = WORKERS / JOB_S
"""Requests per second that the simulated backend can answer: 400."""

PATIENCE_S = 1.0
"""An answer that comes later than this is no good: its client has left."""


@dataclass
class Backend:
    """A FIFO queue before some workers. workers: how many jobs at once, inf: a backend that is never full."""

    workers: float = WORKERS
    job_s: Callable[[Random], float] = lambda _: JOB_S
    busy: int = 0
    queue: list[tuple[float, int, int]] = field(default_factory=list)


class World:
    """Requests arrive by chance at `rate(now)` per second; `limit` decides who goes on; answers come in their time."""

    def __init__(self, rate: Callable[[float], float], backends: list[Backend] | None = None, seed: int = 1) -> None:
        self.random = Random(seed)
        self.rate = rate
        self.backends = backends or [Backend()]
        self.limit = Limit()
        self.now = 0.0
        self.offered: list[float] = []
        self.refused: list[float] = []
        self.answered: list[tuple[float, float]] = []  # when, after how long
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.kind: Callable[[int], object] = lambda backend: backend

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def run(self, seconds: float) -> World:
        end = self.now + seconds
        self.at(self.now, self._arrive)
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self._events = [event for event in self._events if event[2] != self._arrive]
        heapq.heapify(self._events)
        return self

    def _arrive(self) -> None:
        self.at(self.now + self.random.expovariate(self.rate(self.now)), self._arrive)
        self.offered.append(self.now)
        limit = self.limit
        if limit.waiting >= limit.value and limit.refuses(self.now):
            self.refused.append(self.now)
            return
        limit.waiting += 1
        number = self.random.randrange(len(self.backends))
        self.backends[number].queue.append((self.now, number, limit.waiting))
        self._serve(self.backends[number])

    def _serve(self, backend: Backend) -> None:
        while backend.queue and backend.busy < backend.workers:
            backend.busy += 1
            self.at(self.now + backend.job_s(self.random), partial(self._answer, backend, *backend.queue.pop(0)))

    def _answer(self, backend: Backend, begun: float, number: int, among: int) -> None:
        backend.busy -= 1
        self.limit.waiting -= 1
        self.answered.append((self.now, self.now - begun))
        self.limit.answered(self.kind(number), among, self.now - begun, self.now)
        self._serve(backend)

    # -- what came of it, between two times ------------------------------------------------------------

    def goodput(self, start: float, end: float) -> float:
        """Answers per second that came while their client still waited."""
        return sum(start <= when < end and took <= PATIENCE_S for when, took in self.answered) / (end - start)

    def shed(self, start: float, end: float) -> float:
        """Share of the offered requests that were refused."""
        offered = sum(start <= when < end for when in self.offered)
        return sum(start <= when < end for when in self.refused) / max(1, offered)

    def latency(self, share: float, start: float, end: float) -> float:
        took = sorted(took for when, took in self.answered if start <= when < end)
        return took[min(len(took) - 1, int(share * len(took)))]


def steady(times: float) -> Callable[[float], float]:
    return lambda _: times * CAPACITY


@pytest.mark.parametrize("seed", range(5))
def test_half_the_capacity_is_never_refused(seed: int) -> None:
    world = World(steady(0.5), seed=seed).run(20)
    assert world.refused == []
    assert world.limit.value == math.inf


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("times", [1.5, 3, 10])
def test_beyond_the_capacity_goodput_stays_and_so_does_the_latency(times: float, seed: int) -> None:
    world = World(steady(times), seed=seed).run(30)
    print(
        f"{times:g}x: goodput {world.goodput(3, 30) / CAPACITY:.1%}, in the first 3 s "
        f"{world.goodput(0, 3) / CAPACITY:.1%}; p50 {world.latency(0.5, 3, 30) * 1e3:.0f} ms, "
        f"p99 {world.latency(0.99, 3, 30) * 1e3:.0f} ms; limit {world.limit.value:.0f}"
    )
    assert world.goodput(3, 30) > 0.97 * CAPACITY
    assert world.goodput(0, 3) > (0.95 if times <= 3 else 0.6) * CAPACITY, "what came before the first cut waits long"
    assert world.latency(0.99, 3, 30) < 2 * (FLOOR / CAPACITY + TARGET_S)


@pytest.mark.parametrize("seed", range(5))
def test_at_the_capacity_nearly_all_are_carried(seed: int) -> None:
    world = World(steady(1.0), seed=seed).run(30)
    print(f"1x: goodput {world.goodput(3, 30) / CAPACITY:.1%}, p99 {world.latency(0.99, 3, 30) * 1e3:.0f} ms")
    assert world.goodput(3, 30) > 0.95 * CAPACITY
    assert world.latency(0.99, 3, 30) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_wave_passes_and_nothing_stays_of_it(seed: int) -> None:
    world = World(lambda now: (3 if 10 <= now < 20 else 0.5) * CAPACITY, seed=seed).run(45)
    print(f"limit after the wave {world.limit.value:g}; p99 in it {world.latency(0.99, 13, 20) * 1e3:.0f} ms")
    assert world.shed(0, 10) == 0
    assert world.goodput(10, 20) > 0.95 * CAPACITY
    assert world.shed(21, 45) < 0.001
    assert world.latency(0.99, 21, 45) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_the_capacity_falls_and_rises(seed: int) -> None:
    """A backend with 16 workers loses all but four, and gets them back: 4 of 10, then 16 of 10 can be carried."""
    backend = Backend(workers=16)
    world = World(steady(2.5), [backend], seed=seed)
    world.run(10)
    backend.workers = 4
    world.run(15)
    backend.workers = 16
    world.run(15)
    print(
        f"before {world.shed(0, 10):.1%} refused; few workers: {world.goodput(13, 25) / CAPACITY:.0%} carried, "
        f"p99 {world.latency(0.99, 13, 25) * 1e3:.0f} ms; again many: {world.shed(28, 40):.1%} refused"
    )
    assert world.shed(0, 10) < 0.001
    assert world.goodput(10, 13) > 0.9 * CAPACITY
    assert world.goodput(13, 25) > 0.97 * CAPACITY
    assert world.latency(0.99, 13, 25) < 0.3
    assert world.shed(28, 40) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_one_slow_backend_of_three_is_no_overload(seed: int) -> None:
    slow = Backend(workers=math.inf, job_s=lambda _: 30 * JOB_S)
    world = World(steady(1.5), [Backend(), slow, Backend()], seed=seed).run(20)
    assert world.refused == []


@pytest.mark.parametrize("seed", range(3))
def test_backends_that_become_slow_but_are_not_full_are_let_work(seed: int) -> None:
    """From 10 ms to 300 ms, and none of them full: more wait, and all are to be carried."""
    slowness = {"s": JOB_S}
    world = World(steady(1.0), [Backend(workers=math.inf, job_s=lambda _: slowness["s"])], seed=seed).run(10)
    slowness["s"] = 30 * JOB_S
    world.run(20)
    print(f"refused of the first 5 s {world.shed(10, 15):.1%}, later {world.shed(15, 30):.2%}")
    assert world.shed(0, 10) == 0
    assert world.shed(10, 15) < 0.25
    assert world.shed(15, 30) < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_slow_and_quick_kinds_side_by_side_are_no_overload(seed: int) -> None:
    """Kinds whose times differ by four hundred, their shares changing all the time."""
    world = World(steady(0.9), seed=seed)
    world.backends = [
        Backend(workers=math.inf, job_s=lambda _: 0.005),
        Backend(workers=math.inf, job_s=lambda random: random.uniform(1.5, 2.5)),
    ]
    world.run(30)
    assert world.refused == []


@pytest.mark.parametrize("seed", range(3))
def test_uneven_jobs_are_no_overload(seed: int) -> None:
    """One kind, and what it takes is up to chance (a long tail): 60 % of the capacity is carried without an error."""
    uneven = Backend(workers=32, job_s=lambda random: 0.02 * random.lognormvariate(0, 1.2) / 2.05)
    world = World(lambda _: 0.6 * 32 / 0.02, [uneven], seed=seed).run(10)
    assert world.shed(0, 10) < 0.001


def test_a_silent_backend_is_asked_again_more_and_more() -> None:
    """Limited, and then not one answer for a while: the limit must not keep everybody out for ever."""
    world = World(steady(3)).run(8)
    world.backends[0].workers = 0
    world.run(4)
    assert world.limit.value < math.inf
    waiting = world.limit.waiting
    world.run(2)
    assert world.limit.waiting > waiting
    world.backends[0].workers = WORKERS
    world.run(10)
    assert world.goodput(world.now - 5, world.now) > 0.95 * CAPACITY


def test_kinds_are_bounded_and_new_ones_hide_no_queue() -> None:
    world = World(steady(3))
    numbers = count()
    world.kind = lambda _: next(numbers) if next(numbers) % 3 else "usual"
    world.run(20)
    assert len(world.limit._kinds) <= MAX_KINDS + 1
    assert world.latency(0.99, 10, 20) < 0.3


def test_it_tells_of_itself() -> None:
    assert repr(Limit()) == "<Limit inf waiting=0 kinds=0>"
