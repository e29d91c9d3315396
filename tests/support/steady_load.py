"""One client, on several connections, that goes on asking while something happens to Redis; all answers are kept."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import Self

from tests.support.wait import until

CONNECTIONS = 4
PAUSE_S = 0.005
"""Between the requests of a connection: some 400 a second in all, which leaves two cores time for what happens."""


@dataclass(frozen=True)
class Seen:
    """An answer. wall_ms: as the client has waited; own_ms: of it in the gateway, by Server-Timing."""

    target: str
    status: int
    cache: str | None
    wall_ms: float
    own_ms: float


class SteadyLoad:
    """`with SteadyLoad(port, client, targets) as load: ...`. Targets are asked in turn; {n} in one makes it new."""

    def __init__(self, port: int, client: str, targets: list[str], **fields: str) -> None:
        """client: the address that X-Forwarded-For says. fields: more request fields, _ for -."""
        self.seen: list[Seen] = []
        self._port, self._targets = port, targets
        self._fields = {"X-Forwarded-For": client, **{k.replace("_", "-"): v for k, v in fields.items()}}
        self._numbers = count(1)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CONNECTIONS)]
        self._problems: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        if kind is None:
            assert not self._problems, self._problems

    def more(self, answers: int) -> None:
        """Wait for so many more."""
        wanted = len(self.seen) + answers
        until(lambda: len(self.seen) >= wanted or self._problems, 30, f"{answers} more answers")
        assert not self._problems, self._problems

    def until(self, holds: Callable[[Seen], bool], what: str, timeout_s: float = 15.0) -> None:
        """Wait for an answer, of those that come from now on."""
        start = len(self.seen)
        until(lambda: any(map(holds, self.seen[start:])), timeout_s, what)

    def admitted(self, *targets: str) -> int:
        """How many were let through, of these targets, or of all."""
        return sum(one.status == 200 and (not targets or one.target in targets) for one in self.seen)

    def statuses(self) -> Counter[tuple[int, str | None]]:
        return Counter((one.status, one.cache) for one in self.seen)

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        turn = number
        try:
            while not self._stop.wait(PAUSE_S):
                target = self._targets[turn % len(self._targets)]
                turn += 1
                self.seen.append(self._ask(connection, target))
        except Exception as error:
            self._problems.append(error)
        finally:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, target: str) -> Seen:
        begun = perf_counter()
        connection.request("GET", target.replace("{n}", str(next(self._numbers))), headers=self._fields)
        response = connection.getresponse()
        response.read()
        wall_ms = (perf_counter() - begun) * 1e3
        timing = response.getheader("server-timing", "gateway;dur=0")
        own_ms = float(timing.partition("gateway;dur=")[2].partition(",")[0])
        return Seen(target, response.status, response.getheader("x-gateway-cache"), wall_ms, own_ms)
