"""Builds everything once per process from Settings, and closes it in reverse. The only file that knows all rooms."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from time import monotonic
from typing import TYPE_CHECKING, Final

from fastgw.accept import Accept
from fastgw.endpoints.health import Health, RedisState
from fastgw.endpoints.table import Pages
from fastgw.forwarding.deliver import Deliver, Limits
from fastgw.forwarding.disconnect import Watch
from fastgw.forwarding.websocket import Tunnel
from fastgw.gateway import Gateway
from fastgw.periodic import Periodic
from fastgw.protocol.forwarded import TrustedProxies
from fastgw.routing.backend import Backend
from fastgw.routing.choose import Choose
from fastgw.routing.health import HealthChecks
from fastgw.store.ping import StoreUnreachable, ping
from fastgw.upstream.pool import Pool

if TYPE_CHECKING:
    from fastgw.background import Drain
    from fastgw.settings.model import Settings
    from fastgw.settings.values import BackendAddress

REDIS_PING_SECONDS: Final = 2.0
"""How often Redis is asked whether it is there, for the health page."""

REDIS_PING_TIMEOUT_S: Final = 1.0


class House:
    """The parts of one process, wired."""

    def __init__(self, settings: Settings, drain: Drain) -> None:
        """To be called inside the running event loop. drain: whether the process is on its way out."""
        self._settings = settings
        self._open = AsyncExitStack()
        tls = ssl.create_default_context() if any(a.scheme == "https" for a in settings.fastapi_url) else None
        backends = [self._backend(address, tls) for address in settings.fastapi_url]
        choose = Choose(backends)
        self.watch = Watch()
        self._open.callback(self.watch.close)
        limits = Limits(
            timeout_s=settings.fastapi_timeout / 1e3,
            pool_timeout_s=settings.fastapi_pool_timeout / 1e3,
            max_body_bytes=settings.max_body_bytes,
        )
        self.gateway = Gateway(
            Accept(TrustedProxies(settings.trusted_proxies), settings.max_body_bytes),
            Deliver(choose, self.watch, limits),
            Tunnel(choose, (settings.fastapi_connect_timeout + settings.fastapi_timeout) / 1e3, tls),
        )
        self._redis = RedisState()
        self.pages = Pages(Health(backends, self._redis, lambda: drain.is_stopping, monotonic()))
        checks = HealthChecks(backends, settings.router_health_path, tls)
        self._open.push_async_callback(checks.close)
        self._start("backend checks", checks.run, settings.router_health_check_interval / 1e3)
        self._start("redis ping", self._ping_redis, REDIS_PING_SECONDS)

    async def close(self) -> None:
        """Close all parts in reverse order. Requests still under way fail."""
        await self._open.aclose()

    def _start(self, name: str, job: object, interval_s: float) -> None:
        periodic = Periodic(name, job, interval_s)  # type: ignore[arg-type]
        periodic.start()
        self._open.push_async_callback(periodic.close)

    def _backend(self, address: BackendAddress, tls: ssl.SSLContext | None) -> Backend:
        settings = self._settings
        pool = Pool(
            address.host,
            address.port,
            size=settings.fastapi_pool_size,
            keepalive_s=settings.fastapi_keepalive / 1e3,
            connect_timeout_s=settings.fastapi_connect_timeout / 1e3,
            tls=tls if address.scheme == "https" else None,
        )
        self._open.push_async_callback(pool.close)
        return Backend(address.url, address.authority.encode(), pool)

    async def _ping_redis(self) -> None:
        state = self._redis
        password = self._settings.redis_password
        try:
            state.latency_ms = await ping(
                self._settings.redis_url, password.get_secret_value() if password else None, REDIS_PING_TIMEOUT_S
            )
        except StoreUnreachable as error:
            state.is_up, state.latency_ms, state.problem = False, None, str(error)
        else:
            state.is_up, state.problem = True, ""
