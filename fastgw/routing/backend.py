"""One backend: where it is, the connections to it, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastgw.routing.ejection import Ejection

if TYPE_CHECKING:
    from fastgw.upstream.pool import Pool


@dataclass(eq=False, slots=True, repr=False)
class Backend:
    """A server of the platform. Two backends are equal only if they are the same object.

    What is not said to be the fleet's is this process's own: its requests, its findings.
    """

    # where it is
    url: str
    """scheme://host:port"""
    authority: bytes
    """host:port, for the Host field."""
    pool: Pool
    region: str | None = None
    weight: int = 1
    """Its share among the others, as FASTAPI_URL has it."""
    label: str = field(init=False)
    """host:port, for metrics, logs and spans."""
    # what the requests show
    record: Ejection = field(default_factory=Ejection)
    """Its failures, and whether they keep it from being chosen."""
    in_flight: int = 0
    """Requests that hold a connection to it, or wait for one. deliver's and the tunnel's count."""
    # what the active checks show
    is_healthy: bool | None = None
    """What the last check found; None before the first."""
    latency_ms: float | None = None
    """Of the last check that was answered."""
    problem: str = ""
    """Why the last check failed."""
    has_cors: bool | None = None
    """Whether it has a CORS policy of its own, as a check's preflight showed; None before that."""
    # for the strategies, kept by choose.py and pace.py
    effective_weight: float = 0.0
    """weight, less while it returns from an ejection."""
    current_weight: float = 0.0
    """Of smooth weighted round-robin: see strategies/round_robin.py."""
    chosen_at: int = 0
    """Number of the last choice of it, among those that rotate."""
    pace_s: float = 0.0
    """Usual time to the head of its answers; 0.0 while unknown. See pace.py."""
    quiet: int = 0
    """Fadings of pace_s since the last answer that was timed."""
    idle_load: float = 0.0
    """Its load without a request in flight: 0, unless it is known to be slow."""
    request_load: float = 1.0
    """What each request in flight adds to its load."""

    def __post_init__(self) -> None:
        self.effective_weight = float(self.weight)
        self.request_load = 1 / self.effective_weight
        self.label = self.authority.decode()
        if not self.record.name:
            self.record.name = self.url

    def __repr__(self) -> str:
        where = f" region={self.region}" if self.region else ""
        health = {True: "healthy", False: "unhealthy", None: "unchecked"}[self.is_healthy]
        return (
            f"<Backend {self.url}{where} weight={self.weight} {self.record.state.name.lower()} {health} "
            f"in_flight={self.in_flight}>"
        )
