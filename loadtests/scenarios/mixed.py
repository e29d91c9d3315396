"""Mixed platform traffic: jobs are submitted, looked at and cancelled, queues and workers watched."""

from __future__ import annotations

import time
import uuid

from locust import task

from loadtests.common import PlatformUser
from loadtests.thresholds import Thresholds, install

THRESHOLDS = (Thresholds(failures=0.001, p95_ms=100, p99_ms=250),)
install(*THRESHOLDS)

OWN_JOBS = 3
"""Beyond these a client cancels its oldest, so that hundreds of clients fill no queue: a full one answers 503."""

ATTEMPTS = 3
MAX_WAIT_S = 5.0
ASKED_AGAIN = "/api/v1/jobs (503, asked again)"
"""A row of its own in the table. Without Redis for a moment, the gateway can't know whether a key was used before."""


class Client(PlatformUser):
    """Submits a job now and then, each under its own Idempotency-Key, and looks at what became of it."""

    def on_start(self) -> None:
        """No job yet."""
        super().on_start()
        self.jobs: list[str] = []

    @task(2)
    def submit(self) -> None:
        """POST /api/v1/jobs; told to ask again (503 with Retry-After), it does so under the same key."""
        fields = {**self.fields, "Idempotency-Key": f'"{uuid.uuid4()}"'}
        for attempts_left in reversed(range(ATTEMPTS)):
            wait_s = self.post(fields, is_last=not attempts_left)
            if wait_s is None:
                break
            time.sleep(wait_s)
        if len(self.jobs) > OWN_JOBS:
            self.cancel(self.jobs.pop(0))

    def post(self, fields: dict[str, str], *, is_last: bool) -> float | None:
        """Submit once; seconds after which to ask again, or None."""
        job = {"type": "llm", "params": {"prompt": "a load test's"}}
        with self.client.post("/api/v1/jobs", json=job, headers=fields, catch_response=True) as response:
            wait = response.headers.get("Retry-After") if response.status_code == 503 else None
            if response.status_code == 201:
                self.jobs.append(response.json()["job_id"])
                response.success()
            elif wait and wait.isdigit() and not is_last:
                response.request_meta["name"] = ASKED_AGAIN
                response.success()
                return min(float(wait), MAX_WAIT_S)
            else:
                response.failure(f"status {response.status_code}")
        return None

    def cancel(self, job: str) -> None:
        """DELETE /api/v1/jobs/{id}; 409: it has ended meanwhile."""
        name = "/api/v1/jobs/{id}"
        with self.client.delete(f"/api/v1/jobs/{job}", headers=self.fields, name=name, catch_response=True) as response:
            if response.status_code not in {200, 409}:
                response.failure(f"status {response.status_code}")
            else:
                response.success()

    @task(5)
    def look(self) -> None:
        """GET a job of one's own."""
        if self.jobs:
            self.read(f"/api/v1/jobs/{self.jobs[-1]}", "/api/v1/jobs/{id}")

    @task(4)
    def queue(self) -> None:
        """What a dashboard polls."""
        self.read("/api/v1/queue/stats")

    @task(2)
    def workers(self) -> None:
        """The list of GPU workers."""
        self.read("/api/v1/workers")

    @task(1)
    def regions(self) -> None:
        """The regions."""
        self.read("/regions")
