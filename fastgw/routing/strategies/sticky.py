"""The same backend for the same value of a request field, in every process and on every node, without a table.

Rendezvous hashing with weights (Thaler and Ravishankar 1998; Mosharaf's form -w / ln h): each pair of value and backend
has a score, the highest is chosen. When a backend is away, only its own values move, spread over the others, and they
come back with it: gradually, as its weight grows during slow start. Requests without the field take turns.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar, Final

from fastgw.routing.strategies.round_robin import next_in_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.exchange import Exchange
    from fastgw.routing.backend import Backend

MAX_REMEMBERED: Final = 4096
"""Values whose backend is remembered, about 200 bytes each; a score costs 1 us per backend, a look 0.1."""

MAX_REMEMBERED_BYTES: Final = 128
"""Of a value that is remembered: session ids are shorter, and strangers shall not fill the memory."""

_SPAN: Final = 1 << 53
"""What a float holds exactly."""


class Sticky:
    """Rendezvous hashing on a request field."""

    minds_pace: ClassVar[bool] = False

    def __init__(self, header: str) -> None:
        """header: name of the field, in any case."""
        self._name = header.lower().encode()
        self._of: Sequence[Backend] = ()  # the candidates for which _known holds
        self._known: dict[bytes, Backend] = {}

    def choose(self, candidates: Sequence[Backend], x: Exchange) -> Backend:
        """See strategies.Strategy."""
        name = self._name
        for key, value in x.headers:
            if key == name and value:
                break
        else:
            return next_in_turn(candidates, x)
        if candidates is not self._of:
            self._of = candidates
            self._known = {}
        backend = self._known.get(value)
        if backend is None:
            backend = max(candidates, key=lambda one: score(value, one))
            if len(value) <= MAX_REMEMBERED_BYTES:
                if len(self._known) >= MAX_REMEMBERED:
                    self._known.clear()
                self._known[value] = backend
        return backend


def score(value: bytes, backend: Backend) -> float:
    """How much a value is at home on a backend; higher is more."""
    digest = blake2b(value, digest_size=8, key=blake2b(backend.url.encode(), digest_size=16).digest()).digest()
    fraction = ((int.from_bytes(digest) >> 11) + 0.5) / _SPAN  # between 0 and 1, never either
    return -backend.effective_weight / math.log(fraction)
