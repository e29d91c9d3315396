"""fastgw: one worker, forwarding alone: authentication, limits, cache, metrics, tracing and access log off."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from bench.harness.process import HOST, Command
from fastgw import __version__

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30


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

    def command(self, home: Path, port: int, backend_port: int) -> Command | None:  # noqa: ARG002 - the interface
        """The pool is as large as the event-stream question needs; nginx and Envoy get the same."""
        return Command(
            argv=(sys.executable, "-m", "fastgw", "serve"),
            env={
                "GATEWAY_HOST": HOST,
                "GATEWAY_PORT": str(port),
                "GATEWAY_WORKERS": "1",
                "FASTAPI_URL": f"http://{HOST}:{backend_port}",
                "FASTAPI_POOL_SIZE": "4096",
                "MAX_BODY_BYTES": str(2 * GIB),
                "REDIS_URL": "",
                "AUTH_ENABLED": "false",
                "RATE_LIMIT_ENABLED": "false",
                "CACHE_ENABLED": "false",
                "METRICS_ENABLED": "false",
                "OTEL_ENABLED": "false",
                "ACCESS_LOG": "false",
                "LOG_LEVEL": "warning",
                "SHUTDOWN_GRACE_SECONDS": "1",
            },
        )
