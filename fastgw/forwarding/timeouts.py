"""How long a backend may take for its first byte. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from fastgw.exchange import Exchange

SYNC_PATH: Final = b"/api/v1/jobs/sync"
"""POST here waits for a job's result, by design up to minutes."""

SYNC_DEFAULT_S: Final = 60.0
"""The platform's own default for `timeout`."""

SYNC_MARGIN_S: Final = 10.0
"""Added to `timeout`, so that the backend's own time-out answer still comes through."""

SYNC_MAX_S: Final = 3600.0
"""Most that a client may ask for: the wait is a connection held at both ends."""


def first_byte_timeout(x: Exchange, default_s: float) -> float:
    """Seconds until the response must have begun: `default_s`, but for jobs/sync its `timeout` query plus 10 s."""
    if x.raw_path != SYNC_PATH or x.method != b"POST":
        return default_s
    return sync_timeout(x.target[len(SYNC_PATH) + 1 :])


def sync_timeout(query: bytes) -> float:
    """The wait that a jobs/sync query asks for. What is no positive number counts as the default of 60 s."""
    try:
        asked = float(parse_qs(query.decode("ascii", "replace"))["timeout"][-1])
    except (KeyError, ValueError):
        asked = SYNC_DEFAULT_S
    if not 0 < asked < float("inf"):
        asked = SYNC_DEFAULT_S
    return min(asked, SYNC_MAX_S) + SYNC_MARGIN_S
