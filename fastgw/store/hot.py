"""The hot side of Redis: commands and scripts on pipelined connections. `Store` is what other rooms hold.

Standalone and Sentinel have one pipeline, to the master. A Cluster has one per master: `key` decides by its slot, and a
server that has given a slot away says so (MOVED, ASK): it has run nothing, so the call follows the slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import time
from typing import TYPE_CHECKING, Any, Final

from fastgw.store.errors import StoreDown
from fastgw.store.link import Call, Link, Word, ignore, pack
from fastgw.store.pipeline import Pipeline
from fastgw.store.slots import SLOTS, slot_of

if TYPE_CHECKING:
    from fastgw.store.address import Address
    from fastgw.store.keys import Keys
    from fastgw.store.scripts import Script
    from fastgw.store.topology import Topology

ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"

MAX_HOPS: Final = 4
"""Redirections of one call: one to find a moved slot, one for a slot on its way, and as many again."""

REFRESH_PAUSE_S: Final = 0.2
"""Between two looks at a Cluster's slots, however many redirections come."""

REFRESH_S: Final = 2.0
"""Between two looks when nothing has happened."""

FIRST_TRY_S: Final = 1.5
"""How long a starting process waits for Redis before it serves without."""

log = logging.getLogger("fastgw.store")


class Store:
    """Calls to Redis.

    `command` and `run` raise StoreDown at once while there is no connection. Their futures give the reply (bytes, int,
    list or None), or raise StoreDown (no answer in time, connection lost: whether Redis ran the call is not known, and
    it is never sent again) or ReplyFailed (an error reply).
    """

    def __init__(self, keys: Keys, topology: Topology) -> None:
        """To be opened (`open`) in the running loop."""
        self.keys = keys
        self.mode: str = topology.kind
        self.is_cluster = topology.kind == "cluster"
        self._topology = topology
        self._pipelines: dict[tuple[str, int, str], Pipeline] = {}
        self._only: Pipeline | None = None
        self._by_slot: list[Pipeline | None] = []
        self._refreshing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Store {self.mode} {list(self._pipelines.values())!r}>"

    async def open(self) -> None:
        """Connect; returns when the first try has succeeded or failed, after FIRST_TRY_S at most."""
        if self.is_cluster:
            self._by_slot = [None] * SLOTS
            self._known, self._wanted = asyncio.Event(), asyncio.Event()
            self._refreshing = asyncio.create_task(self._refresh_for_ever())
            tries = [self._first_of_cluster()]
        else:
            self._only = self._pipelines["", 0, ""] = Pipeline(self.mode, self._topology.master)
            tries = [self._only.first_try()]
        try:
            async with asyncio.timeout(FIRST_TRY_S):
                await asyncio.gather(*tries)
        except TimeoutError:
            log.warning("Redis has not answered within %g s; the gateway begins without it", FIRST_TRY_S)

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        for pipeline in [*self._pipelines.values()]:
            await pipeline.close()

    @property
    def is_up(self) -> bool:
        """Whether calls can be made: in a Cluster, to every slot."""
        if self._only is not None:
            return self._only.is_up
        return bool(self._pipelines) and all(self._by_slot) and all(p.is_up for p in self._pipelines.values())

    @property
    def pipelines(self) -> list[Pipeline]:
        """The connections, for the health page."""
        return list(self._pipelines.values())

    def command(self, key: bytes, *args: Word) -> asyncio.Future[Any]:
        """A whole command; `key` says where it goes in a Cluster."""
        return self.link_of(key).send(pack(args))

    def run(self, script: Script, keys: tuple[bytes, ...], *args: Word) -> asyncio.Future[Any]:
        """A script. keys: at least one, all in one slot."""
        packed = pack((b"EVALSHA", script.sha, len(keys), *keys, *args))
        return self.link_of(keys[0]).send(packed, script)

    def fire(self, key: bytes, *args: Word) -> None:
        """A command whose outcome has no consequence: a failure is as if Redis had forgotten."""
        try:
            self.command(key, *args).add_done_callback(ignore)
        except StoreDown:
            return

    def link_of(self, key: bytes) -> Link:
        """The connection that a key's calls take. Raises StoreDown while there is none."""
        only = self._only
        return only.link if only is not None else self._at(key).link

    def not_after(self, key: bytes) -> bytes:
        """The time on Redis's clock after which a call sent now is to do nothing: an argument for scripts."""
        return self.link_of(key).not_after()

    def flush_now(self, key: bytes) -> None:
        """Put this tick's calls on the wire now."""
        self.link_of(key).flush_now()

    def now_us(self) -> int:
        """Redis's clock as far as is known, else this machine's: microseconds since the epoch."""
        only = self._only
        if only is not None and only.is_up:  # nearly always
            return only.link.now_us()
        for pipeline in self._pipelines.values():
            if pipeline.is_up:
                return pipeline.link.now_us()
        return int(time() * 1e6)

    # -- Cluster --------------------------------------------------------------------------------------

    def _at(self, key: bytes) -> Pipeline:
        pipeline = self._by_slot[slot_of(key)] if self._by_slot else None
        if pipeline is None:
            raise StoreDown("the cluster's slots are not known")
        return pipeline

    async def _first_of_cluster(self) -> None:
        await self._known.wait()
        await asyncio.gather(*(p.first_try() for p in self.pipelines))

    async def _refresh_for_ever(self) -> None:
        """Look at the slots now, after a redirection, now and then, and more often while some are not served."""
        while True:
            self._wanted.clear()
            try:
                self._take_over(await self._topology.slots())
            except Exception as error:  # a client library: what it may raise is not bounded
                log.debug("the cluster's slots can't be read: %s", error)
            await asyncio.sleep(REFRESH_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_S if all(self._by_slot) else REFRESH_PAUSE_S):
                    await self._wanted.wait()

    def _take_over(self, slots: list[tuple[int, int, Address]]) -> None:
        table: list[Pipeline | None] = [None] * SLOTS
        used = set()
        for first, last, address in slots:
            pipeline = self._pipeline_of(address)
            used.add(pipeline)
            table[first : last + 1] = [pipeline] * (last - first + 1)
        self._by_slot = table
        self._known.set()
        for where, pipeline in list(self._pipelines.items()):
            if pipeline not in used:
                del self._pipelines[where]
                asyncio.get_running_loop().create_task(pipeline.close())

    def _pipeline_of(self, address: Address) -> Pipeline:
        where = (address.host, address.port, address.socket_path or "")
        pipeline = self._pipelines.get(where)
        if pipeline is None:

            async def there() -> Address:
                return address

            pipeline = self._pipelines[where] = Pipeline(f"{address.host}:{address.port}", there, self._redirected)
        return pipeline

    def _redirected(self, call: Call, text: str) -> bool:
        """A call answered MOVED or ASK: send it where the slot is. Whether it was taken over."""
        kind, _, rest = text.partition(" ")
        if kind not in {"MOVED", "ASK"} or call.hops >= MAX_HOPS:
            return False
        self._wanted.set()
        host, _, port = rest.partition(" ")[2].rpartition(":")
        target = next((p for (h, n, _), p in self._pipelines.items() if (h, str(n)) == (host, port)), None)
        if target is None or not target.is_up:
            return False
        call.hops += 1
        target.link.resend(call, *([ASKING] if kind == "ASK" else []))
        return True
