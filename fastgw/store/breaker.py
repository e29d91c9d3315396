"""When may Redis be asked? Pure: told what happened and when, it says what to do.

    CLOSED    connected: calls go out
    OPEN      not connected: calls fail at once, nothing waits; a probe follows after a pause
    PROBING   a new connection is being tried, still without calls

Pauses double from FIRST_PAUSE_S to LAST_PAUSE_S and are spread by half, so that many processes do not come back in one
moment. A connection counts as proof of health only once it has lasted STEADY_S: a server that takes connections and
then hangs does not have every probe followed by a fresh crowd of waiting requests.
"""

from __future__ import annotations

from enum import IntEnum
from random import Random
from typing import Final

FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0
"""Recovery is noticed within a second and a half, and a dead server sees one knock a second from each process."""

STEADY_S: Final = 2.0


class State(IntEnum):
    """Where a breaker stands."""

    CLOSED = 0
    OPEN = 1
    PROBING = 2


MOVES: Final = {
    State.OPEN: frozenset({State.PROBING}),
    State.PROBING: frozenset({State.CLOSED, State.OPEN}),
    State.CLOSED: frozenset({State.OPEN}),
}


class Breaker:
    """The breaker of one connection. It begins OPEN, as nothing is connected yet. Times are monotonic seconds."""

    def __init__(self, spread: Random | None = None) -> None:
        """spread: where the jitter comes from."""
        self.state = State.OPEN
        self._failures = 0
        self._closed_at = 0.0
        self._random = spread or Random()  # noqa: S311 - spreads load, hides nothing

    def __repr__(self) -> str:
        return f"<Breaker {self.state.name} failures={self._failures}>"

    def probe(self) -> None:
        """A connection is tried."""
        self._move_to(State.PROBING)

    def succeeded(self, now: float) -> None:
        """The probe was answered."""
        self._move_to(State.CLOSED)
        self._closed_at = now

    def failed(self, now: float) -> float:
        """The probe failed, or the connection was lost. Returns the seconds until the next probe."""
        if self.state is State.CLOSED and now - self._closed_at >= STEADY_S:
            self._failures = 0
        self._move_to(State.OPEN)
        pause: float = min(FIRST_PAUSE_S * 2**self._failures, LAST_PAUSE_S)
        self._failures = min(self._failures + 1, 16)  # 2**16 first pauses are past any bound
        return pause * self._random.uniform(0.5, 1.0)

    def _move_to(self, state: State) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a breaker can't go from {self.state.name} to {state.name}")
        self.state = state
