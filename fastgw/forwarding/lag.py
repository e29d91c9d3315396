"""How many requests may begin in this process per second, judged by how late its event loop is. Pure.

A loop that is late by more than LAG_TARGET_S at five looks in a row has more to do than it can: whatever comes waits so
long at every turn, the health page too. Then so many requests per second are let in as it has carried, a little less
while it stays late, a tenth more in each period in which it is not, and all again after CALM_S without a refusal. A
rate and no number in flight: streams that are open cost nothing here, and requests that begin do.

One late look is no overload (another process had the core); nor is a loop that is late with less than LEAST_RATE to do:
the machine is somebody else's then, and refusing would not help.
"""

from __future__ import annotations

import math
from typing import Final

TICK_S: Final = 0.02
"""Between two looks, while requests come: five times a health page's 50 ms are enough to react in, and cost 0.03 % of a
core."""

LAG_TARGET_S: Final = 0.02
"""A page needs a turn or two of the loop: so it is answered within 50 ms. At 64 busy connections it is 2 ms late."""

LOOKS: Final = 5
"""Looks in a row that must agree, and the period of a decision."""

LEAST_RATE: Final = 500.0
"""Requests per second that are always let in: 2 % of what a process can forward."""

LEAST_CUT: Final = 0.5
GENTLEST_CUT: Final = 0.95
GROWTH: Final = 1.1

CALM_S: Final = 10.0
"""Without a refusal for so long, there is nothing to be limited."""

UNLIMITED: Final = 1 << 60
BURST_S: Final = 0.1
"""What was not used of the rate is kept for so long: a burst after a pause is no overload."""


class Lag:
    """The looks of one process, and what follows from them. Times are seconds of one clock."""

    __slots__ = (
        "_granted",
        "_lags",
        "_last",
        "_let_in",
        "_looks",
        "_period",
        "_refusal_at",
        "_refused",
        "left",
        "rate",
    )

    def __init__(self, now: float = 0.0) -> None:
        self.rate = math.inf
        """Requests per second that may begin."""
        self.left = UNLIMITED
        """Of these, how many may before the next look. Callers count it down; below 0 they refuse."""
        self._granted = UNLIMITED
        self._refusal_at = now
        self._last = now
        self._lags = [0.0] * LOOKS
        self._looks = self._let_in = self._refused = 0
        self._period = 0.0

    def __repr__(self) -> str:
        return f"<Lag {self.last_s * 1e3:.1f} ms rate={self.rate:.0f}/s>"

    @property
    def last_s(self) -> float:
        """How late the last look was."""
        return self._lags[(self._looks - 1) % LOOKS]

    @property
    def worst_s(self) -> float:
        """How late the latest of the last looks was."""
        return max(self._lags)

    def wake(self, now: float) -> None:
        """Looks begin anew after a pause in which nothing came; one has come now."""
        self._last = now
        self._grant(TICK_S)

    def look(self, now: float, due: float) -> int:
        """The timer has rung. due: when it was to ring. Returns how many requests have come since the last look."""
        elapsed = max(now - self._last, 1e-6)
        self._last = now
        self._lags[self._looks % LOOKS] = max(0.0, now - due)
        self._looks += 1
        came = self._granted - self.left
        self._let_in += self._granted - max(self.left, 0)
        if self.left < 0:
            self._refused -= self.left
            self._refusal_at = now
        self._period += elapsed
        if self._looks % LOOKS == 0:
            self._decide(now)
        self._grant(elapsed)
        return came

    def _grant(self, elapsed: float) -> None:
        if self.rate == math.inf:
            self.left = UNLIMITED
        else:
            kept = min(max(self.left, 0), self.rate * BURST_S)
            self.left = int(kept + self.rate * elapsed) + 1
        self._granted = self.left

    def _decide(self, now: float) -> None:
        standing = min(self._lags)
        carried = self._let_in / self._period
        refused = self._refused
        self._let_in = self._refused = 0
        self._period = 0.0
        if standing > LAG_TARGET_S:
            cut = min(max(math.sqrt(LAG_TARGET_S / standing), LEAST_CUT), GENTLEST_CUT)
            self.rate = max(LEAST_RATE, min(self.rate, carried) * cut)
            self._refusal_at = now
        elif now - self._refusal_at > CALM_S:
            self.rate = math.inf
        elif refused:
            self.rate *= GROWTH
