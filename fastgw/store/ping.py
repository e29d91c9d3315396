"""Is Redis there, and how fast does it answer? Cold: opens a connection, asks, closes it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastgw.store.address import DIRECT_SCHEMES, Address, describe
from fastgw.store.topology import StoreUnreachable, Topology, explained

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["DIRECT_SCHEMES", "StoreUnreachable", "describe", "ping"]


async def ping(url: str, password: str | None, timeout_s: float) -> float:
    """Measure one PING's round trip on a fresh connection, in ms; connecting is not counted.

    password: used where the URL holds none. timeout_s: seconds for all of it, connecting and finding the master too.
    Raises StoreUnreachable if the URL can't be read, nothing answers in time, or the credentials are refused.
    """
    topology = Topology(url, password)
    async with explained(topology.where, timeout_s):
        return await topology.first_answer(_round_trip)


async def _round_trip(client: Redis, _address: Address) -> float:
    await client.ping()  # connects and logs in
    start = time.perf_counter()
    await client.ping()
    return (time.perf_counter() - start) * 1000
