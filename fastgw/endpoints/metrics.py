"""METRICS_PATH: the figures of all processes, for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastgw.respond import Answer, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.exchange import Exchange


class MetricsPage:
    """Shows them."""

    def __init__(self, expose: Callable[[str], tuple[bytes, str]]) -> None:
        """expose: takes Accept, gives text and content type."""
        self._expose = expose

    async def show(self, x: Exchange) -> None:
        """GET: the text format, or OpenMetrics if Accept names it. Written in a thread: the loop goes on meanwhile."""
        accept = b",".join([value for name, value in x.headers if name == b"accept"]).decode("latin-1")
        text, content_type = await asyncio.to_thread(self._expose, accept)
        await respond(x, Answer(200, text, [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]))
