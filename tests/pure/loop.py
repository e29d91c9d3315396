"""Runs a test that is a coroutine, on the loop that fastgw runs on; with real servers on asyncio's own.

uvloop's close() waits for ever, deaf to signals, if a connection of redis-py was given up while it was being made. A
worker of fastgw never closes its loop: it ends.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PURE = "/tests/pure/"

SECONDS = 10.0
"""No test here waits for anything; one that does is wrong."""


def in_loop(test: Callable[..., Coroutine[Any, Any, None]], seconds: float = SECONDS) -> Callable[..., None]:
    factory = uvloop.new_event_loop if PURE in test.__code__.co_filename else asyncio.new_event_loop

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(seconds):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return run


def in_loop_for(seconds: float) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """The same for a test that waits for servers."""
    return functools.partial(in_loop, seconds=seconds)
