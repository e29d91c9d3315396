"""Wrong credentials from many addresses beside a good one: 401 or 429, quickly, and the good one passes.

Needs a gateway with AUTH_API_KEYS; LOADTEST_API_KEY is a good one.
"""

from __future__ import annotations

import uuid

from locust import task

from loadtests.common import API_KEY, PlatformUser
from loadtests.thresholds import Thresholds, install

THRESHOLDS = (
    Thresholds(failures=0.0, p95_ms=100, name="wrong"),
    Thresholds(failures=0.0, p95_ms=100, at_least=5, name="good"),
)
install(*THRESHOLDS)


class Guesser(PlatformUser):
    """Guesses keys."""

    weight = 5

    @task
    def guess(self) -> None:
        """401; 429 once the address has guessed too often. Anything else fails, a 200 above all."""
        fields = {"X-Forwarded-For": self.address, "X-API-Key": str(uuid.uuid4())}
        with self.client.get("/api/v1/queue/stats", headers=fields, name="wrong", catch_response=True) as response:
            if response.status_code in {401, 429}:
                response.success()
            else:
                response.failure(f"status {response.status_code}")


class Member(PlatformUser):
    """Has a good key."""

    weight = 1

    def on_start(self) -> None:
        """A good key is needed."""
        super().on_start()
        if not API_KEY:
            raise SystemExit("set LOADTEST_API_KEY to a key of the gateway's AUTH_API_KEYS")

    @task
    def ask(self) -> None:
        """Passes."""
        self.read("/regions", "good")
