"""Exactly the limit, never one more or less: eight processes on two gateways, one client key, as fast as they can.

Redis notes the time of each request that it admits: the members of the client's window. A watcher collects them all,
as it looks far more often than the window moves. Then it is a matter of arithmetic:

    never more   each admitted request is a whole window later than the one `LIMIT` places before it
    never less   each refused request was refused while the window was full: at some moment between its being sent and
                 its answer, LIMIT requests had been admitted within the window before that moment

Redis, gateways and clients read the same clock. RATE_LIMIT_ON_REDIS_FAILURE is `closed`, so that an answer that was
given without Redis would be a 503; such a one proves nothing either way.
FASTGW_EXACT_SECONDS: how long each of the two runs hammers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from array import array
from bisect import bisect_right
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Self

import pytest

from tests.support.processes import ROOT, Gateway, Uvicorn

SECONDS = float(os.environ.get("FASTGW_EXACT_SECONDS", "5"))
LIMIT = 50
WINDOW_US = 1_000_000
GATEWAYS, WORKERS, CONNECTIONS = 2, 4, 4
LOOK_EVERY_S = 0.02
NUMBERS = count(1)


class Watcher:
    """Collects the members of a window while the `with` block runs."""

    def __init__(self, admin, key: str) -> None:
        self.members: set[int] = set()
        self.longest_gap_s = 0.0
        self._admin, self._key = admin, key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        before = monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            began = monotonic()
            self._look()
            self.longest_gap_s = max(self.longest_gap_s, monotonic() - before)
            before = began

    def _look(self) -> None:
        self.members.update(map(int, self._admin.zrange(self._key, 0, -1)))


@dataclass
class Run:
    """What was seen: times in us, sorted; requests as (sent, answered, status)."""

    admitted: list[int]
    requests: list[tuple[int, int, int]]
    connections: dict[str, int]
    longest_gap_s: float

    def statuses(self) -> Counter[int]:
        return Counter(status for _, _, status in self.requests)


@pytest.fixture(params=["valkey", "cluster"])
def run(request, tmp_path) -> Run:
    servers = request.getfixturevalue(request.param)
    client = f"198.18.200.{next(NUMBERS)}"
    settings = {
        "REDIS_URL": servers.url,
        "GATEWAY_WORKERS": WORKERS,
        "RATE_LIMIT_ENABLED": "true",
        "RATE_LIMIT_MAX_REQUESTS": LIMIT,
        "RATE_LIMIT_WINDOW_MS": WINDOW_US // 1000,
        "RATE_LIMIT_ON_REDIS_FAILURE": "closed",
    }
    with ExitStack() as running:
        backend = running.enter_context(Uvicorn("tests.support.quiet_app:app"))
        fleet = [running.enter_context(Gateway(backend.url, **settings)) for _ in range(GATEWAYS)]
        return hammered(servers.admin, client, [gateway.port for gateway in fleet], tmp_path / "requests")


def hammered(admin, client: str, ports: list[int], notes) -> Run:
    command = [sys.executable, "-m", "tests.support.hammer", str(notes), str(SECONDS), client]
    with (
        subprocess.Popen(
            [*command, str(WORKERS), str(CONNECTIONS), *map(str, ports)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as load,
        Watcher(admin, f"gateway:ratelimit:{client}") as watcher,
    ):
        connections = json.loads(load.stdout.readline())
        load.communicate(b"go\n", timeout=SECONDS + 60)
        assert load.returncode == 0
    numbers = array("q", notes.read_bytes())
    requests = list(zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True))
    return Run(sorted(watcher.members), requests, connections, watcher.longest_gap_s)


def full_times(admitted: list[int]) -> tuple[list[int], list[int]]:
    """When the window was full: from the LIMIT-th request after an admitted one, until that one leaves. Both sorted."""
    pairs = [(last, first + WINDOW_US) for first, last in zip(admitted, admitted[LIMIT - 1 :], strict=False)]
    full = [(start, end) for start, end in pairs if start < end]
    return [start for start, _ in full], [end for _, end in full]


def unjustified(requests: list[tuple[int, int, int]], admitted: list[int]) -> list[tuple[int, int]]:
    """Requests that were refused though at no moment meanwhile the window was full."""
    starts, ends = full_times(admitted)
    found = []
    for sent, answered, status in requests:
        if status == 429:
            last = bisect_right(starts, answered) - 1  # it ends last of all that have begun by then
            if last < 0 or ends[last] <= sent:
                found.append((sent, answered))
    return found


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 100)
def test_eight_processes_admit_exactly_the_limit(run: Run, record_property) -> None:
    statuses, admitted = run.statuses(), run.admitted
    spans = [later - earlier for earlier, later in zip(admitted, admitted[LIMIT:], strict=False)]
    waits = sorted(answered - sent for sent, answered, _ in run.requests)
    figures = {
        "requests": len(run.requests),
        "statuses": dict(statuses),
        "per_second": round(len(run.requests) / SECONDS),
        "members": len(admitted),
        "shortest_span_us": min(spans, default=0),
        "median_wait_us": waits[len(waits) // 2],
        "p99_wait_us": waits[len(waits) * 99 // 100],
        "longest_gap_s": round(run.longest_gap_s, 3),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
    assert len(run.connections) == GATEWAYS * WORKERS
    assert run.longest_gap_s < WINDOW_US / 1e6, "the watcher may have missed some"
    assert statuses.keys() <= {200, 429, 503}
    assert min(spans) >= WINDOW_US, "never more"
    assert unjustified(run.requests, admitted) == [], "never less"
    assert unjustified(run.requests, admitted[:LIMIT] + admitted[LIMIT + 1 :]), "one less would have been noticed"
    assert statuses[200] <= len(admitted) <= statuses[200] + statuses[503]
    assert statuses[200] >= LIMIT * (SECONDS - 1) * 0.8, "the load did not fill the windows"
    assert len(run.requests) > 500 * SECONDS, "that was no hammering"
