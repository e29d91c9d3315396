"""Mixed platform traffic: jobs are submitted, looked at and cancelled, queues and workers watched."""

from __future__ import annotations

import uuid

from locust import task

from loadtests.common import PlatformUser
from loadtests.thresholds import Thresholds, install

THRESHOLDS = (Thresholds(failures=0.001, p95_ms=100, p99_ms=250),)
install(*THRESHOLDS)

OWN_JOBS = 3
"""Beyond these a client cancels its oldest, so that hundreds of clients fill no queue: a full one answers 503."""


class Client(PlatformUser):
    """Submits a job now and then, each under its own Idempotency-Key, and looks at what became of it."""

    def on_start(self) -> None:
        """No job yet."""
        super().on_start()
        self.jobs: list[str] = []

    @task(2)
    def submit(self) -> None:
        """POST /api/v1/jobs."""
        fields = {**self.fields, "Idempotency-Key": f'"{uuid.uuid4()}"'}
        job = {"type": "llm", "params": {"prompt": "a load test's"}}
        with self.client.post("/api/v1/jobs", json=job, headers=fields, catch_response=True) as response:
            if response.status_code != 201:
                response.failure(f"status {response.status_code}")
            else:
                self.jobs.append(response.json()["job_id"])
                response.success()
        if len(self.jobs) > OWN_JOBS:
            self.cancel(self.jobs.pop(0))

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
