"""Backends without servers, and a clock that is set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastgw.routing.backend import Backend

if TYPE_CHECKING:
    from fastgw.settings.values import BackendAddress


class NoPool:
    """What of a pool the choice looks at."""

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.active = 0
        self.retired = 0
        self.closed = False
        self.looked_up = 0

    def retire(self) -> None:
        self.retired += 1

    async def close(self) -> None:
        self.closed = True

    async def look_up(self) -> None:
        self.looked_up += 1


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def backend(name: str = "a", region: str | None = None, weight: int = 1, size: int = 10) -> Backend:
    pool: Any = NoPool(size)
    return Backend(f"http://{name}", name.encode(), pool, region, weight)


def backends(names: str, *weights: int) -> list[Backend]:
    return [backend(name, None, weight) for name, weight in zip(names, weights or [1] * len(names), strict=True)]


def make(address: BackendAddress) -> Backend:
    pool: Any = NoPool()
    return Backend(address.url, address.authority.encode(), pool, address.region, address.weight)
