"""The choice between backends. In this version: each in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend


class Choose:
    """Picks a backend for an exchange."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = tuple(backends)
        self._only = self._backends[0] if len(self._backends) == 1 else None
        self._next = 0

    def __call__(self, x: Exchange, tried: set[Backend]) -> Backend:  # noqa: ARG002 - strategies look at the exchange
        """A backend that was not tried for this exchange; if all were, the next in turn again."""
        if self._only is not None:
            return self._only
        for _ in self._backends:
            backend = self._backends[self._next % len(self._backends)]
            self._next += 1
            if backend not in tried:
                break
        return backend

    def left(self, tried: set[Backend]) -> int:
        """How many backends have not been tried."""
        return len(self._backends) - len(tried)
