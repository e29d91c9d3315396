"""Builds everything once per process from Settings, and closes it in reverse. The only file that knows all rooms."""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from fastgw.accept import Accept
from fastgw.admission.admit import Admit
from fastgw.admission.failures import Failures
from fastgw.admission.rules import Rules
from fastgw.auth.authenticate import Authenticate, Sources
from fastgw.cache.cupboard import Cupboard
from fastgw.cache.key import identity_scope
from fastgw.cors import Cors
from fastgw.endpoints import table
from fastgw.endpoints.access import Access
from fastgw.endpoints.cache import CachePage
from fastgw.endpoints.config import ConfigPage
from fastgw.endpoints.detailed import Detailed
from fastgw.endpoints.health import Health, RedisState
from fastgw.endpoints.metrics import MetricsPage
from fastgw.endpoints.overview import Overview
from fastgw.endpoints.plugins import Plugins
from fastgw.endpoints.resources import resident_mb
from fastgw.endpoints.table import Pages
from fastgw.endpoints.ui import UiPage
from fastgw.forwarding.deliver import Deliver, Limits
from fastgw.forwarding.disconnect import Watch
from fastgw.forwarding.leases import RENEW_EVERY_S, Leases
from fastgw.forwarding.shed import Shed
from fastgw.forwarding.websocket import Tunnel
from fastgw.gateway import Gateway
from fastgw.idempotency.claim import Claim
from fastgw.periodic import Periodic
from fastgw.protocol.forwarded import TrustedProxies
from fastgw.routing.findings import Findings
from fastgw.routing.fleet import Fleet
from fastgw.settings.live import REFRESH_S, Live
from fastgw.store.document import Document
from fastgw.store.errors import StoreDown
from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.topology import Topology
from fastgw.telemetry import families, gauges
from fastgw.telemetry.exposition import expose
from fastgw.telemetry.ledger import Ledger
from fastgw.telemetry.station import Station
from fastgw.workers.listing import PATH, Listing
from fastgw.workers.parse import by_region, totals
from fastgw.workers.registry import SCAN_EVERY_S, Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from fastgw.background import Drain
    from fastgw.gateway import Step
    from fastgw.settings.load import Loaded
    from fastgw.settings.model import Settings
    from fastgw.telemetry.gauges import Value
    from fastgw.telemetry.writer import LogWriter

HASHES_EVERY_S = 2.0
"""How often the file of accepted hashes is looked at."""

SESSIONS_EVERY_S = 1.0
"""How often what is known of credentials is written."""

GIVE_BACK_EVERY_S = 0.5
"""How often the cache's leases whose replies were lost are released; until then others wait for nobody."""


class Shared:
    """What the processes of a host have in common. To be made before they are forked."""

    def __init__(self, processes: int) -> None:
        """processes: how many there are at a time, but for reloads."""
        self.findings = Findings()
        self.ledger = Ledger(processes)


class House:
    """The parts of one process, wired. To be opened inside the running loop."""

    def __init__(
        self,
        loaded: Loaded,
        drain: Drain,
        embedded_url: str = "",
        shared: Shared | None = None,
        writer: LogWriter | None = None,
    ) -> None:
        """drain: whether the process is on its way out. embedded_url: of the embedded Valkey, without a REDIS_URL.

        shared: by the processes of the host; without it this process checks and counts for itself. writer: of log
        lines; without it there is no access log.
        """
        self._settings = settings = loaded.settings
        self._open = AsyncExitStack()
        self._shared = shared or Shared(1)
        self._station = Station(settings, self._shared.ledger, writer)
        self._open.push_async_callback(self._station.close)
        self._holder = os.urandom(6).hex().encode()  # this process's name in the fleet
        self._topology = Topology(
            settings.redis_url or embedded_url, settings.redis_password.get_secret_value() or None, settings.redis_db
        )
        self._is_embedded = not settings.redis_url
        self._store = Store(Keys(settings.redis_key_prefix), self._topology)
        self._open.push_async_callback(self._store.close)
        self._fleet = Fleet(settings, None if shared is None else shared.findings)
        self._fleet.checks.is_leaving = lambda: drain.is_draining
        self._open.push_async_callback(self._fleet.close)
        self._backends, choose = self._fleet.backends, self._fleet.choose
        self.watch = Watch()
        self._open.callback(self.watch.close)

        self._cors = self._made_cors(settings)
        meet = None if self._cors is None else self._cors.meet
        self._accept = Accept(TrustedProxies(settings.trusted_proxies), settings.max_body_bytes, meet)
        self._bound_load(settings)
        leases = self._leases if self._leases.is_on else None
        self._deliver = Deliver(choose, self.watch, _limits(settings), leases, self._shed)
        self._tunnel = Tunnel(choose, _handshake_s(settings), self._fleet.tls)
        self.gateway = Gateway(self._accept, self._deliver, self._tunnel, self._station.observe)
        self._make_steps(settings)
        where = self._store.keys.config
        self._live = Live(loaded, Document(self._store, where), StoreDown, key=where.decode())
        self._live.subscribe(self._apply)
        self.pages = self._own_pages(drain)
        self._apply(settings)

    def _made_cors(self, settings: Settings) -> Cors | None:
        """The gateway's say in CORS; None: it has none, all is left to the backends."""
        if not settings.cors_origin:
            return None
        return Cors(settings.cors_origin, settings.cors_methods, lambda: [b.has_cors for b in self._backends])

    def _bound_load(self, settings: Settings) -> None:
        """What bounds the requests under way."""
        of_refusal = None if self._cors is None else self._cors.of_refusal
        self.shed = self._shed = Shed(self._accept.name, of_refusal) if settings.overload_protection else None
        if self._shed is not None:
            self._open.callback(self._shed.close)
        per_identity, per_backend = settings.concurrency_limit_per_identity, settings.concurrency_limit_per_backend
        self._leases = Leases(self._store, self._holder, per_identity, per_backend)

    def _make_steps(self, settings: Settings) -> None:
        """What may answer instead of a backend."""
        self._authenticate = self._authentication(settings)
        self._admit = Admit(self._store, settings.gateway_workers)
        self._cupboard = Cupboard(self._store, self._topology, self._admit.look_up, self._deliver, self._holder)
        self._cupboard.shelf.is_by_origin = lambda: self._cors is None or self._cors.is_backends
        self._open.push_async_callback(self._cupboard.close)
        self._claim = Claim(self._store, self._holder, identity_scope, settings.idempotency_ttl_seconds)
        self._open.push_async_callback(self._claim.close)
        self._registry = Registry(self._store, self._topology, self._holder)
        self._open.push_async_callback(self._registry.close)
        if settings.workers_source != "backend":
            self._cupboard.lookup.own = frozenset({PATH})
        self._listing = Listing(self._registry, settings.workers_source, settings.workers_format)

    async def open(self) -> None:
        """Connect to Redis, take over what was changed at run time, and begin what is done again and again."""
        await self._store.open()
        await self._live.catch_up()
        for name, job, interval_s in self._fleet.jobs:
            self._start(name, job, interval_s)
        self._start("figures", self._station.measure(self._figures).refresh, gauges.REFRESH_S)
        self._start("live settings", self._live.refresh, REFRESH_S)
        self._start("worker list", self._registry.refresh, SCAN_EVERY_S)
        self._start("lost leases", self._cupboard.give_back, GIVE_BACK_EVERY_S)
        self._start("cache sweep", self._cupboard.sweep, self._cupboard.sweep_every_s)
        self._start("idempotency claims", self._claim.renew, self._claim.renew_every_s)
        if self._leases.is_on:
            self._start("concurrency leases", self._leases.renew, RENEW_EVERY_S)
        if self._authenticate is not None:
            self._start("token hashes", self._authenticate.refresh, HASHES_EVERY_S)
            self._start("sessions", self._authenticate.flush, SESSIONS_EVERY_S)

    async def close(self) -> None:
        """Close all parts in reverse order. Requests still under way fail."""
        await self._open.aclose()

    # -- parts ----------------------------------------------------------------------------------------

    def _start(self, name: str, job: Callable[[], Awaitable[None]], interval_s: float) -> None:
        periodic = Periodic(name, job, interval_s)
        periodic.start()
        self._open.push_async_callback(periodic.close)

    def _authentication(self, settings: Settings) -> Authenticate | None:
        """The door of auth/, if anybody is asked who they are."""
        wanted = settings.has_credentials if settings.auth_enabled is None else settings.auth_enabled
        if not wanted:
            return None
        sources = Sources(
            tuple(key.get_secret_value() for key in settings.auth_api_keys),
            tuple(digest.get_secret_value() for digest in settings.auth_token_hashes),
            settings.auth_token_hashes_file,
            settings.auth_verify_url,
            settings.auth_token_salt.get_secret_value(),
            settings.auth_token_format,
        )
        authenticate = Authenticate(sources, self._store, Failures(self._store))
        self._open.push_async_callback(authenticate.close)
        return authenticate

    def _own_pages(self, drain: Drain) -> Pages:
        settings = self._settings
        health = Health(self._backends, self._tell_redis, lambda: drain.is_stopping, monotonic())
        plugins = Plugins(
            (
                self._tell_cors,
                self._tell_auth,
                self._tell_limits,
                self._leases.told,
                self._tell_overload,
                self._cupboard.told,
                self._claim.told,
                self._tell_workers,
                self._tell_forwarding,
            )
        )
        access = Access(settings.admin_allow, settings.admin_token.get_secret_value())
        return Pages(
            access,
            table.Sources(
                health=health,
                detailed=Detailed(health, self._tell_redis, self._backends, plugins, self._tell_workers),
                config=ConfigPage(self._live),
                plugins=plugins,
                cache=CachePage(self._cupboard.purge),
                metrics=MetricsPage(partial(expose, self._shared.ledger)) if settings.metrics_enabled else None,
                ui=UiPage(),
                overview=Overview(self._shared.ledger, health, self._tell_redis, self._backends, self._regions),
            ),
            settings.metrics_path,
        )

    # -- settings that change at run time -------------------------------------------------------------

    def _apply(self, settings: Settings) -> None:
        """Put what can change into force. Requests under way keep what they began with."""
        logging.getLogger("fastgw").setLevel(settings.log_level.upper())
        self._fleet.use(settings)
        self._accept.use(TrustedProxies(settings.trusted_proxies))
        self._deliver.use(_limits(settings))
        self._tunnel.use(_handshake_s(settings))
        rules = None
        if settings.rate_limit_enabled:
            rules = Rules(
                settings.rate_limit_max_requests,
                settings.rate_limit_window_ms,
                [(rule.target, rule.requests, rule.window_ms) for rule in settings.rate_limit_rules],
                by_identity=settings.rate_limit_key == "identity",
            )
        self._admit.use(
            rules,
            settings.rate_limit_on_redis_failure,
            self._cupboard.lookup if settings.cache_enabled else None,
        )
        self._cupboard.use(
            is_on=settings.cache_enabled,
            ttl_s=settings.cache_ttl_seconds,
            max_entries=settings.cache_max_size,
            max_body=settings.cache_max_body,
            routes={r.path.encode(): r.ttl_s or settings.cache_ttl_seconds for r in settings.cache_routes},
        )
        steps: list[Step] = [] if self._cors is None else [self._cors.preflight]
        if self._authenticate is not None:
            steps.append(self._authenticate)
        if rules is not None or settings.cache_enabled:
            steps.append(self._admit)
        if settings.workers_source != "backend":
            steps.append(self._listing)
        if settings.cache_enabled:
            steps.append(self._cupboard.answer)
        if self._shed is not None:
            steps.append(self._shed.gate)
        steps.append(self._claim)
        self.gateway.steps = tuple(steps)

    # -- what the pages tell --------------------------------------------------------------------------

    def _tell_redis(self) -> RedisState:
        store = self._store
        pipelines = store.pipelines
        latencies = [p.latency_ms for p in pipelines if p.latency_ms is not None]
        problems = [pipeline.problem for pipeline in pipelines if pipeline.problem]
        is_up = store.is_up
        return RedisState(
            is_up=is_up,
            latency_ms=max(latencies) if latencies else None,
            problem="" if is_up else (problems[0] if problems else "no connection"),
            mode="embedded" if self._is_embedded else store.mode,
            breaker=", ".join(sorted({pipeline.state for pipeline in pipelines})) or "open",
            address="embedded" if self._is_embedded else self._topology.where,
        )

    def _regions(self) -> list[dict[str, Any]]:
        return by_region(self._registry.seen or [])

    def _figures(self) -> Iterable[Value]:
        """What is so now, and heights of counters that parts keep for themselves."""
        redis = self._tell_redis()
        yield families.REDIS_UP, (), float(bool(redis.is_up))
        if redis.latency_ms is not None:
            yield families.REDIS_LATENCY, (), redis.latency_ms / 1e3
        yield families.ACTIVE, (), float(self.gateway.active)
        if (rss_mb := resident_mb()) is not None:
            yield families.MEMORY, (), rss_mb * 1e6
        for backend in self._backends:
            record = backend.record
            yield families.BACKEND_UP, (backend.label,), float(record.is_in_use and backend.is_healthy is not False)
            yield families.BACKEND_IN_FLIGHT, (backend.label,), float(backend.in_flight)
            yield families.EJECTIONS, (backend.label,), float(record.ejections)
        for why, count in self.shed.refused.items() if self.shed is not None else ():
            yield families.SHED, (why,), float(count)
        for region in self._regions():
            yield families.WORKERS_ONLINE, (region["region"],), float(region["online"])
            yield families.WORKERS_BUSY, (region["region"],), float(region["busy"])

    def _tell_cors(self) -> dict[str, Any]:
        return {"name": "cors", "enabled": False, "state": "off"} if self._cors is None else self._cors.told()

    def _tell_auth(self) -> dict[str, Any]:
        is_on = self._authenticate is not None
        return {"name": "authentication", "enabled": is_on, "state": "active" if is_on else "off"}

    def _tell_limits(self) -> dict[str, Any]:
        is_on = self._admit.is_limiting
        state = "off" if not is_on else "active" if self._store.is_up else "degraded"
        counts = {"rejected": self._admit.rejected, "decided_without_redis": self._admit.without_redis}
        return {"name": "rate-limit", "enabled": is_on, "state": state, **counts}

    def _tell_overload(self) -> dict[str, Any]:
        return {"name": "overload", "enabled": False, "state": "off"} if self._shed is None else self._shed.told()

    def _tell_workers(self) -> dict[str, Any]:
        is_on = self._settings.workers_source != "backend"
        state = "off" if not is_on else "degraded" if self._registry.is_stale else "active"
        return {"name": "workers", "enabled": is_on, "state": state, **totals(self._registry.seen or [])}

    def _tell_forwarding(self) -> dict[str, Any]:
        active = sum(backend.pool.active for backend in self._backends)
        budget = self._deliver.budget
        return {
            "name": "forwarding",
            "enabled": True,
            "state": "active",
            "connections_in_use": active,
            "retries": budget.spent,
            "retries_refused": budget.refused,
        }


def _handshake_s(settings: Settings) -> float:
    """For connecting and the handshake of a WebSocket together."""
    return (settings.fastapi_connect_timeout + settings.fastapi_timeout) / 1e3


def _limits(settings: Settings) -> Limits:
    return Limits(
        timeout_s=settings.fastapi_timeout / 1e3,
        pool_timeout_s=settings.fastapi_pool_timeout / 1e3,
        max_body_bytes=settings.max_body_bytes,
    )
