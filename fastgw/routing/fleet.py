"""The backends of a process as the settings have them: made, checked, chosen between, changed at run time."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Final

from fastgw.routing import regions
from fastgw.routing.backend import Backend
from fastgw.routing.choose import Choose
from fastgw.routing.findings import Findings
from fastgw.routing.health import HealthChecks
from fastgw.routing.pace import FADE_EVERY_S
from fastgw.routing.strategies import STRATEGIES, Means
from fastgw.upstream.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.routing.strategies import Strategy
    from fastgw.settings.model import Settings
    from fastgw.settings.values import BackendAddress

NAMES_EVERY_S: Final = 27.0
"""How often backends' names are resolved anew: with the jitter of Periodic, connections to an address that a name has
lost are left within 30 s."""

PREFLIGHT_PATH: Final = "/api/v1/jobs"
"""Where backends are asked for a CORS policy: what pages call, so that also one of /api alone is seen."""

log = logging.getLogger("fastgw.routing")


class Fleet:
    """Backends, their checks, and the choice between them. To be made in the running loop."""

    def __init__(self, settings: Settings, findings: Findings | None = None) -> None:
        """findings: of active checks, shared by the host's processes; without it this process checks for itself."""
        self._settings = settings
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        """Verifies. It loads the authorities (20 ms) when the first backend needs them."""
        self.choose = Choose(
            [self._made(address) for address in settings.fastapi_url], self._strategy(settings), self._made
        )
        self.backends = list(self.choose.backends)
        """For those who only look: always this list, whatever is in it."""
        self.checks = HealthChecks(
            lambda: self.backends,
            settings.router_health_path,
            self.tls,
            settings.router_health_check_interval / 1e3,
            Findings() if findings is None else findings,
            PREFLIGHT_PATH if settings.cors_origin else "",
        )
        self.checks.tell = self.choose.check

    def __repr__(self) -> str:
        return f"<Fleet {self.choose!r}>"

    @property
    def jobs(self) -> tuple[tuple[str, Callable[[], Awaitable[None]], float], ...]:
        """What is to be done again and again: name, job, interval in seconds."""
        return (
            ("backend checks", self.checks.run, self.checks.tick_s),
            ("backends that left", self.choose.tidy, FADE_EVERY_S),
            ("backends' names", self.choose.refresh_names, NAMES_EVERY_S),
        )

    def use(self, settings: Settings) -> None:
        """The backends and the strategy in force from now on. Requests under way keep what they began with."""
        before, self._settings = self._settings, settings
        is_moved = settings.fastapi_url != before.fastapi_url
        if is_moved:
            self.choose.replace(settings.fastapi_url)
            self.backends[:] = self.choose.backends
        if is_moved or settings.router_strategy != before.router_strategy:
            self.choose.use(self._strategy(settings))

    async def close(self) -> None:
        """Stop checking, close all connections; requests under way fail."""
        await self.checks.close()
        await self.choose.close()

    def _made(self, address: BackendAddress) -> Backend:
        settings = self._settings
        is_https = address.scheme == "https"
        if is_https and not self.tls.cert_store_stats()["x509"]:
            self.tls.load_default_certs()
        pool = Pool(
            address.host,
            address.port,
            size=settings.fastapi_pool_size,
            keepalive_s=settings.fastapi_keepalive / 1e3,
            connect_timeout_s=settings.fastapi_connect_timeout / 1e3,
            tls=self.tls if is_https else None,
        )
        return Backend(address.url, address.authority.encode(), pool, address.region, address.weight)

    def _strategy(self, settings: Settings) -> Strategy:
        try:
            known = regions.load(settings.regions_file)
        except regions.RegionsError as error:  # it was checked before the start, so it has changed since
            why = "; ".join(str(error).splitlines())
            log.error("%s can't be used, so our own regions are: %s", settings.regions_file, why)  # noqa: TRY400 - no fault of ours
            known = regions.load()
        if settings.router_strategy == "region-affinity":
            for address in settings.fastapi_url:
                if address.region is None or known.code(address.region) is None:
                    log.warning("backend %s is in no known region: it counts as the most distant", address.url)
        return STRATEGIES[settings.router_strategy](Means(known, settings.router_sticky_header))
