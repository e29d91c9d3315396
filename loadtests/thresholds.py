"""What a scenario must see to pass; judged when Locust ends, by exit status. Pure but for `install`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_SCALE = float(os.environ.get("LOADTEST_LATENCY_SCALE", "1"))
"""Times of the latencies that are allowed: for machines that are busy with other things, such as CI's."""


@dataclass(frozen=True)
class Thresholds:
    """failures: largest share of failed requests. p95_ms, p99_ms: over all requests of `name`, or of all names.

    at_least: requests in all; a scenario in which nothing happens has shown nothing.
    """

    failures: float = 0.0
    p95_ms: float | None = None
    p99_ms: float | None = None
    at_least: int = 20
    name: str = ""

    def complaints(self, stats: Any) -> list[str]:
        """What was not met. stats: Locust's RequestStats."""
        entry = stats.total
        if self.name:
            named = [one for (name, _), one in stats.entries.items() if name == self.name]
            if not named:
                return [f"nothing was asked under the name {self.name}"]
            entry = named[0]
        found = []
        if entry.num_requests < self.at_least:
            found.append(f"{entry.num_requests} requests are too few to tell; at least {self.at_least}: run it longer")
        if entry.fail_ratio > self.failures:
            found.append(f"{entry.fail_ratio:.2%} of the requests failed, {self.failures:.2%} may")
        for share, limit_ms in ((0.95, self.p95_ms), (0.99, self.p99_ms)):
            if limit_ms is None or not entry.num_requests:
                continue
            took_ms = entry.get_response_time_percentile(share)
            if took_ms > limit_ms * LIMIT_SCALE:
                found.append(f"p{share * 100:.0f} is {took_ms:.0f} ms, {limit_ms * LIMIT_SCALE:.0f} ms is allowed")
        return [f"{self.name or 'all'}: {complaint}" for complaint in found]


def install(*thresholds: Thresholds) -> None:
    """Judge the run when it ends: each complaint is printed, and any makes the exit status 1."""
    from locust import events  # noqa: PLC0415 - locust patches the standard library when it is imported

    @events.quitting.add_listener  # type: ignore[untyped-decorator]
    def judge(environment: Any, **_: Any) -> None:
        if type(environment.runner).__name__ == "WorkerRunner":
            return  # the master judges
        complaints = judged(environment.stats, thresholds)
        for complaint in complaints:
            print(f"THRESHOLD MISSED: {complaint}")  # noqa: T201
        total, word = environment.stats.total, "missed" if complaints else "met"
        print(f"thresholds {word}: {total.num_requests} requests, {total.num_failures} failed")  # noqa: T201
        environment.process_exit_code = 1 if complaints else 0


def judged(stats: Any, thresholds: Sequence[Thresholds]) -> list[str]:
    """All complaints."""
    return [complaint for one in thresholds for complaint in one.complaints(stats)]
