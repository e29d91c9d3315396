"""The cache of one process, wired: what the room's parts share, and what the rest of the house may ask of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastgw.cache.answer import AnswerFromCache
from fastgw.cache.coalesce import Flights
from fastgw.cache.fetch import Invalidation, Shelf
from fastgw.cache.keep import Keep, Policy
from fastgw.cache.local import LocalCopies
from fastgw.cache.lookup import Lookup
from fastgw.cache.sweep import SWEEP_S, Sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.cache.answer import Look
    from fastgw.exchange import Exchange
    from fastgw.store.hot import Store
    from fastgw.store.topology import Topology


class Cupboard:
    """lookup: what admission is to bring. answer: the door. Both do nothing until `use` switches the cache on."""

    sweep_every_s = SWEEP_S

    def __init__(
        self, store: Store, topology: Topology, look: Look, fetch: Callable[[Exchange], Awaitable[Any]], holder: bytes
    ) -> None:
        """look, fetch: see AnswerFromCache. holder: this process's name in the fleet."""
        self._store = store
        self._local = LocalCopies()
        self._flights = Flights()
        self.lookup = Lookup(store.keys, self._local, holder)
        self._sweep = Sweep(store, topology, self._local, holder)
        self._keep = Keep(store, self.lookup, self._local, self._flights)
        self._keep.on_full = self._sweep.on_full
        self.lookup.on_change = Invalidation(self._keep)
        self.shelf = self._shelf = Shelf(store, self._keep, self._flights, Policy(False, 0, 0, 0, {}))
        self.answer = AnswerFromCache(self._shelf, self.lookup, look, fetch)

    def use(self, *, is_on: bool, ttl_s: int, max_entries: int, max_body: int, routes: dict[bytes, int]) -> None:
        """The settings in force from now on. ttl_s, and routes' values: seconds. max_body: bytes."""
        self._shelf.policy = Policy(is_on, ttl_s, max_entries, max_body, routes)
        self.lookup.is_on = is_on
        self._keep.max_entries = max_entries
        self._sweep.max_entries = max_entries

    async def sweep(self) -> None:
        """Keep the index true; to be run every `sweep_every_s`."""
        if self.lookup.is_on:
            await self._sweep.sweep()

    async def give_back(self) -> None:
        """Release leases that may have been claimed by calls whose replies were lost; to be run periodically."""
        while self.lookup.orphans and self._store.is_up:
            lease, holder = self.lookup.orphans.popleft()
            self._store.fire(lease, b"ZREM", lease, holder)

    async def purge(self, path: str | None) -> int:
        """Delete all entries, or those of a path; how many there were. Raises StoreError."""
        return await self._sweep.purge(path)

    async def close(self) -> None:
        """End what is done in the background, and give leases back that nobody uses any more."""
        await self.answer.close()
        await self.give_back()
        await asyncio.sleep(0)  # calls leave at the end of the loop's turn
        await self._sweep.close()

    def told(self) -> dict[str, Any]:
        """For the page of the plugins."""
        is_on, answer = self.lookup.is_on, self.answer
        return {
            "name": "cache",
            "enabled": is_on,
            "state": "off" if not is_on else "active" if self._store.is_up else "degraded",
            "hits": answer.hits,
            "misses": answer.misses,
            "stale": answer.stale,
            "stored": self._keep.stored,
            "evicted": self._sweep.evicted,
            "entries": self._sweep.entries,
            "local_entries": len(self._local),
            "local_bytes": self._local.bytes,
            "fetches_under_way": len(self._flights),
        }
