"""How many requests may begin in this process per second, judged by how late its event loop is. Pure.

A loop that is late by more than BEGIN_S at five looks in a row has more to do than it can: whatever comes waits so long
at every turn, the health page too. From then on so many requests per second are let in as keep the loop late by
TARGET_S: busy all the time, and with next to no queue. A rate and no number in flight: streams that are open cost
nothing here, and requests that begin do.

Two thresholds, as two mistakes are possible. To begin is what harms if it is wrong, so it takes much. Once the process
is known to be full, each millisecond of queue is paid by all who are let in, for nothing.

The rate follows in two ways, at each look. For good: a little more while the loop is in time and somebody was refused,
a little less while it is late. And for this look only: a share less, as what stands in the queue is to be worked off.
One late look is nothing (another process had the core): the better one of two in a row counts. Nor is a loop that is
late with no more than LEAST_PER_LOOK to do: the machine is somebody else's then, and refusing would not help.
"""

from __future__ import annotations

import math
from typing import Final

TICK_S: Final = 0.02
"""Between two looks, while requests come: five times a health page's 50 ms are enough to react in, and cost 0.03 % of a
core."""

BEGIN_S: Final = 0.02
"""Late by so much at LOOKS looks in a row: too much to do. 64 busy connections make a loop 2 ms late, 400 some 15."""

LOOKS: Final = 5

BUSY_S: Final = 0.004
"""Late by so much at most looks: busy enough, if too many wait for the backends as well, to be part of the reason."""

TARGET_S: Final = 0.008
"""The queue that keeps a loop busy between two looks at its sockets, also where it shares its core. A page needs a turn
or two, so it is answered within 50 ms."""

LEAST_PER_LOOK: Final = 64
"""Requests between two looks that are always let in. A loop that is late with no more than these to do is late because
somebody else has the core: refusing would not help. And these alone make no look later than 64 of them take."""

LEAST_RATE: Final = 100.0
"""Below it the rate says nothing more, as LEAST_PER_LOOK are more; it only would have to be found again."""

FIRST_CUT: Final = 0.7
"""Of what came through at the five looks that were late: who waits already is still to be served."""

GAIN: Final = 0.03
"""What a look that is late by twice the target takes from the rate: in a second it finds the quarter."""

GROWTH: Final = 0.06
"""What a look in time adds, where somebody was refused: in half a second the fourfold. More than GAIN, as a core that
somebody else had for a moment is given back at once."""

SHARE: Final = 0.3
"""What such a look adds to, or takes from, the grant until the next one."""

WORST: Final = -2.0
"""A look that is later than thrice the target tells no more than that."""

CALM_S: Final = 10.0
"""Without a refusal for so long, there is nothing to be limited."""

FORGET: Final = 0.05
"""A look's weight in the mean: about a second's looks count."""

UNLIMITED: Final = 1 << 60
BURST_S: Final = 0.02
"""What was not used of the rate is kept for so long: a burst after a pause is no overload."""


class Lag:
    """The looks of one process, and what follows from them. Times are seconds of one clock."""

    __slots__ = (
        "_full",
        "_granted",
        "_lags",
        "_last",
        "_let_in",
        "_looks",
        "_period",
        "_refusal_at",
        "left",
        "let_in",
        "rate",
    )

    def __init__(self, now: float = 0.0) -> None:
        self.rate = math.inf
        """Requests per second that may begin."""
        self.left = UNLIMITED
        """Of these, how many may before the next look. Callers count it down; below 0 they refuse."""
        self.let_in = 0.0
        """How many of them come through between two looks, about: a mean over the last second."""
        self._granted = UNLIMITED
        self._refusal_at = now
        self._last = now
        self._lags = [0.0] * LOOKS
        self._looks = self._let_in = self._full = 0
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

    @property
    def usual_s(self) -> float:
        """How late most of the last looks were, at least."""
        return sorted(self._lags)[LOOKS // 2]

    def wake(self, now: float) -> None:
        """Looks begin anew after a pause in which nothing came; one has come now."""
        self._last = now
        self._grant(TICK_S)

    def look(self, now: float, due: float, *, is_crowded: bool = False) -> int:
        """The timer has rung. due: when it was to ring. Returns how many requests have come since the last look.

        is_crowded: some of those that were let in since were refused later, as too many wait for the backends.
        """
        elapsed = max(now - self._last, 1e-6)
        self._last = now
        late = max(0.0, now - due)
        standing = min(late, self.last_s)
        self._lags[self._looks % LOOKS] = late
        self._looks += 1
        came = self._granted - self.left
        let_in = self._granted - max(self.left, 0)
        self.let_in += (let_in - self.let_in) * FORGET
        share = 1.0
        if self.rate == math.inf:
            self._let_in += let_in
            self._period += elapsed
            self._full = self._full + 1 if let_in > LEAST_PER_LOOK else 0
            if (is_crowded and self._full and self.usual_s > BUSY_S) or (
                self._full >= LOOKS and min(self._lags) > BEGIN_S
            ):
                self._begin(now)
            elif self._looks % LOOKS == 0:
                self._let_in = 0
                self._period = 0.0
        else:
            is_refusing = self.left < 0
            if is_refusing:
                self._refusal_at = now
            error = max(WORST, (TARGET_S - standing) / TARGET_S)
            share += SHARE * error
            if error < 0 or is_refusing:
                self.rate = max(LEAST_RATE, self.rate * (1 + (GAIN if error < 0 else GROWTH) * error))
            elif now - self._refusal_at > CALM_S:
                self.rate = math.inf
        self._grant(elapsed * share)
        return came

    def _grant(self, elapsed: float) -> None:
        if self.rate == math.inf:
            self.left = UNLIMITED
        else:
            kept = min(max(self.left, 0), self.rate * BURST_S)
            self.left = int(max(kept + self.rate * elapsed, LEAST_PER_LOOK))
        self._granted = self.left

    def _begin(self, now: float) -> None:
        self.rate = max(LEAST_RATE, self._let_in / self._period * FIRST_CUT)
        self.left = 0
        self._refusal_at = now
        self._let_in = self._full = 0
        self._period = 0.0
