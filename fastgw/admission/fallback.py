"""Counting without Redis: this process alone, exactly, with its share of the limit. Pure, told the time.

What is counted here is forgotten when Redis is back: its windows hold what it counted itself, and nothing is counted in
both.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_TIMES: Final = 500_000
"""Requests remembered, all clients together: 16 MiB. Beyond it the client seen first is forgotten."""


class LocalWindows:
    """Sliding windows of this process. Times are monotonic seconds."""

    def __init__(self, share: int) -> None:
        """share: of how many processes this is one; each allows its part of a limit, at least one request."""
        self._share = max(1, share)
        self._windows: dict[bytes, deque[float]] = {}
        self._times = 0

    def __len__(self) -> int:
        return len(self._windows)

    def admit(self, name: bytes, requests: int, window_s: float, now: float) -> tuple[bool, int, float]:
        """Count a request: whether it is admitted, requests in the window, seconds until the oldest leaves it."""
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = deque()
        while window and window[0] <= now - window_s:
            window.popleft()
            self._times -= 1
        allowed = max(1, requests // self._share)
        if len(window) >= allowed:
            return False, len(window), window[0] + window_s - now
        window.append(now)
        self._times += 1
        while self._times > MAX_TIMES:
            self._times -= len(self._windows.pop(next(iter(self._windows))))
        return True, len(window), window[0] + window_s - now

    def forget(self, name: bytes) -> None:
        """Redis counts this client again."""
        if self._windows:
            self._times -= len(self._windows.pop(name, ()))

    def clear(self) -> None:
        """Redis counts again."""
        if self._windows:
            self._windows.clear()
            self._times = 0
