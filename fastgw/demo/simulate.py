"""Simulated GPU workers: `python -m fastgw.demo.simulate --backend http://127.0.0.1:8000`.

One process, one task per worker. Each registers at the server over HTTP, asks for jobs, takes a second or two for each,
and writes what GPU workers write to Redis (REDIS_URL), with a TTL:
    worker:{id}:status      JSON {worker_id, status, region, started_at, uptime_seconds, jobs_completed, current_job_id}
    worker:{id}:gpu         JSON {name, memory_total_mb, memory_used_mb, utilization_percent}
    worker:{id}:heartbeat   Unix seconds
Without a job nothing changes but heartbeats. The keys are removed at the end.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fastgw.demo.crew import DEMO_TOKEN
from fastgw.settings.load import SettingsError, load

KEY_TTL_S: Final = 30
BEAT_EVERY_S: Final = 5.0
POLL_EVERY_S: Final = 0.5
RETRY_AFTER_S: Final = 2.0
"""Pause after the server or Redis could not be reached."""

HTTP_TIMEOUT_S: Final = 5.0
STEPS_PER_JOB: Final = 4
"""A job's progress is reported after each."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is simulated: a worker and its GPU. job_s: seconds that a job takes."""

    worker_id: str
    region: str
    gpu_name: str
    memory_total_mb: int
    job_s: float


FLEET: Final = (
    Model("demo-asia-east-1", "asia-east", "NVIDIA A100-SXM4-80GB", 81920, 1.0),
    Model("demo-asia-east-2", "asia-east", "NVIDIA GeForce RTX 4090", 24564, 1.4),
    Model("demo-asia-south-1", "asia-south", "NVIDIA L4", 23034, 2.0),
    Model("demo-europe-west-1", "europe-west", "NVIDIA H100 80GB HBM3", 81559, 0.8),
    Model("demo-europe-east-1", "europe-east", "NVIDIA GeForce RTX 3090", 24576, 1.8),
    Model("demo-america-north-1", "america-north", "NVIDIA L40S", 46068, 1.2),
)


class SimulatedWorker:
    """One worker: waits for jobs, works on them, tells the server and Redis how it is."""

    def __init__(self, model: Model, server: httpx.AsyncClient, redis: Redis) -> None:
        self._model = model
        self._server = server
        self._redis = redis
        self._path = f"/api/v1/workers/{model.worker_id}"
        self._token = DEMO_TOKEN
        self._status = "idle"
        self._job_id: str | None = None
        self._progress = 0
        self._jobs_completed = 0
        self._started_at = time.time()
        self._beat_due = 0.0

    async def run(self) -> None:
        """Work until cancelled; what can't be reached is tried again."""
        registered = False
        while True:
            try:
                if not registered:
                    await self._register()
                    registered = True
                if time.monotonic() >= self._beat_due:
                    await self._beat()
                job = await self._next_job()
                if job is None:
                    await asyncio.sleep(POLL_EVERY_S)
                else:
                    await self._work(job)
            except httpx.HTTPStatusError as error:
                _log(f"{self._model.worker_id}: {error.request.url.path} answered {error.response.status_code}")
                registered = error.response.status_code not in (401, 404)  # the server was started anew
                await asyncio.sleep(RETRY_AFTER_S)
            except (httpx.HTTPError, RedisError, OSError) as error:
                _log(f"{self._model.worker_id}: {type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_AFTER_S)

    async def leave(self) -> None:
        """Tell the server that this worker goes, and remove its keys; failures do not matter any more."""
        self._status = "offline"
        with contextlib.suppress(httpx.HTTPError):
            await self._tell_server()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(*(self._key(part) for part in ("status", "gpu", "heartbeat")))

    async def _register(self) -> None:
        model = self._model
        self._token = DEMO_TOKEN
        body = {"worker_id": model.worker_id, "name": model.gpu_name, "region": model.region, "gpu": self._gpu()}
        answer = await self._post("/api/v1/workers/register", body)
        self._token = answer["token"]
        self._beat_due = 0.0

    async def _next_job(self) -> dict[str, Any] | None:
        response = await self._server.get(f"{self._path}/next-job", headers=self._headers())
        response.raise_for_status()
        return None if response.status_code == 204 else response.json()

    async def _work(self, job: dict[str, Any]) -> None:
        self._status, self._job_id, self._progress = "busy", job["job_id"], 0
        try:
            for step in range(1, STEPS_PER_JOB + 1):
                await self._beat()
                await asyncio.sleep(self._model.job_s / STEPS_PER_JOB)
                self._progress = 100 * step // STEPS_PER_JOB
            await self._complete(job)
        finally:
            self._status, self._job_id, self._progress = "idle", None, 0
        await self._beat()

    async def _complete(self, job: dict[str, Any]) -> None:
        result = {"output": f"{job['type']} done by {self._model.worker_id}", "params": job["params"]}
        try:
            await self._post(f"{self._path}/jobs/{job['job_id']}/complete", {"result": result})
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 409:  # 409: cancelled or timed out meanwhile
                raise
        else:
            self._jobs_completed += 1

    async def _beat(self) -> None:
        self._beat_due = time.monotonic() + BEAT_EVERY_S
        await self._tell_server()
        now = time.time()
        status = {
            "worker_id": self._model.worker_id,
            "status": self._status,
            "region": self._model.region,
            "started_at": self._started_at,
            "uptime_seconds": int(now - self._started_at),
            "jobs_completed": self._jobs_completed,
            "current_job_id": self._job_id,
        }
        await self._redis.set(self._key("status"), json.dumps(status), ex=KEY_TTL_S)
        await self._redis.set(self._key("gpu"), json.dumps(self._gpu()), ex=KEY_TTL_S)
        await self._redis.set(self._key("heartbeat"), f"{now:.3f}", ex=KEY_TTL_S)

    async def _tell_server(self) -> None:
        beat = {
            "status": self._status,
            "gpu": self._gpu(),
            "current_job_id": self._job_id,
            "progress": self._progress,
        }
        await self._post(f"{self._path}/heartbeat", beat)

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self._server.post(path, json=body, headers=self._headers())
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def _headers(self) -> dict[str, str]:
        return {"X-Worker-Token": self._token}

    def _gpu(self) -> dict[str, Any]:
        busy = self._job_id is not None
        total = self._model.memory_total_mb
        return {
            "name": self._model.gpu_name,
            "memory_total_mb": total,
            "memory_used_mb": total * 7 // 10 if busy else 512,
            "utilization_percent": 80 + self._progress // 10 if busy else 0,
        }

    def _key(self, part: str) -> str:
        return f"worker:{self._model.worker_id}:{part}"


async def simulate(backend: str, redis_url: str, redis_password: str | None) -> None:
    """Run the fleet against a server and a Redis (redis://, rediss://, unix://) until cancelled."""
    redis = Redis.from_url(redis_url)
    if redis_password and "password" not in redis.connection_pool.connection_kwargs:
        redis.connection_pool.connection_kwargs["password"] = redis_password
    # trust_env off: a proxy that is set for the way out is none for the server beside us.
    async with redis, httpx.AsyncClient(base_url=backend, timeout=HTTP_TIMEOUT_S, trust_env=False) as server:
        fleet = [SimulatedWorker(model, server, redis) for model in FLEET]
        try:
            await asyncio.gather(*(worker.run() for worker in fleet))
        finally:
            await asyncio.gather(*(worker.leave() for worker in fleet))


async def _until_signal(backend: str, redis_url: str, redis_password: str | None) -> None:
    work = asyncio.create_task(simulate(backend, redis_url, redis_password))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Simulate until SIGTERM or SIGINT. Redis is taken from the settings, so that no password is an argument."""
    parser = argparse.ArgumentParser(prog="python -m fastgw.demo.simulate", description="simulated GPU workers")
    parser.add_argument("--backend", default="http://127.0.0.1:8000", help="the platform's server")
    options = parser.parse_args()
    try:
        settings = load().settings
    except SettingsError as error:
        sys.exit(str(error))
    if not settings.redis_url:
        sys.exit("REDIS_URL is empty: name the Redis that the workers shall write to, e.g. redis://localhost:6379")
    asyncio.run(_until_signal(options.backend, settings.redis_url, settings.redis_password.get_secret_value()))


if __name__ == "__main__":
    main()
