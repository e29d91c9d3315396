"""A few cached paths, asked by everybody: what a hit takes, and that misses are coalesced."""

from __future__ import annotations

from locust import constant, task

from loadtests.common import PlatformUser
from loadtests.thresholds import Thresholds, install

THRESHOLDS = (Thresholds(failures=0.0, p95_ms=50, p99_ms=150),)
install(*THRESHOLDS)


class Reader(PlatformUser):
    """Asks without a pause. Whatever is neither a hit, a miss nor stale was not looked up, and fails."""

    wait_time = constant(0)

    @task(3)
    def stats(self) -> None:
        """Cached by CACHE_ROUTES."""
        self.cached("/api/v1/queue/stats")

    @task(1)
    def regions(self) -> None:
        """Cached by CACHE_ROUTES."""
        self.cached("/regions")

    def cached(self, path: str) -> None:
        """One GET, named by what the cache says."""
        with self.client.get(path, headers=self.fields, catch_response=True) as response:
            state = response.headers.get("X-Gateway-Cache", "none") if response.status_code == 200 else "failed"
            if state in {"HIT", "MISS", "STALE"}:
                response.success()
            else:
                response.failure(f"status {response.status_code}, X-Gateway-Cache: {state}")
