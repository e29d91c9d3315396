"""One backend: where it is, and the connections to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastgw.upstream.pool import Pool


@dataclass(eq=False, slots=True)
class Backend:
    """A server of the platform. Two backends are equal only if they are the same object."""

    url: str
    """scheme://host:port"""
    authority: bytes
    """host:port, for the Host field."""
    pool: Pool
    is_healthy: bool | None = None
    """What the last check found; None before the first."""
    latency_ms: float | None = None
    """Of the last check that was answered."""
    problem: str = ""
    """Why the last check failed."""
