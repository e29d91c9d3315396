"""`/api/v1/jobs` and the queue's statistics."""

import asyncio
import contextlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from fastgw.demo.book import SECONDS_PER_JOB, Job
from fastgw.demo.regions import CODE_PATTERN
from fastgw.demo.state import Here, Platform, Token, refuse

MAX_SYNC_S: Final = 600
"""How long `/api/v1/jobs/sync` may be asked to wait."""

router = APIRouter(prefix="/api/v1", tags=["jobs"])


class JobRequest(BaseModel):
    """What a client submits."""

    type: str = Field(min_length=1, max_length=64, examples=["llm"])
    params: dict[str, Any] = Field(default_factory=dict, examples=[{"prompt": "Hello"}])
    priority: int = Field(default=5, ge=0, le=10, description="higher runs earlier")
    region: str | None = Field(default=None, pattern=CODE_PATTERN, examples=["europe-west"])
    allow_cross_region: bool = True
    prefer_direct: bool = False
    timeout_seconds: int = Field(default=300, ge=1, le=3600, description="from start to result")


@router.post("/jobs", status_code=201)
async def submit(request: JobRequest, platform: Here) -> dict[str, Any]:
    """Queue a job."""
    return _receipt(platform, platform.book.submit(Job(**request.model_dump())))


@router.post("/jobs/sync")
async def submit_and_wait(
    request: JobRequest,
    connection: Request,
    platform: Here,
    timeout: Annotated[float, Query(gt=0, le=MAX_SYNC_S, description="seconds")] = 60,  # noqa: ASYNC109 -- the API's name
) -> dict[str, Any]:
    """Queue a job and answer with its result; 408 if it is not done in time. A client that leaves cancels it."""
    job = platform.book.submit(Job(**request.model_dump()))
    done = asyncio.create_task(job.finished.wait())
    gone = asyncio.create_task(_disconnected(connection))
    try:
        await asyncio.wait((done, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (done, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if not job.state.final and gone.done() and not gone.cancelled():
            platform.book.cancel(job.job_id)  # no GPU works for nobody
    if not job.state.final:
        raise HTTPException(408, f"Job {job.job_id} was not done within {timeout:g} s; ask for it by its id")
    return job.facts()


@router.get("/jobs")
async def newest(platform: Here, token: Token, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> dict[str, Any]:
    """List the newest jobs. Open to all, but a token that is shown must be right."""
    if token is not None and not platform.crew.accepts(token):
        raise refuse("Invalid worker token")
    jobs = platform.book.newest(limit)
    return {"jobs": [job.facts() for job in jobs], "total": sum(platform.book.counts().values())}


@router.get("/jobs/stats/queue")
async def queue_by_kind(platform: Here) -> dict[str, Any]:
    """Tell what waits, by priority, region and type. The same until a job or a worker changes."""
    book = platform.book
    return {
        **book.counts(),
        "queued_by_priority": book.queued_by(lambda job: str(job.priority)),
        "queued_by_region": book.queued_by(lambda job: job.region or "any"),
        "queued_by_type": book.queued_by(lambda job: job.type),
    }


@router.get("/queue/stats")
async def queue_stats(platform: Here) -> dict[str, Any]:
    """Tell how the queue stands. The same until a job or a worker changes."""
    counts = platform.book.counts()
    online = platform.crew.online()
    return {
        **counts,
        "total_jobs": sum(counts.values()),
        "workers_online": sum(online.values()),
        "workers_by_region": online,
        "estimated_wait_seconds": _wait(counts["queued"], sum(online.values())),
    }


@router.get("/jobs/{job_id}")
async def status(job_id: str, platform: Here) -> dict[str, Any]:
    """Tell how a job stands, with its result when it is done."""
    job = platform.book.get(job_id)
    return job.facts() | {"queue_position": platform.book.position(job)}


@router.delete("/jobs/{job_id}")
async def cancel(job_id: str, platform: Here) -> dict[str, Any]:
    """Cancel a job that is not done; 409 if it is."""
    return platform.book.cancel(job_id).facts()


def _receipt(platform: Platform, job: Job) -> dict[str, Any]:
    position = platform.book.position(job)
    return {
        "job_id": job.job_id,
        "status": job.state.value,
        "queue_position": position,
        "estimated_wait_seconds": _wait(position, sum(platform.crew.online().values())),
        "region": job.region,
        "allow_cross_region": job.allow_cross_region,
        "direct_endpoint": None,  # no worker of the sample can be reached directly, whatever prefer_direct says
        "created_at": job.facts()["created_at"],
    }


def _wait(position: int, workers: int) -> float:
    return round(position * SECONDS_PER_JOB / max(workers, 1), 1)


async def _disconnected(connection: Request) -> None:
    """Return when the client is gone. The body has been read, so nothing else can be received."""
    while (await connection.receive())["type"] != "http.disconnect":
        pass
