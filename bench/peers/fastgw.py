"""fastgw, one worker: forwarding alone, to one backend (`Fastgw`) or three (`FastgwThree`), and with the chain of
spec 4 to 6 (`FastgwChain`).

Metrics, tracing and access log are off in both; `FastgwTold` and `FastgwTraced` have them on without the chain,
`FastgwWhole` with it. `FastgwWith` is one of them with other settings or constants.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from bench.backends.static import OTHERS
from bench.harness import chain
from bench.harness.process import HOST, Command, StartError
from fastgw import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.process import Peer, Place

GIB = 2**30
FORWARDING = {"AUTH_ENABLED": "false", "RATE_LIMIT_ENABLED": "false", "CACHE_ENABLED": "false"}


class Fastgw:
    """`python -m fastgw serve` with the embedded Valkey. Its home holds no .env, so only these settings count."""

    name = "fastgw"

    def version(self) -> str:
        """Fastgw and the libraries that decide on its speed."""
        libraries = ", ".join(f"{library} {version(library)}" for library in ("granian", "httptools", "uvloop"))
        return f"fastgw {__version__}, {libraries}"

    def missing(self) -> str | None:
        """Never: it is this repository."""
        return None

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """Authentication, limits and cache off."""
        return _serve(place, **FORWARDING)


class FastgwTold(Fastgw):
    """Metrics, a JSON line per request, tracing of which nothing is sampled."""

    name = "fastgw_told"
    ratio = "0"

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """The backend, which takes everything, is the collector too."""
        return _serve(place, **FORWARDING, **_telemetry(place, self.ratio))


class FastgwTraced(FastgwTold):
    """The same, every request sampled."""

    name = "fastgw_traced"
    ratio = "1"


class FastgwThree(Fastgw):
    """Three backends instead of one, of the same strength: the static one under three addresses."""

    name = "fastgw_three"

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """As Fastgw; checks and breakers are on in both."""
        urls = [f"http://{host}:{place.backend_port}" for host in (HOST, *OTHERS)]
        return _serve(place, **FORWARDING, FASTAPI_URL=",".join(urls))


class FastgwChain(Fastgw):
    """API key, rate limit and cache lookup for every request, over a Redis that the bench starts."""

    name = "fastgw_chain"

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """Raises StartError without a store."""
        return _serve(place, **_chain(place))


class FastgwWhole(Fastgw):
    """The chain with metrics, access log and trace headers: what spec 11 sets the budget for."""

    name = "fastgw_whole"

    def command(self, home: Path, place: Place) -> Command | None:  # noqa: ARG002 - the interface
        """Raises StartError without a store."""
        return _serve(place, **_chain(place), **_telemetry(place, "0"))


class FastgwWith(Fastgw):
    """Another fastgw with some settings of its own.

    settings: over those of `peer`. constants: `MODULE:NAME=VALUE` of fastgw's code, VALUE a Python literal
    (bench.experiments.patched_serve). open_files: its limit; 0: that of the system.
    """

    def __init__(
        self, peer: Peer, name: str, settings: dict[str, str], constants: tuple[str, ...] = (), open_files: int = 0
    ) -> None:
        self.peer, self.name, self.settings, self.constants = peer, name, settings, constants
        self.open_files = open_files

    def command(self, home: Path, place: Place) -> Command | None:
        """Raises StartError where `peer` does."""
        command = self.peer.command(home, place)
        assert command is not None
        argv = command.argv
        if self.constants or self.open_files:
            limit = (f"open_files={self.open_files}",) if self.open_files else ()
            argv = (sys.executable, "-m", "bench.experiments.patched_serve", *self.constants, *limit)
        return Command(argv, {**command.env, **self.settings})


def _chain(place: Place) -> dict[str, str]:
    """See harness.chain for the numbers."""
    if place.store is None:
        raise StartError("the full chain needs a Redis")
    return {
        "REDIS_URL": place.store.url,
        "AUTH_ENABLED": "true",
        "AUTH_API_KEYS": f"bench:{chain.KEY}",
        "RATE_LIMIT_ENABLED": "true",
        "RATE_LIMIT_MAX_REQUESTS": str(chain.LIMIT),
        "RATE_LIMIT_WINDOW_MS": str(chain.WINDOW_MS),
        "CACHE_ENABLED": "true",
        "CACHE_ROUTES": ",".join(f"{path}={chain.CACHED_SECONDS}" for path in (chain.HIT_200, chain.HIT_5K)),
    }


def _telemetry(place: Place, ratio: str) -> dict[str, str]:
    """ratio: of the requests that are traced."""
    return {
        "METRICS_ENABLED": "true",
        "ACCESS_LOG": "true",
        "LOG_LEVEL": "info",
        "OTEL_ENABLED": "true",
        "OTEL_ZIPKIN_ENDPOINT": f"http://{HOST}:{place.backend_port}/api/v2/spans",
        "OTEL_SAMPLE_RATIO": ratio,
    }


def _serve(place: Place, **settings: str) -> Command:
    """The pool is as large as the event-stream question needs; nginx and Envoy get the same."""
    return Command(
        argv=(sys.executable, "-m", "fastgw", "serve"),
        env={
            "GATEWAY_HOST": HOST,
            "GATEWAY_PORT": str(place.port),
            "GATEWAY_WORKERS": "1",
            "FASTAPI_URL": f"http://{HOST}:{place.backend_port}",
            "FASTAPI_POOL_SIZE": "4096",
            "MAX_BODY_BYTES": str(2 * GIB),
            "REDIS_URL": "",
            "METRICS_ENABLED": "false",
            "OTEL_ENABLED": "false",
            "ACCESS_LOG": "false",
            "LOG_LEVEL": "warning",
            "SHUTDOWN_GRACE_SECONDS": "1",
            **settings,
        },
    )
