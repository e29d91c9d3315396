"""May this request be sent again, and to whom? Pure.

| what is known                                        | another backend left | none left                   |
|------------------------------------------------------|----------------------|-----------------------------|
| the client has left, or has been given a head        | no                   | no                          |
| no time left, or tried too often                     | no                   | no                          |
| nothing sent: refused, no connection in time, full   | another              | no                          |
| nothing sent: the kept-alive connection had closed   | any, anew            | the same, on a new one      |
| sent; known to be safe, its body at hand; lost on a  | another, by budget   | the same, on a new          |
|   kept-alive connection before a byte of the answer  |                      | connection, by budget       |
| sent; known to be safe, its body at hand; lost,      | another, by budget   | no                          |
|   silent or garbage before the head was passed on    |                      |                             |
| sent; anything else: a POST, a GET that hands out a  | no                   | no                          |
|   job, a body that was streamed                      |                      |                             |

A POST may have run though no answer came. That it bears an Idempotency-Key changes nothing here: the backend does not
know the key, so a second sending could run the job twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from fastgw.forwarding.failures import GivenUp
from fastgw.upstream.errors import Aborted, ConnectionLost, UpstreamError

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.forwarding.budget import Budget

MAX_ATTEMPTS: Final = 10
"""Tries of one request, sent or not. The deadline and the budget end most of them earlier; this ends a loop."""

LEAST_TRY_S: Final = 0.01
"""Seconds: with less than this left, no answer can be hoped for."""

SAFE_PATHS: Final = frozenset(
    {
        b"/health",
        b"/regions",
        b"/docs",
        b"/openapi.json",
        b"/admin",
        b"/api/v1/queue/stats",
        b"/api/v1/jobs/stats/queue",
        b"/api/v1/workers",
    }
)
"""GET and HEAD on these have no side effect, nor on those of a job and of a worker's configuration (below). next-job is
not among them: it hands out a job each time it is asked."""

JOB: Final = b"/api/v1/jobs/"
WORKER: Final = b"/api/v1/workers/"
CONFIG: Final = b"/config"

SAFE_METHODS: Final = frozenset({b"GET", b"HEAD"})


class Verdict(IntEnum):
    """What is to be done after a failed try."""

    NO = 0
    """The client is told."""
    AGAIN = 1
    """The connection was at fault, not the backend: any backend, this one too."""
    ELSEWHERE = 2
    """A backend that was not tried."""


@dataclass(frozen=True, slots=True)
class Chances:
    """What a second try would have."""

    others: int
    """Backends that may be asked and were not."""
    time_left_s: float
    """Until the response must have begun."""
    has_body_at_hand: bool
    """There is no body, or all of it is still here."""


def is_known_safe(x: Exchange) -> bool:
    """Whether a request may run twice without harm. 0.1 to 0.3 us: half of what a regular expression takes."""
    if x.method not in SAFE_METHODS:
        return False
    path = x.raw_path
    if path in SAFE_PATHS:
        return True
    if path.startswith(JOB):  # /api/v1/jobs/{id}
        return path.count(b"/") == 4 and len(path) > len(JOB)
    # /api/v1/workers/{id}/config
    return path.endswith(CONFIG) and path.startswith(WORKER) and path.count(b"/") == 5 and b"//" not in path


def may_retry(x: Exchange, error: UpstreamError, chances: Chances, budget: Budget, now: float) -> Verdict:
    """The table above. budget: is taken from, at `now` (monotonic seconds), when the verdict depends on it."""
    if x.client_gone or x.head_sent or isinstance(error, Aborted | GivenUp):
        return Verdict.NO
    if chances.time_left_s < LEAST_TRY_S or x.attempts >= MAX_ATTEMPTS:
        return Verdict.NO
    elsewhere = Verdict.ELSEWHERE if chances.others > 0 else Verdict.NO
    if error.sent == 0:
        return Verdict.AGAIN if error.reused else elsewhere
    if not chances.has_body_at_hand or not is_known_safe(x):
        return Verdict.NO
    verdict = Verdict.AGAIN if elsewhere is Verdict.NO and was_kept_alive(error) else elsewhere
    return verdict if verdict is not Verdict.NO and budget.take(now) else Verdict.NO


def was_kept_alive(error: UpstreamError) -> bool:
    """Whether a server closed a kept-alive connection, as it may at any time (RFC 9112 9.3.1): so it looks at least."""
    return error.reused and not error.answered and isinstance(error, ConnectionLost)
