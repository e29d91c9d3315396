"""Brute force: how many wrong credentials may come from one address. Counted like requests, exactly, by all processes.

An address over the limit is blocked for as long as its oldest failure stays in the window. Wrong credentials that come
while it is blocked are not looked at, hence not counted: guessing goes on at MAX_FAILURES a window, at the most.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from fastgw.admission.call import SCRIPT, TOO_LATE, limit_call, limit_tail
from fastgw.admission.fallback import LocalWindows
from fastgw.admission.refused import Refused
from fastgw.admission.window import seconds_of
from fastgw.store.errors import StoreError

if TYPE_CHECKING:
    from fastgw.store.hot import Store

MAX_FAILURES: Final = 20
WINDOW_S: Final = 60.0
"""A person mistypes a few times, a deployment with an old key retries; guessing 128 bits at 20 a minute is hopeless."""

_TAIL: Final = limit_tail(MAX_FAILURES, int(WINDOW_S * 1e6))


class Failures:
    """Wrong credentials by address."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refused = Refused()
        self._local = LocalWindows(1)

    def blocked(self, address: str) -> int | None:
        """Seconds for which the address is blocked; None if it is not. Asks nobody."""
        if not self._refused:
            return None
        wait_s = self._refused.wait_s(address.encode(), monotonic())
        return seconds_of(int(wait_s * 1e6)) if wait_s else None

    async def note(self, address: str) -> int | None:
        """Count a failure. Seconds to wait if the address is over the limit by it, else None."""
        name, sent = address.encode(), monotonic()
        key = self._store.keys.ratelimit(b"auth:" + name)
        try:
            link = self._store.link_of(key)
            admitted, _, wait_us, *_ = await link.send(limit_call(key, link.not_after(), _TAIL), SCRIPT)
        except StoreError:
            admitted = TOO_LATE
        if admitted == TOO_LATE:
            ok, _, wait_s = self._local.admit(name, MAX_FAILURES, WINDOW_S, sent)
            admitted, wait_us = int(ok), int(wait_s * 1e6)
        if admitted:
            return None
        self._refused.note(name, sent + wait_us / 1e6)
        return seconds_of(wait_us)
