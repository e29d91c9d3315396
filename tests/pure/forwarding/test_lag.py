"""The rate at which requests begin, in a simulation of an event loop that has too much to do."""

from __future__ import annotations

import math
from collections import deque

import pytest

from fastgw.forwarding.lag import BEGIN_S, BUSY_S, CALM_S, LEAST_PER_LOOK, LOOKS, TICK_S, UNLIMITED, Lag

FORWARD_S = 40e-6
REFUSE_S = 13e-6
"""CPU of a forwarded and of a refused request: what a worker needs."""

CAPACITY = 1 / FORWARD_S
HOLD_S = 2.0
TURNS_PER_TICK = 40


class Loop:
    """A loop that takes all that has come in one turn, and clients that ask again at once; refusals are held back."""

    def __init__(self, clients: int) -> None:
        self.now = 0.0
        self.lag = Lag()
        self.due = TICK_S
        self.ready = clients
        self.held: deque[tuple[float, int]] = deque()
        self.good: list[tuple[float, int]] = []
        self.lags: list[tuple[float, float]] = []

    def run(self, seconds: float) -> Loop:
        end = self.now + seconds
        while self.now < end:
            self._tick()
            came, self.ready = self.ready, 0
            let_in = min(came, max(0, self.lag.left))
            self.lag.left -= came
            if came > let_in:
                self.held.append((self.now + HOLD_S, came - let_in))
            self.now += let_in * FORWARD_S + (came - let_in) * REFUSE_S + 20e-6
            self.good.append((self.now, let_in))
            self.ready += let_in
        return self

    def _tick(self) -> None:
        if self.now < self.due:
            return
        self.lags.append((self.now, self.now - self.due))
        self.lag.look(self.now, self.due)
        self.due = self.now + TICK_S
        turns = TURNS_PER_TICK
        while self.held and (turns > 0 or self.held[0][0] <= self.now):
            until, count = self.held.popleft()
            answered = count if until <= self.now else min(turns, count)
            if answered < count:
                self.held.appendleft((until, count - answered))
            turns -= answered
            self.ready += answered

    def goodput(self, start: float, end: float) -> float:
        return sum(count for when, count in self.good if start <= when < end) / (end - start)

    def late(self, share: float, start: float) -> float:
        values = sorted(lag for when, lag in self.lags if when >= start)
        return values[min(len(values) - 1, int(share * len(values)))]


@pytest.mark.parametrize("clients", [1, 64, 400])
def test_a_busy_loop_that_keeps_its_time_is_let_alone(clients: int) -> None:
    loop = Loop(clients).run(5)
    assert loop.lag.rate == math.inf
    assert not loop.held


@pytest.mark.parametrize("clients", [1500, 3000, 6000])
def test_too_many_clients_cost_no_goodput_and_the_loop_keeps_its_time(clients: int) -> None:
    loop = Loop(clients).run(20)
    print(
        f"{clients} clients: {loop.goodput(5, 20) / CAPACITY:.1%} of the capacity, late p50 "
        f"{loop.late(0.5, 5) * 1e3:.0f} ms p99 {loop.late(0.99, 5) * 1e3:.0f} ms (unlimited: {clients * 0.04:.0f} ms)"
    )
    assert loop.goodput(5, 20) > 0.9 * CAPACITY
    assert loop.late(0.5, 5) < BEGIN_S
    assert loop.late(0.99, 5) < max(2 * BEGIN_S + 0.01, clients * FORWARD_S / 2)


def looks(lag: Lag, count: int, late_s: float, came: int, start: float = 0.0) -> float:
    now = start
    for _ in range(count):
        lag.left -= came
        now += TICK_S + late_s
        lag.look(now, now - late_s)
    return now


def test_one_late_look_is_no_overload() -> None:
    lag = Lag()
    now = looks(lag, LOOKS - 1, 0.5, 1000)
    looks(lag, 1, 0.0, 1000, now)
    assert lag.rate == math.inf
    assert lag.left == UNLIMITED


@pytest.mark.parametrize("came", [3, LEAST_PER_LOOK])
def test_a_machine_that_is_somebody_elses_is_no_reason_to_refuse_a_few(came: int) -> None:
    lag = Lag()
    looks(lag, 50, 0.2, came)
    assert lag.rate == math.inf


def test_a_few_are_let_in_however_late_the_loop_is() -> None:
    lag = Lag()
    looks(lag, 200, 0.2, 1000)
    assert lag.rate < 5000
    assert lag.left >= LEAST_PER_LOOK


def test_a_crowd_at_the_backends_is_a_reason_only_for_a_loop_that_is_busy_itself() -> None:
    idle, busy = Lag(), Lag()
    for lag, late_s in ((idle, 0.0), (busy, 2 * BUSY_S)):
        now = looks(lag, LOOKS, late_s, 1000)
        lag.left -= 1000
        lag.look(now + TICK_S, now + TICK_S, is_crowded=True)
    assert idle.rate == math.inf
    assert busy.rate < math.inf


def test_all_are_let_in_again_when_nobody_was_refused_for_a_while() -> None:
    lag = Lag()
    now = looks(lag, LOOKS, 0.1, 1000)
    assert lag.rate < math.inf
    looks(lag, int(CALM_S / TICK_S) + 2 * LOOKS, 0.0, 1, now)
    assert lag.rate == math.inf


def test_it_tells_of_itself() -> None:
    assert repr(Lag()) == "<Lag 0.0 ms rate=inf/s>"
