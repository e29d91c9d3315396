"""May this request be sent again? Pure.

1. Nothing of it reached a backend (pool full, refused, connect timed out, or the connection was found closed):
   always, each backend once.
2. It was lost on a reused connection before a byte of the response, and it is known to be safe: again, as a
   server may close a kept-alive connection at any time (RFC 9112 9.3.1, RFC 9110 9.2.2).
3. Anything else: never. A POST may have run though no answer came; so may a GET that hands out a job.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fastgw.upstream.errors import ConnectionLost, UpstreamError

if TYPE_CHECKING:
    from fastgw.exchange import Exchange

MAX_ATTEMPTS: Final = 3
"""Sendings of one request. Two dead kept-alive connections in a row are already rare: the first retires the rest."""

SAFE_ROUTES: Final = re.compile(
    rb"/health|/regions|/docs|/openapi\.json|/admin"
    rb"|/api/v1/(?:queue/stats|jobs/stats/queue|jobs/[^/]+|workers|workers/[^/]+/config)"
)
"""GET and HEAD on these have no side effect. next-job is not among them: it hands out a job each time it is asked."""


def is_known_safe(x: Exchange) -> bool:
    """Whether a request may run twice without harm."""
    return x.method in {b"GET", b"HEAD"} and SAFE_ROUTES.fullmatch(x.raw_path) is not None


def may_retry(x: Exchange, error: UpstreamError, backends_left: int) -> bool:
    """Whether to send again. backends_left: backends that have not been tried for this request."""
    if x.client_gone or x.head_sent or x.attempts >= MAX_ATTEMPTS:
        return False
    if error.sent == 0:
        return backends_left > 0 or error.reused
    if not isinstance(error, ConnectionLost) or not error.reused or error.answered:
        return False
    return x.body_length == 0 and is_known_safe(x)
