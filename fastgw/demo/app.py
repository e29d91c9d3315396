"""The sample server of the platform: `python -m fastgw.demo.app --port 8000`.

An honest copy of the API in memory; nothing outlives the process. One process: see book.py.
"""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from html import escape
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

from fastgw.demo import jobs, streams, workers
from fastgw.demo.book import PlatformError
from fastgw.demo.regions import REGIONS
from fastgw.demo.state import Here, Platform

STOP_TIMEOUT_S: Final = 2
"""What requests in flight are given when the server is told to stop."""

_EXPIRE_EVERY_S: Final = 1.0


def build() -> FastAPI:
    """Build the application with an empty platform."""
    app = FastAPI(title="Distributed GPU inference (sample)", version="1.0.0", lifespan=_lifespan)
    app.state.platform = Platform()
    for router in (jobs.router, workers.router, streams.router):
        app.include_router(router)
    app.add_api_route("/health", health, tags=["platform"])
    app.add_api_route("/regions", regions, tags=["platform"])
    app.add_api_route("/admin", admin, response_class=HTMLResponse, include_in_schema=False)
    app.add_exception_handler(PlatformError, _as_answer)
    return app


async def health() -> dict[str, str]:
    """Tell that the server answers."""
    return {"status": "healthy", "service": "distributed-gpu-inference", "version": "1.0.0"}


async def regions(platform: Here) -> list[dict[str, Any]]:
    """List the regions with their workers."""
    online = platform.crew.online()
    codes = REGIONS | {code: code for code in online if code not in REGIONS}
    return [{"code": code, "name": name, "workers_online": online.get(code, 0)} for code, name in codes.items()]


async def admin(platform: Here) -> str:
    """Show jobs and workers on a page."""
    counts = "".join(f"<tr><td>{state}<td>{count}" for state, count in platform.book.counts().items())
    crew = "".join(
        f"<tr><td>{escape(w.worker_id)}<td>{escape(w.region)}<td>{escape(w.status)}<td>{w.jobs_completed}"
        for w in platform.crew.everyone()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Platform</title><h1>Platform</h1>"
        f"<h2>Jobs</h2><table>{counts}</table>"
        f"<h2>Workers</h2><table><tr><th>id<th>region<th>status<th>jobs done{crew}</table></html>"
    )


async def _as_answer(_request: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, PlatformError) else 500
    return JSONResponse({"detail": str(error)}, status)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    sweeper = asyncio.create_task(_expire_jobs(app.state.platform))
    try:
        yield
    finally:
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper


async def _expire_jobs(platform: Platform) -> None:
    while True:
        await asyncio.sleep(_EXPIRE_EVERY_S)
        platform.book.expire()


class SampleServer(uvicorn.Server):
    """A uvicorn server that ends its event streams when it is told to stop; they would hold it up otherwise."""

    def __init__(self, config: uvicorn.Config, platform: Platform) -> None:
        super().__init__(config)
        self._platform = platform

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs as a signal handler, between two bytecodes of the loop's thread."""
        super().handle_exit(sig, frame)
        with contextlib.suppress(RuntimeError):  # the loop does not run yet, or no longer
            asyncio.get_running_loop().call_soon_threadsafe(self._platform.hub.close)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m fastgw.demo.app", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    app = build()
    config = uvicorn.Config(
        app,
        host=options.host,
        port=options.port,
        ws="websockets-sansio",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    SampleServer(config, app.state.platform).run()


if __name__ == "__main__":
    main()
