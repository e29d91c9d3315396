"""Clients that are known to be over their limit: answered without asking Redis, until their window moves.

Exact: a client is noted until the moment at which the oldest request in its window leaves it, counted from before Redis
was asked, so never for too long; requests that were refused are not counted, so nothing can change that moment.
"""

from __future__ import annotations

from typing import Final

MAX_CLIENTS: Final = 65_536
"""About 100 bytes each. A flood from more addresses than that costs a question to Redis for the oldest ones."""


class Refused:
    """Window name -> the monotonic second from which it may be asked about again."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def wait_s(self, name: bytes, now: float) -> float:
        """Seconds for which the client is surely refused; 0.0 if nothing is known."""
        until = self._until.get(name)
        if until is None:
            return 0.0
        if until <= now:
            del self._until[name]
            return 0.0
        return until - now

    def note(self, name: bytes, until: float) -> None:
        """Redis has refused the client. The oldest note gives way when there are too many."""
        if len(self._until) >= MAX_CLIENTS:
            del self._until[next(iter(self._until))]
        self._until.pop(name, None)  # so that the order is that of the notes
        self._until[name] = until

    def clear(self) -> None:
        """Forget all: the limits have changed."""
        self._until.clear()
