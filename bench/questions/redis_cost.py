"""What does an admission take of Redis, in CPU and in memory, as clients and cached entries grow?

Method: a fresh Valkey on the core of load and backend; the bench calls fastgw's admission.lua itself, 100 calls per
write on one connection, as a busy gateway does. CPU is user plus system time of the Valkey process, from /proc, per
call, over repeated stretches: median [lowest..highest]. Memory is Valkey's own used_memory, per key added.
clients: calls with a limit and without a lookup, each for a random one of so many clients, all of whose windows exist.
entries: calls with a limit (one of 1,000 clients) and a lookup of a random one of so many entries of 5 KB. "copy held":
the caller names the beginning of the value that it has, and gets a yes; "value sent": it has none and gets the value.

Read it with care:
- A client gets 100 requests (the default limit) at most: windows are then emptied, outside of what is measured. "mean
  in window" says how many requests a window held: one client's fill up, a million clients' hold hardly more than one.
- Calls come 100 at a time. A gateway that has little to do sends single calls, and Redis then takes more for each: it
  reads, writes and wakes up for one call.
- used_memory holds what the allocator rounds up, not its fragmentation; nothing of the process itself.
- The entries are JSON like those of the gateway in size, and listed in its index; they were not made by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from bench.harness.stats import Spread, spread
from bench.harness.store import Client, Command, running_store
from bench.report.answer import ABSENT, Answer, Budget, Table, show
from fastgw.store.keys import Keys
from fastgw.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bench.harness.cores import Cores
    from bench.harness.store import Store

NAME = "redis_cost"
CLIENTS = (1, 1_000, 100_000, 1_000_000)
ENTRIES = (10, 1_000, 100_000)
BATCH = 100
STRETCHES = 3
CALLS = 20_000  # per stretch: about 0.2 s of Redis
PER_WINDOW = 100  # RATE_LIMIT_MAX_REQUESTS by default
NEVER_REFUSED = 1_000_000
WINDOW_US = 60_000_000  # RATE_LIMIT_WINDOW_MS by default
ENTRY_MS = 600_000
STAMP_BYTES = 40
BODY_BYTES = 5_000
NOT_AFTER = 9_007_199_254_740_991
ENOUGH = 1_000  # keys from which on memory per key says something
GUIDE_COUNT = 1_000
GUIDE_LIMIT_MB = 10.0  # issue 3, spec 11: 1,000 clients and 1,000 responses of 5 KB

SCRIPT = load("fastgw.admission", "admission.lua")
KEYS = Keys()


@dataclass(frozen=True)
class Plan:
    """clients, entries: the largest sizes that are measured; the smaller ones of CLIENTS and ENTRIES too."""

    clients: int
    entries: int
    cores: Cores

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What is measured, in order."""
        by_kind = (("clients", CLIENTS, self.clients), ("entries", ENTRIES, self.entries))
        return tuple((kind, size) for kind, sizes, most in by_kind for size in sizes if size <= most)


@dataclass
class Row:
    """One size. cpu_us: per call, by what is asked. bytes_each: memory per key added; None: too few to tell."""

    size: int
    cpu_us: dict[str, Spread] = field(default_factory=dict)
    mean_in_window: float = 0.0
    bytes_each: float | None = None


@dataclass
class Outcome:
    """Rows by kind, and guide_mb: what 1,000 clients with full windows and 1,000 entries take, MB."""

    clients: list[Row] = field(default_factory=list)
    entries: list[Row] = field(default_factory=list)
    guide_mb: float = 0.0


def measure(plan: Plan, told: Callable[[str], None]) -> Outcome:
    """told: called with a line for people before each part. Raises StartError."""
    outcome = Outcome()
    for kind, size in plan.parts:
        told(f"redis_cost: {size:,} {kind}")
        with running_store(plan.cores.backend) as store, Client(store) as client:
            client.ask("SCRIPT", "LOAD", SCRIPT.text)
            if kind == "clients":
                outcome.clients.append(_clients(store, client, size))
            else:
                outcome.entries.append(_entries(store, client, size))
    with running_store(plan.cores.backend) as store, Client(store) as client:
        client.ask("SCRIPT", "LOAD", SCRIPT.text)
        outcome.guide_mb = _guide(client)
    return outcome


# -- the calls ------------------------------------------------------------------------------------------


def _window(number: int) -> bytes:
    """The window of client `number`: an address of 10.0.0.0/8."""
    return KEYS.ratelimit(b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255))


def _entry_name(number: int) -> bytes:
    return b"{%032x}" % number


def _stamp(number: int) -> bytes:
    return (b'{"stamp":"%x"' % number).ljust(STAMP_BYTES)


def _admission(window: bytes, entry: bytes | None = None, stamp: bytes = b"") -> Command:
    keys, lookup = ((window,), 0) if entry is None else ((window, entry), 1)
    counted = (NEVER_REFUSED, WINDOW_US, NOT_AFTER)
    return (b"EVALSHA", SCRIPT.sha, len(keys), *keys, *counted, lookup, stamp, b"", b"", 0)


def _sent(client: Client, commands: Iterable[Command]) -> None:
    """In batches."""
    batch: list[Command] = []
    for command in commands:
        batch.append(command)
        if len(batch) == BATCH:
            client.batch(batch)
            batch = []
    if batch:
        client.batch(batch)


def _add_entries(client: Client, size: int) -> None:
    """Values of BODY_BYTES in JSON, each with a beginning of its own, and the index of them."""
    body = b'"body":"%b"}' % (b"x" * BODY_BYTES)

    def commands() -> Iterator[Command]:
        for number in range(size):
            name = _entry_name(number)
            yield (b"SET", KEYS.cache(name), _stamp(number) + b"," + body, b"PX", ENTRY_MS)
            yield (b"SADD", KEYS.cache_index, name)

    _sent(client, commands())


# -- the measurements -----------------------------------------------------------------------------------


def _cpu_us(store: Store, client: Client, commands: list[Command]) -> float:
    before = store.process.cpu_ns()
    _sent(client, commands)
    return (store.process.cpu_ns() - before) / 1e3 / len(commands)


def _clients(store: Store, client: Client, size: int) -> Row:
    """Each window gets a request first; few windows are emptied before more than PER_WINDOW could be in one."""
    before = client.used_memory()
    _sent(client, (_admission(_window(number)) for number in range(size)))
    row = Row(size, bytes_each=(client.used_memory() - before) / size if size >= ENOUGH else None)
    random = Random(size)
    calls = min(CALLS, PER_WINDOW * size)
    is_emptied = size < CALLS
    costs = []
    for _ in range(STRETCHES):
        spent = 0.0
        for _ in range(CALLS // calls):
            if is_emptied:
                _empty_windows(client, size)
            spent += _cpu_us(store, client, [_admission(_window(random.randrange(size))) for _ in range(calls)])
        costs.append(spent / (CALLS // calls))
    row.cpu_us["limit"] = spread(costs)
    row.mean_in_window = calls / size / 2 if is_emptied else 1 + STRETCHES * CALLS / size / 2
    return row


def _empty_windows(client: Client, size: int) -> None:
    _sent(client, ((b"DEL", _window(number)) for number in range(size)))


def _entries(store: Store, client: Client, size: int) -> Row:
    before = client.used_memory()
    _add_entries(client, size)
    row = Row(size, bytes_each=(client.used_memory() - before) / size if size >= ENOUGH else None)
    random = Random(size)

    def calls(*, is_held: bool) -> list[Command]:
        chosen = (random.randrange(size) for _ in range(CALLS))
        return [
            _admission(
                _window(random.randrange(GUIDE_COUNT)),
                KEYS.cache(_entry_name(number)),
                _stamp(number) if is_held else b"",
            )
            for number in chosen
        ]

    for asked, is_held in (("copy held", True), ("value sent", False)):
        costs = []
        for _ in range(STRETCHES):
            _empty_windows(client, GUIDE_COUNT)
            costs.append(_cpu_us(store, client, calls(is_held=is_held)))
        row.cpu_us[asked] = spread(costs)
    row.mean_in_window = CALLS / GUIDE_COUNT / 2
    return row


def _guide(client: Client) -> float:
    before = client.used_memory()
    _sent(client, (_admission(_window(number % GUIDE_COUNT)) for number in range(GUIDE_COUNT * PER_WINDOW)))
    _add_entries(client, GUIDE_COUNT)
    return (client.used_memory() - before) / 1e6


# -- the answer -----------------------------------------------------------------------------------------


def answer(found: Outcome) -> Answer:
    """found: of `measure`."""
    clients = tuple(
        (f"{row.size:,}", show(row.cpu_us["limit"], 2), f"{row.mean_in_window:,.1f}", _bytes(row))
        for row in found.clients
    )
    asked = ("copy held", "value sent")
    entries = tuple(
        (f"{row.size:,}", *(show(row.cpu_us[one], 2) for one in asked), _bytes(row)) for row in found.entries
    )
    promise = f"{GUIDE_COUNT:,} clients with {PER_WINDOW} requests each and {GUIDE_COUNT:,} entries of 5 KB, MB"
    return Answer(
        question=NAME,
        method=__doc__ or "",
        tables=(
            Table("Clients", ("clients", "Redis CPU us/call", "mean in window", "bytes per new client"), clients),
            Table("Entries of 5 KB", ("entries", *(f"CPU us/call, {one}" for one in asked), "bytes each"), entries),
        ),
        budgets=(Budget(promise, found.guide_mb, GUIDE_LIMIT_MB),),
        data=_data(found),
    )


def _bytes(row: Row) -> str:
    return ABSENT if row.bytes_each is None else f"{row.bytes_each:,.0f}"


def _data(found: Outcome) -> dict[str, Any]:
    return {
        "clients": {str(row.size): asdict(row) for row in found.clients},
        "entries": {str(row.size): asdict(row) for row in found.entries},
        "guide": {"mb": round(found.guide_mb, 3)},
    }
