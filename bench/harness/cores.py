"""Which core does what: the gateway has one to itself, so that its CPU and its throughput are those of one core."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Cores:
    """Core numbers as the kernel counts them."""

    gateway: int
    load: int
    backend: int

    @property
    def described(self) -> str:
        """One line for people, with the caveat where the machine is too small."""
        if self.gateway == self.load:
            return (
                "one core for everything: gateway, load and backend disturb each other; only CPU per request is usable"
            )
        shared = "share the second" if self.load == self.backend else "have one each"
        return f"the gateway has one core to itself; load generator and backend {shared}"


def usable() -> tuple[int, ...]:
    """The numbers of the cores that this process may use, ascending."""
    return tuple(sorted(os.sched_getaffinity(0)))


def assign() -> Cores:
    """The first usable core for the gateway, the second for the load, the third (else the second) for the backend."""
    cores = usable()
    load = cores[min(1, len(cores) - 1)]
    return Cores(gateway=cores[0], load=load, backend=cores[min(2, len(cores) - 1)])


@contextmanager
def pinned(core: int | Iterable[int]) -> Iterator[None]:
    """Within: the calling thread, and so every process it starts, runs on `core` only. Children keep it for life."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
