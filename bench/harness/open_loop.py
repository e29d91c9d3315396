"""Open-loop load: GETs are due at times of their own, whether or not earlier ones have been answered.

Times between requests are exponential (many clients that know nothing of each other: a Poisson process). A request
that is due goes out on a kept-alive connection that has nothing to do; where there is none it waits for one. Each
connection has had a request before. Latency is counted from the moment it was due: a gateway that stops for a while is
charged with all the requests that would have been sent meanwhile. A closed loop sends none, and so leaves them out
("coordinated omission"; wrk2 counts as this does).

The client's own delay is in the figures, as it is in those of the peer that is measured beside: `late_ms` is what of
it can be told, the time from due to sent where a connection was free.

`python -m bench.harness.open_loop`, with a Plan as JSON on stdin, drives and prints what was Seen as JSON; `run` has
that done on a core of its own.
"""

from __future__ import annotations

import ctypes
import gc
import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from random import Random

from bench.harness.cores import pinned
from bench.harness.load import SLACK_S, LoadError
from bench.harness.process import HOST
from bench.harness.stats import percentile

MOST_PER_S = 20_000
"""What this client can send on a core that it shares with a small backend: above it the latencies are its own."""

ANSWER_LIMIT_S = 10.0  # after the last request was due: what has not come by then is an error
_READ_BYTES = 256 * 1024
_PR_SET_TIMERSLACK = 29  # prctl(2): how much later than asked the kernel may wake us, 50 us by default


@dataclass(frozen=True)
class Plan:
    """rate: requests per second. fields: header fields besides Host. seed: the same one gives the same times."""

    port: int
    path: str
    fields: tuple[tuple[str, str], ...]
    rate: float
    seconds: float
    connections: int
    seed: int = 1


@dataclass(frozen=True)
class Seen:
    """errors: statuses of 400 and above, broken connections, and answers that did not come in time; not in latencies.

    per_second: good answers.
    """

    requests: int
    errors: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_ms: float  # p99


def run(plan: Plan, core: int) -> Seen:
    """In a process of its own. Raises LoadError."""
    argv = [sys.executable, "-m", "bench.harness.open_loop"]
    limit = plan.seconds + ANSWER_LIMIT_S + SLACK_S
    try:
        with pinned(core):
            done = subprocess.run(
                argv, input=json.dumps(asdict(plan)), capture_output=True, text=True, timeout=limit, check=False
            )
    except subprocess.TimeoutExpired as expired:
        raise LoadError(f"the open-loop client did not end within {limit:.0f} s") from expired
    if done.returncode:
        raise LoadError(f"the open-loop client failed: {done.stderr.strip()[-300:]}")
    seen = Seen(**json.loads(done.stdout))
    if seen.requests <= seen.errors:
        raise LoadError(f"no good answer: {seen.requests} requests, {seen.errors} errors")
    return seen


class _Connection:
    """due: when the request that is under way on it was due."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.due = 0.0
        self.rest = b""
        self.socket = self._opened()

    def _opened(self) -> socket.socket:
        opened = socket.create_connection((HOST, self.port), ANSWER_LIMIT_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        return opened

    def greet(self, request: bytes) -> None:
        """One request, its answer awaited and not counted: what opening a connection costs is another question."""
        self.socket.send(request)
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while self.received() is None and time.monotonic() < deadline:
            select.select([self.socket], [], [], ANSWER_LIMIT_S)

    def reopen(self) -> None:
        self.socket.close()
        self.rest = b""
        self.socket = self._opened()

    def received(self) -> int | None:
        """The status once the whole answer is there; 0: the connection broke."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if not data:
            return 0
        data = self.rest + data if self.rest else data
        head, end, body = data.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            self.rest = data
            return None
        self.rest = b""
        return int(data[9:12])


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    if at < 0:
        raise ValueError("an answer without Content-Length can't be measured here")
    return int(head[at + 17 :].partition(b"\r\n")[0])


def drive(plan: Plan) -> Seen:
    """Raises OSError if the first connections can't be opened."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    fields = "".join(f"{name}: {value}\r\n" for name, value in plan.fields)
    request = f"GET {plan.path} HTTP/1.1\r\nHost: bench\r\n{fields}\r\n".encode()
    poll = select.epoll()
    connections = {}
    for _ in range(plan.connections):
        connection = _Connection(plan.port)
        connection.greet(request)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    gc.disable()
    return _Driving(plan, request, poll, connections).run()


class _Driving:
    """One run. latencies, late: seconds."""

    def __init__(self, plan: Plan, request: bytes, poll: select.epoll, connections: dict[int, _Connection]) -> None:
        self._plan, self._request, self._poll, self._connections = plan, request, poll, connections
        self._free = deque(connections.values())
        self._waiting: deque[float] = deque()  # when they were due
        self._latencies: list[float] = []
        self._late: list[float] = []
        self._sent = self._errors = 0

    def run(self) -> Seen:
        random, watched = Random(self._plan.seed), [self._poll.fileno()]
        begin = time.perf_counter()
        end, due = begin + self._plan.seconds, begin
        while True:
            now = time.perf_counter()
            while due <= now and due < end:
                self._sent += 1
                if self._free:
                    self._late.append(now - due)
                    self._send(self._free.popleft(), due)
                else:
                    self._waiting.append(due)
                due += random.expovariate(self._plan.rate)
            if due >= end and len(self._free) == len(self._connections):
                break
            if now > end + ANSWER_LIMIT_S:
                self._errors += len(self._connections) - len(self._free) + len(self._waiting)
                break
            select.select(watched, [], [], max(0.0, due - now) if due < end else 0.1)  # epoll's own waits are whole ms
            for number, _ in self._poll.poll(0):
                self._heard(self._connections[number])
        return self._seen(time.perf_counter() - begin)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.due = due
        try:
            connection.socket.send(self._request)
        except OSError:
            self._broken(connection)

    def _heard(self, connection: _Connection) -> None:
        status = connection.received()
        if status is None:
            return
        if status == 0:
            self._broken(connection)
            return
        if status < 400:
            self._latencies.append(time.perf_counter() - connection.due)
        else:
            self._errors += 1
        self._next(connection)

    def _broken(self, connection: _Connection) -> None:
        """One that had nothing to do may be closed by the other side: that is no error."""
        idle = connection in self._free
        self._errors += not idle
        del self._connections[connection.socket.fileno()]
        connection.reopen()
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        if not idle:
            self._next(connection)

    def _next(self, connection: _Connection) -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    def _seen(self, took: float) -> Seen:
        millis = sorted(second * 1e3 for second in self._latencies) or [float("inf")]
        late = sorted(second * 1e3 for second in self._late) or [0.0]
        return Seen(
            requests=self._sent,
            errors=self._errors,
            per_second=len(self._latencies) / took,
            p50_ms=percentile(millis, 50),
            p90_ms=percentile(millis, 90),
            p99_ms=percentile(millis, 99),
            p999_ms=percentile(millis, 99.9),
            max_ms=millis[-1],
            late_ms=percentile(late, 99),
        )


if __name__ == "__main__":
    print(json.dumps(asdict(drive(Plan(**json.load(sys.stdin))))))
