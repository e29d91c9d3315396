"""`/api/v1/workers`: registration, heartbeats, handing out jobs."""

# ruff: noqa: FAST003 -- the path's worker_id is read by the dependency behind `Authorized`

import uuid
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from fastgw.demo.crew import Worker
from fastgw.demo.regions import CODE_PATTERN
from fastgw.demo.state import Here, Token, refuse

HEARTBEAT_SECONDS: Final = 5

router = APIRouter(prefix="/api/v1/workers", tags=["workers"])


class Gpu(BaseModel):
    """A worker's GPU."""

    name: str = Field(max_length=100)
    memory_total_mb: int = Field(ge=0)
    memory_used_mb: int = Field(default=0, ge=0)
    utilization_percent: float = Field(default=0, ge=0, le=100)


class Registration(BaseModel):
    """What a worker says of itself at first; without a worker_id it is given one."""

    worker_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    name: str = Field(default="", max_length=100)
    region: str = Field(pattern=CODE_PATTERN)
    gpu: Gpu


class Heartbeat(BaseModel):
    """What a worker says every few seconds."""

    status: Literal["online", "idle", "busy", "going_offline", "offline"] = "idle"
    gpu: Gpu | None = None
    current_job_id: str | None = None
    progress: int = Field(default=0, ge=0, le=100, description="percent of current_job_id")


class Completion(BaseModel):
    """A job's outcome: a result, or an error."""

    result: dict[str, Any] | None = None
    error: str | None = Field(default=None, max_length=1000)


class Verification(BaseModel):
    """A token to be judged; without it, the header's."""

    token: str | None = None


class WorkerConfig(BaseModel):
    """What the platform may set for a worker."""

    max_concurrent_jobs: int = Field(default=1, ge=1, le=16)
    accepts_types: list[str] = Field(default_factory=list, max_length=32, description="empty: all")
    paused: bool = False


async def _authorized(worker_id: str, platform: Here, token: Token) -> Worker:
    """Find the worker that the request speaks for; 401 without its token (or the demo's), 404 if it is unknown."""
    if token is None or not platform.crew.accepts(token, worker_id):
        raise refuse("Missing or invalid worker token")
    return platform.crew.get(worker_id)


Authorized = Annotated[Worker, Depends(_authorized)]


@router.get("")
async def everyone(platform: Here) -> list[dict[str, Any]]:
    """List the workers: a bare array, as the platform's SDK reads it."""
    return [worker.facts() for worker in platform.crew.everyone()]


@router.post("/register", status_code=201)
async def register(registration: Registration, platform: Here, token: Token) -> dict[str, Any]:
    """Take a worker in. Needs the demo's token; answers with one of the worker's own."""
    if token is None or not platform.crew.accepts(token):
        raise refuse("Missing or invalid worker token")
    worker_id = registration.worker_id or str(uuid.uuid4())
    worker, own_token = platform.crew.register(
        worker_id, registration.name or worker_id, registration.region, registration.gpu.model_dump()
    )
    worker.config = WorkerConfig().model_dump()
    return {
        "worker_id": worker_id,
        "token": own_token,
        "status": worker.status,
        "region": worker.region,
        "heartbeat_interval_seconds": HEARTBEAT_SECONDS,
    }


@router.post("/{worker_id}/heartbeat")
async def heartbeat(beat: Heartbeat, worker: Authorized, platform: Here) -> dict[str, Any]:
    """Note that a worker lives, and how its job goes on."""
    worker.beat(beat.status, beat.gpu.model_dump() if beat.gpu else None)
    if beat.current_job_id is not None:
        platform.book.advance(beat.current_job_id, worker.worker_id, beat.progress)
    return {"status": "ok", "config_version": worker.config_version}


@router.get("/{worker_id}/next-job", responses={204: {"description": "no job waits"}})
async def next_job(worker: Authorized, platform: Here) -> Any:
    """Hand out a job. A GET with a side effect: each job is handed out exactly once."""
    if worker.config["paused"]:
        return Response(status_code=204)
    job = platform.book.hand_out(worker.worker_id, worker.region)
    if job is None:
        return Response(status_code=204)
    return job.facts() | {"params": job.params, "timeout_seconds": job.timeout_seconds}


@router.post("/{worker_id}/jobs/{job_id}/complete")
async def complete(job_id: str, completion: Completion, worker: Authorized, platform: Here) -> dict[str, Any]:
    """End a job of this worker; 403 if it is another's, 409 if it has ended."""
    job = platform.book.complete(job_id, worker.worker_id, completion.result, completion.error)
    worker.jobs_completed += 1
    return {"job_id": job.job_id, "status": job.state.value}


@router.post("/{worker_id}/verify")
async def verify(
    worker_id: str, platform: Here, header_token: Token, verification: Verification | None = None
) -> dict[str, bool]:
    """Judge a token. A wrong one is no error: status 200 and false."""
    token = (verification.token if verification else None) or header_token
    return {"valid": token is not None and platform.crew.accepts(token, worker_id)}


@router.get("/{worker_id}/config")
async def read_config(worker: Authorized) -> dict[str, Any]:
    """Give the worker's configuration and its version."""
    return {"worker_id": worker.worker_id, "version": worker.config_version, "config": worker.config}


@router.put("/{worker_id}/config")
async def write_config(config: WorkerConfig, worker: Authorized) -> dict[str, Any]:
    """Replace the worker's configuration; its version rises by one."""
    worker.config = config.model_dump()
    worker.config_version += 1
    return await read_config(worker)
