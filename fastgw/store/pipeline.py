"""Keeps one link to one Redis server: connects, logs in, and comes back after a loss, at the pace of its breaker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from fastgw.store.breaker import Breaker, State
from fastgw.store.errors import ReplyFailed, StoreDown, StoreError
from fastgw.store.link import Call, Link, pack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.store.address import Address

CONNECT_TIMEOUT_S: Final = 1.0
"""For finding the server (a Sentinel may be asked), connecting and logging in. No request waits for it."""

CLOCK_EVERY_S: Final = 2.0
"""How often Redis's clock is read, and with it whether it answers when nobody else asks."""

log = logging.getLogger("fastgw.store")


class Pipeline:
    """The hot connection to one server. Calls fail at once while there is none."""

    def __init__(
        self,
        name: str,
        locate: Callable[[], Awaitable[Address]],
        on_redirect: Callable[[Call, str], bool] | None = None,
    ) -> None:
        """name: for the log. locate: where the server is, asked before each connect, as a master may move."""
        self.name = name
        self.breaker = Breaker()
        self.latency_ms: float | None = None
        self.problem = ""
        self._locate = locate
        self._on_redirect = on_redirect
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._reason = "not connected yet"
        self._first = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name=f"redis {name}")

    def __repr__(self) -> str:
        return f"<Pipeline {self.name} {self.breaker!r} {self._link!r}>"

    @property
    def link(self) -> Link:
        """The connection. Raises StoreDown while there is none."""
        if self._link is None:
            raise StoreDown(self._reason)
        return self._link

    @property
    def is_up(self) -> bool:
        """Whether calls can be made."""
        return self._link is not None

    async def first_try(self) -> None:
        """Wait until the first connect has succeeded or failed."""
        await self._first.wait()

    async def close(self) -> None:
        """Close the connection and stop coming back."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._link is not None:
            self._link.close("the gateway is stopping")

    # -- inside ---------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Connect, stay until the loss, pause, again."""
        while True:
            self.breaker.probe()
            try:
                link = await self._connect()
            except (StoreError, OSError, TimeoutError) as error:
                self._first.set()
                await self._pause(str(error) or f"no connection within {CONNECT_TIMEOUT_S:g} s")
                continue
            self.breaker.succeeded(monotonic())
            if self.problem:
                log.info("Redis %s is back", self.name)
            self.problem = ""
            self._link = link
            self._first.set()
            await self._stay(link)
            await self._pause(self._reason)

    async def _stay(self, link: Link) -> None:
        """Until the link is lost: read the clock now and then, which also finds a server that hangs while idle."""
        while not self._lost.is_set():
            # not wait_for: a cancel in the very tick in which the event is set would be lost (cpython 86296)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOCK_EVERY_S):
                    await self._lost.wait()
                return
            with contextlib.suppress(StoreError):
                self.latency_ms = await link.measure_clock()

    async def _pause(self, reason: str) -> None:
        self._reason = reason
        self.latency_ms = None
        if not self.problem:
            log.warning("Redis %s can't be used: %s; requests go on without it", self.name, reason)
        self.problem = reason
        await asyncio.sleep(self.breaker.failed(monotonic()))

    async def _connect(self) -> Link:
        """A link that is logged in and has told its time. Raises StoreError, OSError or TimeoutError."""
        self._lost.clear()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            address = await self._locate()
            loop = asyncio.get_running_loop()
            link = Link(self._on_lost, self._on_redirect)
            if address.socket_path:
                await loop.create_unix_connection(lambda: link, address.socket_path)
            else:
                tls = address.tls.context() if address.tls is not None else None
                await loop.create_connection(lambda: link, address.host, address.port, ssl=tls)
            try:
                await self._log_in(link, address)
            except BaseException as error:
                link.close("the login failed")
                if isinstance(error, ReplyFailed) and error.code in {"WRONGPASS", "NOAUTH", "NOPERM"}:
                    raise StoreDown(f"it refused the credentials ({error.code}); check REDIS_URL and its ACL") from None
                raise
        if link.is_lost:
            raise StoreDown("it closed the connection at once")
        return link

    async def _log_in(self, link: Link, address: Address) -> None:
        if address.password or address.username:
            words = ("AUTH", *filter(None, (address.username,)), address.password or "")
            await link.send(pack(words))
        if address.db:
            await link.send(pack(("SELECT", address.db)))
        self.latency_ms = await link.measure_clock()

    def _on_lost(self, link: Link, reason: str) -> None:
        """A link has ended; those that were never taken into service end silently."""
        if self._link is link:
            self._link = None
            self._reason = reason
            self._lost.set()

    @property
    def state(self) -> str:
        """The breaker's state in lower case."""
        return State(self.breaker.state).name.lower()
