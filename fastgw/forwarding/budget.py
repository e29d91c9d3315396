"""How many requests may be sent a second time: a share of all, so that retries never become a load of their own. Pure.

Only what may have reached a backend is counted. A request that was refused costs the backends nothing.
"""

from __future__ import annotations

from typing import Final

RETRY_SHARE: Final = 0.2
"""Of the requests of a window: backends that fail half of all requests get a fifth more, not twice as many."""

RETRIES_AT_LEAST: Final = 10
"""In a window, whatever the share: a process with little to do would otherwise have none."""

WINDOW_S: Final = 10.0
"""Seconds that are looked at: longer than a backend takes to be ejected, shorter than it takes to forget a crowd."""


class Budget:
    """The requests and retries of the last window, of one process. Times are monotonic seconds.

    Two counters, for the window that runs and the one before it; of the latter counts what still lies within the
    last WINDOW_S seconds if it was spread evenly.
    """

    __slots__ = ("_before", "_retries", "refused", "requests", "spent", "until")

    def __init__(self) -> None:
        self.requests = 0
        """In the window that runs: whoever delivers counts here, and calls `turn` once `until` has passed."""
        self.until = 0.0
        """When the window that runs is over."""
        self.spent = 0
        """Retries so far, ever."""
        self.refused = 0
        """Retries that were wanted and not given, ever."""
        self._retries = 0
        self._before = (0, 0)

    def __repr__(self) -> str:
        return f"<Budget requests={self.requests} retries={self._retries} spent={self.spent} refused={self.refused}>"

    def turn(self, now: float) -> None:
        """Begin a window; the one that is over becomes the one before, unless it lies too far back."""
        was_just_now = now < self.until + WINDOW_S
        self._before = (self.requests, self._retries) if was_just_now else (0, 0)
        self.requests = self._retries = 0
        self.until = now + WINDOW_S

    def take(self, now: float) -> bool:
        """Whether one more may be sent again; if so, it is counted."""
        if now >= self.until:
            self.turn(now)
        share_before = (self.until - now) / WINDOW_S
        requests = self.requests + self._before[0] * share_before
        retries = self._retries + self._before[1] * share_before
        if retries + 1 > requests * RETRY_SHARE + RETRIES_AT_LEAST:
            self.refused += 1
            return False
        self._retries += 1
        self.spent += 1
        return True
