"""A flood from many addresses, each over its limit: 429 at once, with Retry-After, and nobody else is slowed."""

from __future__ import annotations

from locust import constant, task

from loadtests.common import PlatformUser
from loadtests.thresholds import Thresholds, install

THRESHOLDS = (
    Thresholds(failures=0.0, p95_ms=100, at_least=200, name="flood"),
    Thresholds(failures=0.0, p95_ms=100, at_least=5, name="bystander"),
)
install(*THRESHOLDS)


class Flooder(PlatformUser):
    """Asks as fast as it can, from one address."""

    weight = 9
    wait_time = constant(0)

    @task
    def ask(self) -> None:
        """200 within the limit, 429 with Retry-After beyond it; all else fails."""
        with self.client.get("/api/v1/queue/stats", headers=self.fields, name="flood", catch_response=True) as response:
            if response.status_code == 200 or (response.status_code == 429 and response.headers.get("Retry-After")):
                response.success()
            else:
                response.failure(f"status {response.status_code}")


class Bystander(PlatformUser):
    """A client with a few requests: never refused."""

    weight = 1
    fixed_count = 1
    wait_time = constant(0.5)

    def on_start(self) -> None:
        """An address that no flooder has."""
        self.address = "192.0.2.77"

    @task
    def ask(self) -> None:
        """200, or it fails."""
        self.read("/regions", "bystander")
