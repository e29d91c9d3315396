"""One process does a job for the whole fleet: whoever holds the lease of that name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.store.errors import StoreError
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from fastgw.store.hot import Store

LEASE: Final = load(__package__, "lease.lua")
RENEW: Final = load(__package__, "renew.lua")
CAPACITY: Final = 1


class Lease:
    """The lease `gateway:lease:<name>`. It expires by itself, on Redis's clock, when its holder no longer renews it.

    Two may believe to hold it for a moment: one that was stopped after hold() and goes on when its time is over, or
    one whose Redis lost the key (a restart without persistence, a failover). Jobs must bear being done twice.
    """

    def __init__(self, store: Store, name: bytes, holder: bytes, ttl_s: float) -> None:
        """holder: this process, unlike any other of the fleet. ttl_s: over 0; hold() is to come again well before."""
        self._store = store
        self._key = store.keys.lease(name)
        self._holder = holder
        self._ttl_us = int(ttl_s * 1e6)

    def __repr__(self) -> str:
        return f"<Lease {self._key.decode(errors='replace')} ttl={self._ttl_us / 1e6:g} s>"

    async def hold(self) -> bool:
        """Take or renew it: is this process the one, from now on for ttl_s? False too when Redis does not say so."""
        try:
            return bool(await self._store.run(LEASE, (self._key,), self._holder, self._ttl_us, CAPACITY) == 1)
        except StoreError:
            return False

    async def release(self) -> None:
        """Give it up, so that another need not wait for its end. Without it, or without Redis: nothing."""
        try:
            await self._store.command(self._key, b"ZREM", self._key, self._holder)
        except StoreError:
            return
