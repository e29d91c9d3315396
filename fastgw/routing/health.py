"""Active checks: does each backend answer its health page? One process of a host asks, all hear what it found.

A healthy backend that refuses connections is unhealthy at once; one that answers late, or with a server error, only if
it does so twice in a row. What is not well is asked each RECHECK_S, so that its return is noticed soon.

Where the gateway has a say in CORS, a backend that answers is also asked whether it has a policy of its own (cors.py).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from random import Random
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final

import httpx

from fastgw.routing.findings import Finding

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from fastgw.routing.backend import Backend
    from fastgw.routing.findings import Findings

CHECK_TIMEOUT_S: Final = 2.0
"""A health page that takes longer is no sign of health; below the shortest sensible interval."""

RECHECK_S: Final = 1.0
"""Between checks of a backend that is not well, if the interval is not shorter still."""

TICK_S: Final = 0.2
"""How often a process looks for news, and whether it is the one to ask. Costs it 10 us."""

JITTER: Final = 0.1
"""Share of the interval by which a check comes early or late, so that the hosts of a fleet do not knock together."""

MAX_PAGE: Final = 64 * 1024
"""Bytes of a health page that are read: its end shows that the backend can finish an answer, but some never end."""

PREFLIGHT: Final = {"Origin": "https://fastgw.invalid", "Access-Control-Request-Method": "POST"}
"""As a browser would ask for a page of an origin that nobody has (RFC 2606). Who has a policy says so in the refusal
too: Starlette's CORSMiddleware names its methods in a 400."""

PREFLIGHT_TIMEOUT_S: Final = 0.5
"""The check's own finding waits for it. Nobody needs longer to say what is allowed; who does is asked again."""

MAX_PROBLEM: Final = 160
"""Characters of a problem that are kept: it is shown on pages and logged."""

log = logging.getLogger("fastgw.health")


class HealthChecks:
    """Asks the backends if it is this process's turn, and notes what was found on each Backend."""

    def __init__(
        self,
        backends: Callable[[], Sequence[Backend]],
        path: str,
        tls: ssl.SSLContext | None,
        interval_s: float,
        findings: Findings,
        preflight_path: str = "",
    ) -> None:
        """backends: those of now. path: of the health page, with its leading slash. tls: for https backends.

        preflight_path: where to ask for a CORS policy; "": nowhere.
        """
        self._preflight_path = preflight_path
        self._backends = backends
        self._path = path
        self._interval_s = interval_s
        self._findings = findings
        self._known: dict[str, Finding] = {}  # by the page asked for
        self._heard: dict[Backend, float] = {}  # when the check was begun that a backend was last told of
        self._first_seen: dict[Backend, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._spread = Random().uniform  # noqa: S311 - spreads load, hides nothing
        # trust_env off: a proxy for the outside must not stand between the gateway and its backends
        self._client = httpx.AsyncClient(
            timeout=CHECK_TIMEOUT_S,
            trust_env=False,
            verify=tls if tls is not None else False,  # no https backend, nothing to verify: saves loading CAs
            limits=httpx.Limits(max_keepalive_connections=0),  # a check shows whether a new connection is taken
        )
        self.tell: Callable[[Backend, bool, float], None] = lambda *_: None
        """Called with each finding on a backend: is it healthy, and since when is that known (begin of the check)."""
        self.is_leaving: Callable[[], bool] = lambda: False
        """Whether this process ends soon: then another one is to ask."""

    @property
    def tick_s(self) -> float:
        """How often to call `run`."""
        return min(TICK_S, self._interval_s / 2)

    async def run(self) -> None:
        """Hear what was found, and begin the checks that are due, if they are ours to make. Does not wait for them."""
        is_ours = self._claim()
        backends = self._backends()
        self._read(backends)
        now = monotonic()
        for backend in backends:
            self._give(backend)
            due = self._due(backend, now)
            if now >= due if is_ours else now >= due + self._patience_s:
                self._begin(backend.url + self._path)

    async def close(self) -> None:
        """End the checks under way, and let another process ask."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._client.aclose()
        self._findings.close()

    # -- whose turn, and when -------------------------------------------------------------------------

    def _claim(self) -> bool:
        if self.is_leaving():
            if not self._asking:  # else another would ask what is being asked
                self._findings.give_up()
            return False
        return self._findings.claim()

    @property
    def _patience_s(self) -> float:
        """A check that is overdue for so long is forgotten: by one who hangs, or has other settings. We ask then."""
        return 2 * self._interval_s + 2 * CHECK_TIMEOUT_S

    def _due(self, backend: Backend, now: float) -> float:
        known = self._known.get(backend.url + self._path)
        if known is None:
            return self._first_seen.setdefault(backend, now)
        return min(known.next_at, known.asked_at + self._interval_s * (1 + JITTER))  # another may have had a longer one

    # -- hearing --------------------------------------------------------------------------------------

    def _read(self, backends: Sequence[Backend]) -> None:
        news = self._findings.read()
        if news:  # what it holds of backends that are not ours yet is kept
            wanted = {finding.url for finding in news} | {backend.url + self._path for backend in backends}
            self._known = {url: known for url, known in self._known.items() if url in wanted}
        for finding in news:
            self._learn(finding)
        if len(self._heard) > len(backends) or len(self._first_seen) > len(backends):
            self._heard = {backend: self._heard[backend] for backend in backends if backend in self._heard}
            self._first_seen = {b: self._first_seen[b] for b in backends if b in self._first_seen}

    def _learn(self, finding: Finding) -> None:
        known = self._known.get(finding.url)
        if known is None or finding.asked_at > known.asked_at:
            self._known[finding.url] = finding

    def _give(self, backend: Backend) -> None:
        """Tell a backend what was last found, if it does not know."""
        known = self._known.get(backend.url + self._path)
        if known is None or known.asked_at <= self._heard.get(backend, 0.0):
            return
        self._heard[backend] = known.asked_at
        backend.is_healthy = known.is_healthy
        backend.latency_ms = known.latency_ms
        backend.problem = known.problem
        backend.has_cors = known.has_cors
        self.tell(backend, known.is_healthy, known.asked_at)

    # -- asking ---------------------------------------------------------------------------------------

    def _begin(self, url: str) -> None:
        if url in self._asking:
            return
        task = self._asking[url] = asyncio.create_task(self._check(url), name=f"check of {url}")
        task.add_done_callback(lambda _: self._asking.pop(url, None))

    async def _check(self, url: str) -> None:
        asked_at, begun = monotonic(), perf_counter()
        latency_ms, problem, is_refused, has_cors = None, "", False, None
        try:
            status = await self._status(url)
        except TimeoutError:
            problem = f"no answer within {CHECK_TIMEOUT_S:g} s"
        except httpx.ConnectError as error:
            problem, is_refused = str(error), True
        except (
            Exception
        ) as error:  # whatever a backend can provoke is a finding, and the next one is asked all the same
            problem = str(error) or type(error).__name__
        else:
            latency_ms = round((perf_counter() - begun) * 1e3, 2)
            problem = f"status {status}" if status >= 500 else ""
            if self._preflight_path:
                has_cors = await self._has_cors(url.removesuffix(self._path) + self._preflight_path)
        known = self._known.get(url)
        finding = self._judged(url, asked_at, latency_ms, problem[:MAX_PROBLEM], is_certain=is_refused)
        if has_cors is None and known is not None:
            has_cors = known.has_cors
        finding = replace(finding, has_cors=has_cors)
        self._learn(finding)
        self._log(known, finding)
        ours = (self._known.get(backend.url + self._path) for backend in self._backends())
        if self._findings.claim() and not self._findings.write([finding for finding in ours if finding is not None]):
            log.warning("too many backends to share what is found about them: each process asks for itself")

    async def _status(self, url: str) -> int:
        async with asyncio.timeout(CHECK_TIMEOUT_S), self._client.stream("GET", url) as response:
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
                if size > MAX_PAGE:
                    break
            return response.status_code

    async def _has_cors(self, url: str) -> bool | None:
        """Whether a preflight's answer speaks of CORS; None if there is none."""
        try:
            async with (
                asyncio.timeout(PREFLIGHT_TIMEOUT_S),
                self._client.stream("OPTIONS", url, headers=PREFLIGHT) as answer,
            ):
                if answer.status_code >= 500:
                    return None
                return any(name.startswith("access-control-allow-") for name in answer.headers)
        except Exception as error:  # as with checks: whatever it can provoke
            log.debug("no answer to a preflight at %s: %s", url, error)
            return None

    def _judged(
        self, url: str, asked_at: float, latency_ms: float | None, problem: str, *, is_certain: bool
    ) -> Finding:
        known = self._known.get(url)
        is_first_doubt = known is not None and known.is_healthy and not known.problem and not is_certain
        if problem:
            next_at = monotonic() + min(self._interval_s, RECHECK_S)
        else:
            next_at = asked_at + self._interval_s * self._spread(1 - JITTER, 1 + JITTER)
        return Finding(url, asked_at, next_at, latency_ms, problem, is_healthy=not problem or is_first_doubt)

    def _log(self, before: Finding | None, now: Finding) -> None:
        """Once per change, by the process that asked."""
        where = now.url.removesuffix(self._path)
        if now.is_healthy and before is not None and not before.is_healthy:
            log.info("backend %s is healthy again", where)
        elif not now.is_healthy and (before is None or before.is_healthy):
            log.warning("backend %s is unhealthy: %s", where, now.problem)
        if now.has_cors and (before is None or not before.has_cors):
            log.info("backend %s has a CORS policy of its own: it decides, within CORS_ORIGIN", where)
