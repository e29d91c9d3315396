"""How slow is each backend, beside the others? Pure but for the fields of Backend that it keeps.

Counting requests in flight alone is not enough: of three backends that hold equally many, one that is ten times slower
still answers one request in 21, which is far above a hundredth and so decides the p99. So each answer's time to the
head moves the backend's `pace_s`, a geometric mean: a job that is waited for a minute counts for little, while ten
times slower is ten times slower whatever the mix of requests. Who needs SLOW_RATIO times as long as the fastest is
slow, and each request on it counts that many times; the others are alike, their loads the plain numbers of requests.

Who is avoided shows nothing new: its slowness fades until it is asked again, and is back with the next slow answer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastgw.routing.backend import Backend

GAIN: Final = 1 / 16
"""Share of the newest answer in the mean: one of a minute among those of 5 ms moves it by 1.8."""

GAIN_AFTER_QUIET: Final = 0.5
"""The same for the first answer after a while without any: what was known is old."""

SLOW_RATIO: Final = 2.0
"""Below this, differences are noise: equal servers with mixed requests differ by a third at times."""

NOISE_S: Final = 0.002
"""A smaller difference makes nobody slow: among answers of a millisecond it is a hiccup of the machine."""

MAX_RATIO: Final = 32.0
"""Slower than that is not told apart, so that it fades within a quarter of a minute."""

FADE_EVERY_S: Final = 1.0

FADE: Final = 0.9
"""Power of the ratio at each fading: 10 times slower is forgotten after 12 s. One slow answer in that time is less
than a hundredth from 9 requests a second on."""


class Paces:
    """The paces of all backends of one process."""

    __slots__ = ("_fastest_s",)

    def __init__(self) -> None:
        self._fastest_s = math.inf

    def __repr__(self) -> str:
        return f"<Paces fastest={self._fastest_s * 1e3:.1f} ms>"

    def note(self, backend: Backend, seconds: float) -> None:
        """An answer's head has come after `seconds`, over 0."""
        pace_s = backend.pace_s
        if pace_s:
            gain = GAIN if backend.quiet < 2 else GAIN_AFTER_QUIET
            pace_s *= (seconds / pace_s) ** gain
        else:
            pace_s = seconds
        backend.pace_s = pace_s
        backend.quiet = 0
        self._fastest_s = min(self._fastest_s, pace_s)
        weigh(backend, self._ratio(pace_s))

    def fade(self, backends: Iterable[Backend]) -> None:
        """To be called every FADE_EVERY_S: who was not heard of since is thought to be a little faster than before."""
        for backend in backends:
            backend.quiet += 1
        self.renew(backends)

    def renew(self, backends: Iterable[Backend]) -> None:
        """Weigh all anew: their weights, or who they are, have changed."""
        self._fastest_s = min((b.pace_s for b in backends if b.pace_s), default=math.inf)
        for backend in backends:
            ratio = min(self._ratio(backend.pace_s), MAX_RATIO)
            if backend.quiet > 1:
                ratio **= FADE ** (backend.quiet - 1)
            weigh(backend, ratio)

    def _ratio(self, pace_s: float) -> float:
        """Times of the fastest's pace; 1 if the difference is noise."""
        fastest_s = self._fastest_s
        return pace_s / fastest_s if pace_s > fastest_s + NOISE_S else 1.0


def weigh(backend: Backend, ratio: float) -> None:
    """Set what its requests count. ratio: times of the fastest's pace; 0 while unknown."""
    if ratio < SLOW_RATIO:
        backend.idle_load = 0.0
        backend.request_load = 1 / backend.effective_weight
    else:
        backend.idle_load = backend.request_load = ratio / backend.effective_weight
