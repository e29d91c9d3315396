"""How much memory do long bodies and open event streams take?

Method: three parts, the gateway started fresh for each, warmed, and all its processes' resident memory watched.
download: a backend offers 1 GiB at once, the client reads 1 MiB/s. upload: the client offers 1 GiB at once, the backend
reads 1 MiB/s. Both are watched for a sample of seconds, not for the 17 minutes they would last: without backpressure a
gateway takes in hundreds of MiB within these seconds. events: 2,000 clients open an event stream each, one after the
other in batches; once all had an event, each must get three more while all are open.

Read it with care:
- Resident memory only: what the kernel buffers in sockets is not in it, for no peer.
- A leak slower than the sample shows in soak tests, not here. An allocator may keep pages: growth is an upper bound.
- KiB per stream is growth divided by streams, so it holds buffers, tasks and pool entries, and tables that grew.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.backends.streams import BODY_BYTES, SLOW_BYTES_PER_S
from bench.harness.cores import pinned
from bench.harness.load import LoadError
from bench.harness.process import Running, StartError, running_peer
from bench.harness.streams import Heard, Moved, StreamError, listen, read_slowly, streams_possible, write_fast
from bench.report.answer import ABSENT, Answer, Budget, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.cores import Cores
    from bench.harness.load import Generator
    from bench.harness.process import Peer

NAME = "streams_memory"
SUBJECT = "fastgw"
PARTS = ("download", "upload", "events")
GROWTH_LIMIT_MIB = 16.0  # issue 2
KIB_LIMIT = 60.0  # issue 2; granian's own share is about 33
EVENTS_EACH = 3
EVENTS_LIMIT_S = 20.0
WARM_CONNECTIONS = 16


@dataclass(frozen=True)
class Plan:
    """seconds: of each body's sample. streams: asked for; fewer where the limit of open files is low."""

    peers: tuple[Peer, ...]
    seconds: int
    streams: int
    cores: Cores
    generator: Generator


Figures = dict[str, Moved | Heard | str]  # by part; text: why there is no figure


@dataclass
class Outcome:
    """figures[peer][part]. left_out[peer]: why it did not start."""

    figures: dict[str, Figures]
    left_out: dict[str, str]


def measure(plan: Plan, backend: Running, told: Callable[[str], None]) -> Outcome:
    """backend: bench.backends.streams. told: called with a line for people before each part."""
    streams = streams_possible(plan.streams)
    outcome = Outcome({}, {})
    for peer in plan.peers:
        figures: Figures = {}
        try:
            for part in PARTS:
                told(f"{peer.name}: {part}")
                figures[part] = _part(plan, peer, backend, part, streams)
        except StartError as error:
            outcome.left_out[peer.name] = str(error)
        else:
            outcome.figures[peer.name] = figures
    return outcome


def _part(plan: Plan, peer: Peer, backend: Running, part: str, streams: int) -> Moved | Heard | str:
    """Raises StartError. What goes wrong later is the peer's answer to this part."""
    with running_peer(peer, backend, plan.cores.gateway) as target, pinned(plan.cores.load):
        try:
            plan.generator.run(target.request(), WARM_CONNECTIONS, 1, plan.cores.load)
        except LoadError as error:
            return f"while warming up: {error}"
        memory = target.rss_bytes
        try:
            if part == "download":
                return asyncio.run(read_slowly(target.port, plan.seconds, SLOW_BYTES_PER_S, memory))
            if part == "upload":
                return asyncio.run(write_fast(target.port, plan.seconds, BODY_BYTES, memory))
            return asyncio.run(listen(target.port, streams, EVENTS_EACH, EVENTS_LIMIT_S, memory))
        except (StreamError, OSError) as error:
            return str(error) or type(error).__name__


def answer(found: dict[str, Figures]) -> Answer:
    """found: the figures of `measure`."""
    rows = tuple((peer, *_cells(figures)) for peer, figures in found.items())
    notes = tuple(
        f"{peer}: {part} failed: {figure}"
        for peer, figures in found.items()
        for part, figure in figures.items()
        if isinstance(figure, str)
    )
    columns = ("", "download: read MiB", "grew MiB", "upload: taken MiB", "grew MiB", "streams delivering", "KiB each")
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(Table("Memory of all processes of the gateway", columns, rows, notes),),
        budgets=_budgets(found.get(SUBJECT, {})),
        data={
            peer: {part: {"failed": one} if isinstance(one, str) else asdict(one) for part, one in figures.items()}
            for peer, figures in found.items()
        },
    )


def _cells(figures: Figures) -> list[str]:
    cells: list[str] = []
    for part in PARTS:
        figure = figures.get(part)
        if isinstance(figure, Moved):
            cells += [f"{figure.mib:.1f}", f"{figure.growth_mib:.1f}"]
        elif isinstance(figure, Heard):
            cells += [f"{figure.delivering:,} of {figure.streams:,}", f"{figure.kib_each:.1f}"]
        else:
            cells += ["failed", ABSENT]
    return cells


def _budgets(figures: Figures) -> tuple[Budget, ...]:
    budgets: list[Budget] = []
    for part, figure in figures.items():
        if isinstance(figure, Moved):
            budgets.append(Budget(f"memory growth during a slow {part}, MiB", figure.growth_mib, GROWTH_LIMIT_MIB))
        elif isinstance(figure, Heard):
            promise = f"event streams that deliver, of {figure.streams:,}"
            budgets.append(Budget(promise, figure.delivering, figure.streams, at_most=False))
            budgets.append(Budget("KiB for each open event stream", figure.kib_each, KIB_LIMIT))
    return tuple(budgets)
