"""Do 10,000 event streams at a time get their events?

Method: fastgw alone, with as many workers as the limit of open files asks for (a stream is two descriptors), all on the
gateway's core. 10,000 clients open an event stream each, 500 a second; once all have had an event, each must get three
more, one a second, while all are open. Overload protection is on, as it is by default. Resident memory of all its
processes before and after, divided by the streams.

Read it with care:
- One event a second and stream is 10,000 pieces a second through one core. A backend that sends more of them needs more
  cores: forwarding a piece costs about what "CPU us/event" says, client and backend apart.
- Opened as fast as they can be, beside the events of those that are open, about a tenth were told to come again (503
  with Retry-After): that is more than a core carries. After a restart clients should spread their return over seconds.
- What the kernel holds in 20,000 sockets is not in the memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.harness.cores import pinned
from bench.harness.process import running_peer
from bench.harness.streams import SPARE_FILES, Heard, StreamError, allow_files, listen
from bench.peers.fastgw import Fastgw, FastgwWith
from bench.report.answer import Answer, Budget, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.cores import Cores
    from bench.harness.process import Running

NAME = "streams_many"
EVENTS_EACH = 3
PAUSE_S = 0.2
"""After each 100 streams that are opened."""

LIMIT_S = 60.0
KIB_LIMIT = 60.0  # as in streams_memory
UNEVEN = 0.7
"""Of a worker's descriptors are planned for: the kernel spreads connections by hash, not evenly."""


@dataclass(frozen=True)
class Plan:
    """streams: asked for."""

    streams: int
    cores: Cores

    @property
    def workers(self) -> int:
        """As many as have descriptors for all streams."""
        each = int((allow_files(2 * self.streams + SPARE_FILES) - SPARE_FILES) / 2 * UNEVEN)
        return -(-self.streams // each)


@dataclass(frozen=True)
class Many:
    """cpu_us: per event, of all the gateway's processes, the opening of the streams included."""

    workers: int
    heard: Heard
    cpu_us: float


def measure(plan: Plan, backend: Running, told: Callable[[str], None]) -> Many | str:
    """backend: bench.backends.streams. Text: why there is no figure. Raises StartError."""
    told(f"streams_many: {plan.streams:,} streams, {plan.workers} workers")
    settings = {"GATEWAY_WORKERS": str(plan.workers), "FASTAPI_POOL_SIZE": str(min(65535, plan.streams))}
    peer = FastgwWith(Fastgw(), "fastgw_many", settings)
    with running_peer(peer, backend, plan.cores.gateway) as target, pinned(plan.cores.load):
        before = target.cpu_ns()
        try:
            heard = asyncio.run(listen(target.port, plan.streams, EVENTS_EACH, LIMIT_S, target.rss_bytes, PAUSE_S))
        except (StreamError, OSError) as error:
            return str(error) or type(error).__name__
        return Many(plan.workers, heard, (target.cpu_ns() - before) / 1e3 / max(1, heard.received))


def answer(plan: Plan, found: Many | str) -> Answer:
    """found: of `measure`."""
    columns = ("", "workers", "streams delivering", "KiB each", "CPU us/event")
    if isinstance(found, str):
        table = Table("Event streams", columns, (("fastgw", str(plan.workers), "failed", "-", "-"),), (found,))
        budget = Budget(f"event streams that deliver, of {plan.streams:,}", 0, plan.streams, at_most=False)
        return Answer(NAME, __doc__ or "", (table,), (budget,), {"fastgw": {"failed": found}})
    heard = found.heard
    delivering = f"{heard.delivering:,} of {heard.streams:,}"
    row = ("fastgw", str(found.workers), delivering, f"{heard.kib_each:.1f}", f"{found.cpu_us:.0f}")
    budgets = (
        Budget(f"event streams that deliver, of {heard.streams:,}", heard.delivering, heard.streams, at_most=False),
        Budget("KiB for each open event stream", heard.kib_each, KIB_LIMIT),
    )
    return Answer(NAME, __doc__ or "", (Table("Event streams", columns, (row,)),), budgets, {"fastgw": asdict(found)})
