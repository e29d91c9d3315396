"""Long event streams: the first event comes soon, and streams stay open beside other traffic."""

from __future__ import annotations

import time

from locust import constant, task

from loadtests.common import PlatformUser
from loadtests.thresholds import Thresholds, install

THRESHOLDS = (
    Thresholds(failures=0.0, at_least=3, name="stream: first event"),
    Thresholds(failures=0.0, p95_ms=150, name="/regions"),
)
install(*THRESHOLDS)

LISTEN_S = 3.0


class Listener(PlatformUser):
    """Submits a job and listens to its events."""

    wait_time = constant(0)
    network_timeout = 60.0

    @task
    def listen(self) -> None:
        """Until the job has ended, or for LISTEN_S."""
        posted = self.client.post("/api/v1/jobs", json={"type": "llm"}, headers=self.fields, name="submit")
        if posted.status_code != 201:
            return
        begun = time.perf_counter()
        path = f"/api/v1/jobs/{posted.json()['job_id']}/events"
        with self.client.get(path, headers=self.fields, name="stream", stream=True, catch_response=True) as response:
            first = response.read(1) if response.status_code == 200 else b""
            waited_ms = (time.perf_counter() - begun) * 1e3
            error = None if first else RuntimeError(f"status {response.status_code}, no event")
            self.environment.events.request.fire(
                request_type="SSE", name="stream: first event", response_time=waited_ms, response_length=len(first),
                exception=error, context={},
            )  # fmt: skip
            while first and time.perf_counter() - begun < LISTEN_S and response.read(64):
                pass
            response.success()


class Reader(PlatformUser):
    """Other traffic meanwhile."""

    @task
    def regions(self) -> None:
        """Must not wait for the streams."""
        self.read("/regions")
