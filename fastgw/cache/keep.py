"""Stores what was fetched, and forgets what has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fastgw.cache.coalesce import LEASE_S, MARK, MARK_MS
from fastgw.cache.entry import Marker, encode, new_version
from fastgw.cache.key import variant_name
from fastgw.store.errors import StoreDown
from fastgw.store.link import ignore
from fastgw.store.scripts import load

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fastgw.cache.coalesce import Flights
    from fastgw.cache.entry import Entry
    from fastgw.cache.local import Copy, LocalCopies
    from fastgw.cache.lookup import Ask, Lookup
    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields
    from fastgw.store.hot import Store

STORE: Final = load("fastgw.cache", "store.lua")
FORGET: Final = load("fastgw.cache", "forget.lua")

LEASE_US: Final = int(LEASE_S * 1e6)

MAX_VALUE_BYTES: Final = 16 * 1024 * 1024
"""Largest value that is stored; admission.lua reads no more."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What of the settings the cache needs. routes: path -> seconds."""

    is_on: bool
    ttl_s: int
    max_entries: int
    max_body: int
    routes: dict[bytes, int]


class Keep:
    """Writes entries, markers and the index."""

    def __init__(self, store: Store, lookup: Lookup, local: LocalCopies, flights: Flights) -> None:
        self._flights = flights
        self._store = store
        self._lookup = lookup
        self._local = local
        self.on_full: Callable[[], None] = _nothing  # told when there are more entries than CACHE_MAX_SIZE
        self.max_entries = 0
        self.stored = 0

    def store(self, ask: Ask, entry: Entry, vary: tuple[bytes, ...], headers: Fields) -> Copy:
        """Store an entry under the name that its response asks for. Returns this process's copy of it.

        Writes are sent and not waited for: a response is not delayed by being stored. headers: the request's.
        """
        base = ask.names.base
        known = ask.names.marker
        by_identity = not entry.is_shared and bool(ask.scope or (known is not None and known.by_identity))
        marker = None
        if vary or by_identity:
            same = known is not None and (known.vary, known.by_identity) == (vary, by_identity)
            marker = Marker(
                known.version if known is not None and same else new_version(), vary, by_identity, entry.lifetime_ms
            )
            if not same:
                known = None
        name = base
        if marker is not None:
            name = variant_name(base, marker.version, vary, headers, ask.scope if by_identity else b"")
        if marker is None or known is None:
            ask.names.use(marker)
        copy = self._local.put(name, entry)
        self._write(ask, name, entry, marker, is_known=known is not None)
        return copy

    def _write(self, ask: Ask, name: bytes, entry: Entry, marker: Marker | None, *, is_known: bool) -> None:
        store, keys = self._store, self._store.keys
        value = encode(entry)
        if len(value) > MAX_VALUE_BYTES:
            self.release(ask, mark=True)
            return
        where: tuple[bytes, ...] = (keys.cache(name), ask.lease, ask.names.lease)
        args: tuple[bytes | int, ...] = (value, entry.lifetime_ms, ask.holder)
        members = [name]
        if marker is not None:
            where += (ask.names.key,)
            args += (encode(marker), marker.lifetime_ms, int(is_known))
            members.append(ask.names.base)
        try:
            store.run(STORE, where, *args).add_done_callback(_told(ask))
            store.fire(keys.cache_index, b"SADD", keys.cache_index, *members)
            store.command(keys.cache_index, b"SCARD", keys.cache_index).add_done_callback(self._counted)
        except StoreDown:
            ask.lost()
            return
        self.stored += 1

    def _counted(self, future: asyncio.Future[int]) -> None:
        if not future.cancelled() and future.exception() is None and future.result() > self.max_entries:
            self.on_full()

    def release(self, ask: Ask, *, mark: bool) -> None:
        """The fetch brought nothing to store: free its lease. mark: and tell those who wait to go on by themselves."""
        if not ask.holder or ask.lead != 1:
            return
        store, lease = self._store, ask.lease
        ask.lead = 0
        try:
            store.command(lease, b"ZREM", lease, ask.holder).add_done_callback(_told(ask))
        except StoreDown:
            ask.lost()
            return
        if mark:
            store.fire(lease, b"ZADD", lease, store.now_us() + MARK_MS * 1000, MARK)
            store.fire(lease, b"PEXPIRE", lease, LEASE_US // 1000)  # a fence may stand there too

    def forget(self, ask: Ask) -> None:
        """Delete the entry that an ask has found."""
        store, key, index = self._store, self._store.keys.cache(ask.name), self._store.keys.cache_index
        self._local.drop(ask.name)
        store.fire(key, b"UNLINK", key)
        store.fire(index, b"SREM", index, ask.name)

    def invalidate(self, x: Exchange) -> None:
        """A request has changed what this URI stands for (RFC 9111 4.4): forget its entry, its variants, its fetches.

        On the wire before the response is: whoever has read the response does not find the old entry any more.
        Deleting the marker is enough for all variants, and a fence keeps out what was fetched before (forget.lua).
        """
        names = self._lookup.names_of(x)
        store, index = self._store, self._store.keys.cache_index
        self._local.drop(names.base)
        names.use(None)
        self._flights.forget(names.base)
        try:
            store.run(FORGET, (names.key, names.lease), LEASE_US).add_done_callback(ignore)
            store.fire(index, b"SREM", index, names.base)
            store.flush_now(names.key)
        except StoreDown:
            return


def _told(ask: Ask) -> Callable[[asyncio.Future[Any]], None]:
    """A done callback: who could not be told that the fetch is over is told later, so that nobody waits for it."""

    def done(future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is not None:
            ask.lost()

    return done


def _nothing() -> None:
    """Until somebody wants to know."""
