"""Reads the keys of the GPU workers without ever holding Redis or this process up. Cold: redis-py.

Two things are done each time. The keys are gone through with SCAN, in steps of 500, for a tenth of a second at most; in
a Redis with millions of keys of others the next time goes on where this one stopped, so that a pass takes many rounds
and a new worker is seen when its part is reached. And the workers that are known are read anew, in batches.

Redis: about 0.1 ms per step of SCAN, 1 us per value. This process: 28 us per value (redis-py), so three values for
each of fifty workers are 4 ms a second.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from fastgw.store import admin
from fastgw.workers.parse import PREFIX, UNREADABLE, Worker, keys_of, read_worker, worker_id
from fastgw.workers.snapshot import MAX_WORKERS, Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from redis.asyncio import Redis, RedisCluster

    Client = Redis | RedisCluster

PATTERN: Final = PREFIX.decode() + "*"

SLICE_S: Final = 0.1
"""For SCAN in one round: with a round a second, a tenth of the time."""

BATCH: Final = 20
"""Workers read in one go: 60 values are under 2 ms in which this process does nothing else."""

MAX_VALUE_BYTES: Final = 64 << 10
"""Of one key. What workers write has some hundred bytes; GETRANGE sees to it that no more is read."""

log = logging.getLogger("fastgw.workers")


class Scan:
    """Finds and reads workers; remembers between the calls which there are, and where its pass through the keys is."""

    def __init__(self, slice_s: float = SLICE_S) -> None:
        """slice_s: seconds for SCAN in one round; at least one step is made."""
        self._slice_s = slice_s
        self._pages: AsyncIterator[list[bytes]] | None = None  # what is left of the pass under way
        self._new: set[bytes] = set()  # found in the pass under way
        self._new_any = False
        self._known: set[bytes] = set()  # found in the last whole pass
        self._any: bool | None = None  # whether that met any worker:* key; None before its end
        self._is_cut = False

    def __repr__(self) -> str:
        return f"<Scan {len(self._known | self._new)} workers{' under way' if self._pages else ''}>"

    async def look(self, client: Client, now: float) -> Snapshot | None:
        """The workers, ordered by id; None before the end of the first pass: half a list would be a wrong one.

        client: the same as the last time, if that did not fail. now: Unix seconds, for what counts as silent.
        Raises what redis-py raises; the next call begins a new pass, with the workers that are known.
        """
        try:
            await self._discover(client)
            if self._any is None:
                return None
            return Snapshot(await self._read(client, now), has_any=self._any or self._new_any)
        except BaseException:
            self._pages = None
            raise

    def take_over(self, names: Iterable[bytes], *, has_any: bool) -> None:
        """Begin with what another process's whole pass has found, instead of what was found here in former times."""
        self._pages = None
        self._known, self._any = set(names), has_any
        self._new, self._new_any = set(), False

    async def _discover(self, client: Client) -> None:
        """Go on with the pass: to its end, or as far as the slice carries."""
        end = monotonic() + self._slice_s
        pages, self._pages = self._pages, None
        if pages is None:
            pages, self._new, self._new_any = admin.scan(client, PATTERN), set(), False
        async for page in pages:
            self._note(page)
            if monotonic() >= end:
                self._pages = pages
                return
        self._known, self._any = self._new, self._new_any
        self._new = set()

    def _note(self, page: list[bytes]) -> None:
        self._new_any = self._new_any or bool(page)
        for key in page:
            name = worker_id(key)
            if name is None:
                continue
            if len(self._new) < MAX_WORKERS:
                self._new.add(name)
            elif name not in self._new and not self._is_cut:
                self._is_cut = True
                log.warning("Redis holds more than %d workers; the list leaves the others out", MAX_WORKERS)

    async def _read(self, client: Client, now: float) -> list[Worker]:
        names = sorted(self._known | self._new)[:MAX_WORKERS]
        workers = []
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            values = await _values(client, [key for name in batch for key in keys_of(name)])
            for at, name in enumerate(batch):
                worker = read_worker(name, (values[3 * at], values[3 * at + 1], values[3 * at + 2]), now)
                if worker is None:  # its keys have expired since
                    self._known.discard(name)
                    self._new.discard(name)
                else:
                    workers.append(worker)
            await asyncio.sleep(0)  # redis-py may have found all replies in its buffer and not have waited once
        return workers


async def _values(client: Client, keys: list[bytes]) -> list[bytes | None]:
    """The beginnings of values: None for a missing key, UNREADABLE for one that is no string or too long."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.getrange(key, 0, MAX_VALUE_BYTES)
    values: list[bytes | None] = []
    for reply in await pipeline.execute(raise_on_error=False):
        if isinstance(reply, Exception):
            if not (isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply)):
                raise reply
            values.append(UNREADABLE)
        elif len(reply) > MAX_VALUE_BYTES:
            values.append(UNREADABLE)
        else:
            values.append(reply or None)  # GETRANGE says "" of a key that is not there
    return values
