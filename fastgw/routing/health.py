"""Active checks: does each backend answer its health page? For now each process asks for itself, and only to tell."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from fastgw.routing.backend import Backend

CHECK_TIMEOUT_S: Final = 2.0
"""A health page that takes longer is no sign of health; below the shortest sensible interval."""

log = logging.getLogger("fastgw.health")


class HealthChecks:
    """Asks every backend in turn and notes what it found on the Backend."""

    def __init__(self, backends: Sequence[Backend], path: str, tls: ssl.SSLContext | None) -> None:
        """path: of the health page, with its leading slash. tls: for https backends."""
        self._backends = backends
        self._path = path
        # trust_env off: a proxy for the outside must not stand between the gateway and its backends
        self._client = httpx.AsyncClient(
            timeout=CHECK_TIMEOUT_S,
            trust_env=False,
            verify=tls if tls is not None else False,  # no https backend, nothing to verify: saves loading CAs
            limits=httpx.Limits(max_keepalive_connections=0),  # a check shows whether a new connection is taken
        )

    async def run(self) -> None:
        """Check all backends once, together. A backend is healthy if it answers below 500 in time."""
        await asyncio.gather(*(self._check(backend) for backend in self._backends))

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def _check(self, backend: Backend) -> None:
        begun = perf_counter()
        try:
            response = await self._client.get(backend.url + self._path)
        except httpx.HTTPError as error:
            self._note(backend, None, str(error) or type(error).__name__)
        else:
            latency_ms = round((perf_counter() - begun) * 1e3, 2)
            problem = f"status {response.status_code}" if response.status_code >= 500 else ""
            self._note(backend, latency_ms, problem)

    def _note(self, backend: Backend, latency_ms: float | None, problem: str) -> None:
        is_healthy = not problem and latency_ms is not None
        if is_healthy != backend.is_healthy and (backend.is_healthy is not None or not is_healthy):
            if is_healthy:
                log.info("backend %s is healthy again", backend.url)
            else:
                log.warning("backend %s is unhealthy: %s", backend.url, problem)
        backend.is_healthy = is_healthy
        backend.latency_ms = latency_ms
        backend.problem = problem
