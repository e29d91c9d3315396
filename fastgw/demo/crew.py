"""The workers of the sample platform, in memory, and their tokens (as SHA-256 digests only)."""

import hashlib
import hmac
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from fastgw.demo.book import PlatformError, iso

TOKEN_SALT: Final = "distributed-gpu-inference-v1"  # noqa: S105 -- the platform's public salt, AUTH_TOKEN_SALT's default
DEMO_TOKEN: Final = "demo-worker-token"  # noqa: S105 -- printed by the demo, accepted by nothing else

MAX_WORKERS: Final = 1_000
OFFLINE_AFTER_S: Final = 15.0
"""Three heartbeats of 5 s missed."""


def hash_token(token: str) -> str:
    """sha256(token + salt) in hex, as the guide writes it."""
    return hashlib.sha256(f"{token}{TOKEN_SALT}".encode()).hexdigest()


DEMO_TOKEN_HASH: Final = hash_token(DEMO_TOKEN)


@dataclass(eq=False, slots=True)
class Worker:
    """One worker. Times are wall-clock seconds."""

    worker_id: str
    name: str
    region: str
    gpu: dict[str, Any]
    token_hash: str
    reported: str = "idle"
    config: dict[str, Any] = field(default_factory=dict)
    config_version: int = 1
    registered_at: float = field(default_factory=time.time)
    last_heartbeat: float = field(default_factory=time.time)
    jobs_completed: int = 0

    @property
    def status(self) -> str:
        """Tell online, idle, busy, going_offline or offline: as reported, unless its heartbeat stopped."""
        return "offline" if time.time() - self.last_heartbeat > OFFLINE_AFTER_S else self.reported

    def beat(self, status: str, gpu: dict[str, Any] | None) -> None:
        """Note that the worker lives, what it does, and (if it says so) how its GPU is."""
        self.reported = status
        self.last_heartbeat = time.time()
        self.gpu = gpu or self.gpu

    def facts(self) -> dict[str, Any]:
        """Give the worker as the API shows it (JSON-ready; times in ISO 8601, UTC)."""
        return {
            "worker_id": self.worker_id,
            "name": self.name,
            "region": self.region,
            "status": self.status,
            "gpu": self.gpu,
            "jobs_completed": self.jobs_completed,
            "registered_at": iso(self.registered_at),
            "last_heartbeat": iso(self.last_heartbeat),
        }


class Crew:
    """All workers."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def register(self, worker_id: str, name: str, region: str, gpu: dict[str, Any]) -> tuple[Worker, str]:
        """Take a worker in, anew if it is known. Gives it and its fresh token. Raises PlatformError 503 when full."""
        if worker_id not in self._workers and len(self._workers) >= MAX_WORKERS:
            raise PlatformError(503, f"{MAX_WORKERS} workers are registered; no more are taken")
        token = secrets.token_urlsafe(24)
        worker = Worker(worker_id, name, region, gpu, hash_token(token))
        self._workers[worker_id] = worker
        return worker, token

    def get(self, worker_id: str) -> Worker:
        """Find a worker. Raises PlatformError 404."""
        try:
            return self._workers[worker_id]
        except KeyError:
            raise PlatformError(404, f"Worker {worker_id} not found; register it first") from None

    def everyone(self) -> list[Worker]:
        """List the workers in the order of their ids."""
        return [self._workers[key] for key in sorted(self._workers)]

    def online(self) -> dict[str, int]:
        """Count the workers that can take jobs, by region, in the order of the regions."""
        found = Counter(w.region for w in self._workers.values() if w.status not in ("offline", "going_offline"))
        return dict(sorted(found.items()))

    def accepts(self, token: str, worker_id: str | None = None) -> bool:
        """Is this the demo's token, or the worker's own? Without a worker_id: any worker's. Constant time per token."""
        digest = hash_token(token)
        if worker_id is None:
            known = [worker.token_hash for worker in self._workers.values()]
        else:
            known = [self._workers[worker_id].token_hash] if worker_id in self._workers else []
        return any(hmac.compare_digest(digest, accepted) for accepted in (DEMO_TOKEN_HASH, *known))
