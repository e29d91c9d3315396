"""The list of GPU workers, as this process knows it; read by one process at a time for the whole fleet.

Whoever holds the lease `workers` reads the workers' keys (scan.py) and writes the list to <prefix>workers, where the
others find it: they look at its first bytes once a second, and read it when it has changed. All of it goes over a
connection of its own, so that no request's call to Redis ever waits behind a long list.

Cold: called by a Periodic, once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisClusterException, RedisError, ResponseError

from fastgw.store.errors import StoreError
from fastgw.store.leader import Lease
from fastgw.store.topology import explained
from fastgw.workers import snapshot
from fastgw.workers.scan import Scan

if TYPE_CHECKING:
    from fastgw.store.hot import Store
    from fastgw.store.topology import Topology
    from fastgw.workers.parse import Worker
    from fastgw.workers.scan import Client
    from fastgw.workers.snapshot import Head, Snapshot

SCAN_EVERY_S: Final = 1.0
"""Between two rounds: a new worker is in every process's list after two of them at most."""

PAUSE_RATIO: Final = 9.0
"""Times as long as the reading took, nothing is read: it takes a tenth of the time at most, however many there are."""

MAX_PAUSE_S: Final = 100.0
LEASE_S: Final = 5.0
"""After the reader's death another process takes over within this and a round; a round ends before it."""

ROUND_S: Final = 4.0
"""For all of one round: 10,000 workers take one second."""

RESTORE_BATCH: Final = 200
"""Workers of a read list that are checked in one go, under 2 ms."""

_NAME: Final = b"workers"

log = logging.getLogger("fastgw.workers")


class Registry:
    """What is known of the workers. `current` is replaced whole; it stays as it was while Redis is away."""

    def __init__(self, store: Store, topology: Topology, holder: bytes) -> None:
        """To be closed. holder: this process's name in the fleet."""
        self.current: Snapshot | None = None
        self._key = store.keys.workers
        self._now_us = store.now_us
        self._topology = topology
        self._lease = Lease(store, _NAME, holder, LEASE_S)
        self._client: Client | None = None
        self._scan = Scan()
        self._is_leading = False
        self._scan_not_before = 0.0  # monotonic
        self._head: Head | None = None  # of current
        self._good_until = 0.0  # monotonic
        self._problem = ""

    def __repr__(self) -> str:
        known = "nothing known" if self.current is None else f"{len(self.current.workers)} workers"
        return f"<Registry {known}{' stale' if self.is_stale else ''}{f': {self._problem}' if self._problem else ''}>"

    @property
    def seen(self) -> list[Worker] | None:
        """The workers, ordered by id; None: nothing is known yet."""
        return None if self.current is None else self.current.workers

    @property
    def has_any(self) -> bool:
        """Whether Redis holds any worker:* key, as far as is known."""
        return self.current is not None and self.current.has_any

    @property
    def is_stale(self) -> bool:
        """Whether nobody has said anything about the workers for ten seconds or more."""
        return monotonic() > self._good_until

    @property
    def problem(self) -> str:
        """Why the last round failed, in one line; empty if it did not."""
        return self._problem

    async def refresh(self) -> None:
        """One round. What is wrong with Redis is logged when it begins and when it ends, and is not raised."""
        try:
            async with explained(self._topology.where, ROUND_S):
                was_asked = await self._round()
        except (StoreError, RedisClusterException) as error:
            await self._drop_client()
            if not self._problem:
                log.warning("the workers can't be read from Redis: %s", error)
            self._problem = str(error)
        else:
            if was_asked and self._problem:
                log.info("the workers are read from Redis again")
                self._problem = ""

    async def close(self) -> None:
        """Let another process take over at once, and close the connection."""
        await self._lease.release()
        await self._drop_client()

    async def _round(self) -> bool:
        """Read the workers' keys, or what another process wrote; whether Redis was asked for anything."""
        if self._client is None:
            self._client = self._topology.client()
        if not await self._lease.hold():
            self._is_leading = False
            await self._follow(self._client)
            return True
        if not self._is_leading:
            with contextlib.suppress(ResponseError):  # of another type: to be overwritten
                await self._follow(self._client)  # what the predecessor left
            if self.current is not None:
                names = [worker["worker_id"].encode() for worker in self.current.workers]
                self._scan.take_over(names, has_any=self.current.has_any)
            self._is_leading = True
        if monotonic() < self._scan_not_before:
            return False
        await self._lead(self._client)
        return True

    async def _lead(self, client: Client) -> None:
        """Read the workers and tell the others."""
        began = monotonic()
        found = await self._scan.look(client, self._now_us() / 1e6)
        ended = monotonic()
        pause_s = min((ended - began) * PAUSE_RATIO, MAX_PAUSE_S)
        self._scan_not_before = ended + pause_s
        if found is None:
            return
        good_s = max(snapshot.MIN_GOOD_S, int(3 * pause_s))
        head, text = snapshot.write(found, self._now_us() // 1000, good_s)
        self._take(head, found)
        await client.set(self._key, text, px=1000 * good_s)

    async def _follow(self, client: Client) -> None:
        """Take the list that another process wrote, if it is a new one."""
        start: Any = await client.getrange(self._key, 0, snapshot.HEAD_BYTES - 1)
        head = snapshot.read_head(start)
        if head is None or (self._head is not None and head.at_ms == self._head.at_ms):
            return
        if self.current is not None and self._head is not None and head.version == self._head.version:
            self._take(head, self.current)
            return
        text: Any = await client.getrange(self._key, 0, snapshot.MAX_BYTES)
        head, contents = snapshot.read_head(text), snapshot.read_contents(text)
        if head is None or contents is None:
            return
        workers: list[Worker] = []
        for start in range(0, len(contents), RESTORE_BATCH):
            workers += snapshot.restored(contents[start : start + RESTORE_BATCH])
            await asyncio.sleep(0)
        self._take(head, snapshot.Snapshot(workers, head.has_any))

    def _take(self, head: Head, found: Snapshot) -> None:
        is_new = self._head is None or head.version != self._head.version
        if is_new or self.current is None:
            self.current = found
        self._head = head
        self._good_until = monotonic() + head.good_s

    async def _drop_client(self) -> None:
        """After a failure a new one is made: what an old one remembers of a Cluster may be wrong."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(RedisError, RedisClusterException, OSError):
                await client.aclose()
