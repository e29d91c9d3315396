"""Runs a test that is a coroutine, on the loop that fastgw runs on."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SECONDS = 10.0
"""No test here waits for anything; one that does is wrong."""


def in_loop(test: Callable[..., Coroutine[Any, Any, None]], seconds: float = SECONDS) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(seconds):
                await test(*args, **kwargs)

        uvloop.run(bounded())

    return run


def in_loop_for(seconds: float) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., None]]:
    """The same for a test that waits for servers."""
    return functools.partial(in_loop, seconds=seconds)
