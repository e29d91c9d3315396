"""The cutover: a share of the traffic through the gateway, the rest directly, compared.

LOADTEST_DIRECT is the backend's own address; LOADTEST_SHARE is 10, 50 or 100 (percent through the gateway). A proxy
splits in production; this asks both sides from here, so that each has figures of its own.
"""

from __future__ import annotations

import os
import random

from locust import task

from loadtests.common import PlatformUser
from loadtests.thresholds import Thresholds, install

DIRECT = os.environ.get("LOADTEST_DIRECT", "").rstrip("/")
SHARE = float(os.environ.get("LOADTEST_SHARE", "50"))

THRESHOLDS = tuple(
    Thresholds(failures=0.0, p95_ms=150, at_least=5, name=name)
    for name, is_asked in (("through the gateway", SHARE > 0), ("direct", SHARE < 100 and DIRECT))
    if is_asked
)
install(*THRESHOLDS)


class Client(PlatformUser):
    """Reads what dashboards read."""

    @task
    def read_somewhere(self) -> None:
        """Through the gateway, or directly."""
        path = random.choice(("/api/v1/queue/stats", "/regions", "/health"))  # noqa: S311
        if not DIRECT or random.random() * 100 < SHARE:  # noqa: S311
            self.read(path, "through the gateway")
        else:
            self.read(DIRECT + path, "direct")
