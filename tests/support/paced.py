"""The recording backend at a pace: each answer but the health page's takes its time, without using a core."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.app import app as recording

FAST_S = 0.03
SLOW_S = 10 * FAST_S


async def fast(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await after(FAST_S, scope, receive, send)


async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await after(SLOW_S, scope, receive, send)


async def after(seconds: float, scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] != "/health":
        await asyncio.sleep(seconds)
    await recording(scope, receive, send)
