"""The jobs of the sample platform, in memory: submitted, handed out once, completed.

One process and one event loop work on it, and no method suspends: whoever calls `hand_out` gets a job that nobody
else gets. States move queued -> running -> completed or failed, and from the first two to cancelled.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

MAX_JOBS: Final = 10_000
"""Jobs remembered; beyond it the oldest finished ones are forgotten. About 1 KiB each."""

MAX_QUEUED: Final = 1_000
"""Jobs waiting; beyond it a submission is refused."""

CROSS_REGION_AFTER_S: Final = 2.0
"""How long a job waits for a worker of its own region before one of another may have it."""

SECONDS_PER_JOB: Final = 1.5
"""What the simulated workers take, for the estimate given to clients."""


class JobState(StrEnum):
    """Where a job stands; the values are the platform's words."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Can nothing happen to the job any more?"""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class PlatformError(Exception):
    """What was asked can't be done; `status` is the answer's HTTP status, str() its detail."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(eq=False, slots=True)
class Job:
    """One job. Times are wall-clock seconds; progress is percent."""

    type: str
    params: dict[str, Any]
    priority: int
    region: str | None
    allow_cross_region: bool
    prefer_direct: bool
    timeout_seconds: int
    job_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: JobState = JobState.QUEUED
    progress: int = 0
    worker_id: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    finished_at: float | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def facts(self) -> dict[str, Any]:
        """Give the job as the API shows it (JSON-ready; times in ISO 8601, UTC)."""
        return {
            "job_id": self.job_id,
            "type": self.type,
            "status": self.state.value,
            "progress": self.progress,
            "priority": self.priority,
            "region": self.region,
            "worker_id": self.worker_id,
            "result": self.result,
            "error": self.error,
            "created_at": iso(self.created_at),
            "started_at": iso(self.started_at),
            "completed_at": iso(self.finished_at),
        }


class JobBook:
    """All jobs. `on_change` is called with a job after each change of its state or progress."""

    def __init__(self, on_change: Callable[[Job], None]) -> None:
        self._on_change = on_change
        self._jobs: dict[str, Job] = {}  # by age
        self._queued: dict[str, Job] = {}
        self._running: dict[str, Job] = {}

    def submit(self, job: Job) -> Job:
        """Queue a job. Raises PlatformError 503 when MAX_QUEUED wait."""
        if len(self._queued) >= MAX_QUEUED:
            raise PlatformError(503, f"The queue is full ({MAX_QUEUED} jobs wait); try again later")
        self._forget_oldest()
        self._jobs[job.job_id] = self._queued[job.job_id] = job
        self._on_change(job)
        return job

    def get(self, job_id: str) -> Job:
        """Find a job. Raises PlatformError 404."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise PlatformError(404, f"Job {job_id} not found") from None

    def newest(self, limit: int) -> list[Job]:
        """List jobs, the newest first."""
        jobs = list(self._jobs.values())
        return jobs[: -limit - 1 : -1]

    def position(self, job: Job) -> int:
        """Where the job stands in the queue, from 1; 0 when it does not wait. O(queued)."""
        if job.job_id not in self._queued:
            return 0
        return 1 + sum(_rank(other) < _rank(job) for other in self._queued.values())

    def hand_out(self, worker_id: str, region: str) -> Job | None:
        """Give the worker the most urgent job it may have, as running; None if there is none. O(queued)."""
        now = time.time()
        eligible = [job for job in self._queued.values() if _may_have(job, region, now)]
        if not eligible:
            return None
        job = min(eligible, key=_rank)
        del self._queued[job.job_id]
        self._running[job.job_id] = job
        job.state, job.worker_id, job.started_at = JobState.RUNNING, worker_id, now
        self._on_change(job)
        return job

    def advance(self, job_id: str, worker_id: str, progress: int) -> None:
        """Note a running job's progress; what another worker or a finished job reports is ignored."""
        job = self._running.get(job_id)
        if job is not None and job.worker_id == worker_id and job.progress != progress:
            job.progress = progress
            self._on_change(job)

    def complete(self, job_id: str, worker_id: str, result: dict[str, Any] | None, error: str | None) -> Job:
        """End a running job, failed if there is an error. Raises PlatformError 404, 403 (not its job), 409 (ended)."""
        job = self.get(job_id)
        if job.worker_id != worker_id:
            raise PlatformError(403, f"Job {job_id} was not handed to worker {worker_id}")
        job.result = result
        return self._end(job, JobState.FAILED if error else JobState.COMPLETED, error)

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued or running job. Raises PlatformError 404, 409 (ended)."""
        return self._end(self.get(job_id), JobState.CANCELLED, None)

    def expire(self) -> None:
        """Fail the running jobs that take longer than their timeout_seconds."""
        now = time.time()
        for job in list(self._running.values()):
            if job.started_at is not None and now - job.started_at > job.timeout_seconds:
                self._end(job, JobState.FAILED, f"not done within {job.timeout_seconds} s")

    def counts(self) -> dict[str, int]:
        """Count the jobs remembered by state; every state is named."""
        found = Counter(job.state for job in self._jobs.values())
        return {state.value: found[state] for state in JobState}

    def queued_by(self, of: Callable[[Job], str]) -> dict[str, int]:
        """Count the waiting jobs by what `of` says of each, in the order of its values."""
        return dict(sorted(Counter(of(job) for job in self._queued.values()).items()))

    def _end(self, job: Job, state: JobState, error: str | None) -> Job:
        if job.state.final:
            raise PlatformError(409, f"Job {job.job_id} is already {job.state.value}")
        self._queued.pop(job.job_id, None)
        self._running.pop(job.job_id, None)
        job.state, job.error, job.finished_at = state, error, time.time()
        if state is JobState.COMPLETED:
            job.progress = 100
        job.finished.set()
        self._on_change(job)
        return job

    def _forget_oldest(self) -> None:
        if len(self._jobs) >= MAX_JOBS:
            oldest = next((job for job in self._jobs.values() if job.state.final), None)
            if oldest is not None:
                del self._jobs[oldest.job_id]


def iso(seconds: float | None) -> str | None:
    """Write wall-clock seconds as ISO 8601 in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _rank(job: Job) -> tuple[int, float]:
    """Higher priority first, then the older one."""
    return -job.priority, job.created_at


def _may_have(job: Job, region: str, now: float) -> bool:
    if job.region is None or job.region == region:
        return True
    return job.allow_cross_region and now - job.created_at >= CROSS_REGION_AFTER_S
