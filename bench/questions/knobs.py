"""The knobs that `tuning` turns: what is changed, from what to what, and under which load it shows.

before and after are peers of the same kind; `FastgwWith` changes settings (an operator's) or constants (ours).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.harness import chain
from bench.harness.process import PROBE_FIELDS, PROBE_PATH
from bench.harness.store import TCP, UNIX, Client
from bench.peers.fastgw import Fastgw, FastgwChain, FastgwTold, FastgwTraced, FastgwWhole, FastgwWith
from bench.peers.nginx import Nginx, NginxClosing

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.load import Fields
    from bench.harness.process import Command, Peer, Place

CREDENTIALS: Fields = tuple(PROBE_FIELDS.items())


@dataclass(frozen=True)
class Knob:
    """One knob.

    change: for people, from -> to. figure: of rounds.Sample, or with_backend_us, with_store_us (sums); for a burst of
    harness.burst.Burst. store: how Redis is reached, empty: none. slow_backend: answers after 50 ms. burst: all
    connections are opened at once, for one request each. in_front: fastgw, behind the peers, which are then nginx.
    """

    name: str
    change: str
    before: Peer
    after: Peer
    figure: str = "cpu_us"
    connections: int = 64
    path: str = PROBE_PATH
    fields: Fields = ()
    store: str = ""
    slow_backend: bool = False
    burst: bool = False
    in_front: Peer | None = None


class _OverUnix(FastgwChain):
    """The chain, whatever way to Redis the others take, over the unix socket."""

    name = "fastgw_unix"

    def command(self, home: Path, place: Place) -> Command | None:
        """Raises StartError without a store."""
        store = replace(place.store, by=UNIX) if place.store else None
        return super().command(home, replace(place, store=store))


class _WithThreads(FastgwChain):
    """The chain, over a Redis with an I/O thread more."""

    name = "fastgw_redis_threads"

    def command(self, home: Path, place: Place) -> Command | None:
        """Raises StartError without a store."""
        if place.store:
            with Client(place.store) as redis:
                redis.ask("CONFIG", "SET", "io-threads", "2")
        return super().command(home, place)


class _LogsTo(FastgwTold):
    """Its standard output to a file, or through a pipe to a program that reads it."""

    def __init__(self, name: str, sink: str) -> None:
        """sink: the end of a line of the shell."""
        self.name, self._sink = name, sink

    def command(self, home: Path, place: Place) -> Command | None:
        """The shell ends with what it starts."""
        command = super().command(home, place)
        assert command is not None
        return replace(command, argv=("sh", "-c", f"exec {shlex.join(command.argv)} {self._sink}"))


def _with(name: str, settings: dict[str, str], peer: Peer | None = None) -> Peer:
    return FastgwWith(peer or Fastgw(), name, settings)


def _constant(name: str, *constants: str) -> Peer:
    return FastgwWith(Fastgw(), name, {}, constants)


_WORKER = "fastgw.server.worker"
_SLOW_PATH = "/slow"
_UNPROTECTED = {"OVERLOAD_PROTECTION": "false"}

KNOBS: tuple[Knob, ...] = (
    # What an operator sets.
    Knob(
        "access log", "ACCESS_LOG true -> false", FastgwTold(), _with("silent", {"ACCESS_LOG": "false"}, FastgwTold())
    ),
    Knob(
        "metrics",
        "METRICS_ENABLED true -> false",
        FastgwTold(),
        _with("blind", {"METRICS_ENABLED": "false"}, FastgwTold()),
    ),
    Knob("log sink, none", "stdout to a file -> /dev/null", FastgwTold(), _LogsTo("unheard", "> /dev/null")),
    Knob("log sink, pipe", "stdout to a file -> a pipe to cat", FastgwTold(), _LogsTo("piped", "| cat > /dev/null")),
    Knob("log format", "LOG_FORMAT json -> text", FastgwTold(), _with("text", {"LOG_FORMAT": "text"}, FastgwTold())),
    Knob(
        "sampling, tenth",
        "OTEL_SAMPLE_RATIO 1 -> 0.1",
        FastgwTraced(),
        _with("tenth", {"OTEL_SAMPLE_RATIO": "0.1"}, FastgwTraced()),
    ),
    Knob("sampling, none", "OTEL_SAMPLE_RATIO 1 -> 0", FastgwTraced(), FastgwTold()),
    Knob(
        "rate limit",
        "RATE_LIMIT_ENABLED true -> false",
        FastgwWhole(),
        _with("unlimited", {"RATE_LIMIT_ENABLED": "false"}, FastgwWhole()),
        fields=CREDENTIALS,
        store=TCP,
    ),
    Knob(
        "cache a busy path",
        "CACHE_ROUTES without -> with the path",
        _with("uncached", {"CACHE_ROUTES": "/other=10"}, FastgwWhole()),
        FastgwWhole(),
        path=chain.HIT_200,
        fields=CREDENTIALS,
        store=TCP,
    ),
    Knob(
        "Redis over a unix socket",
        "REDIS_URL redis:// -> unix://",
        FastgwChain(),
        _OverUnix(),
        figure="with_store_us",
        fields=CREDENTIALS,
        store=TCP,
    ),
    Knob(
        "Redis with I/O threads",
        "io-threads 1 -> 2",
        FastgwChain(),
        _WithThreads(),
        figure="with_store_us",
        fields=CREDENTIALS,
        store=TCP,
    ),
    Knob(
        "pool size",
        "FASTAPI_POOL_SIZE 16 -> 256, 64 clients, backend takes 50 ms",
        _with("pool_16", {"FASTAPI_POOL_SIZE": "16"}),
        _with("pool_256", {"FASTAPI_POOL_SIZE": "256"}),
        figure="good_per_second",
        path=_SLOW_PATH,
        slow_backend=True,
    ),
    Knob(
        "overload protection",
        "OVERLOAD_PROTECTION true -> false, 64 clients",
        Fastgw(),
        _with("unprotected", _UNPROTECTED),
    ),
    Knob(
        "nginx keeps connections to the gateway",
        "proxy_http_version 1.0, Connection: close -> 1.1, keepalive 256",
        NginxClosing(),
        Nginx(),
        figure="with_backend_us",
        in_front=Fastgw(),
    ),
    Knob(
        "open files",
        "ulimit -n 1024 -> the system's, 2,000 connections at once",
        FastgwWith(Fastgw(), "few_files", _UNPROTECTED, open_files=1024),
        _with("many_files", _UNPROTECTED),
        figure="answered",
        connections=2000,
        burst=True,
    ),
    # What we have set, and what the other choice costs.
    Knob(
        "backlog",
        "backlog (or net.core.somaxconn) 128 -> 4096, 2,000 connections at once",
        FastgwWith(
            Fastgw(), "backlog_128", _UNPROTECTED, ("fastgw.server.sockets:BACKLOG=128", f"{_WORKER}:BACKLOG=128")
        ),
        _with("backlog_4096", _UNPROTECTED),
        figure="slowest_ms",
        connections=2000,
        burst=True,
    ),
    Knob(
        "granian's backpressure",
        "MAX_CONNECTIONS 64 -> 65536, 256 clients, backend takes 50 ms",
        _constant("few_clients", f"{_WORKER}:MAX_CONNECTIONS=64"),
        Fastgw(),
        figure="good_per_second",
        connections=256,
        path=_SLOW_PATH,
        slow_backend=True,
    ),
    Knob(
        "granian's threads",
        "RUNTIME_THREADS 2 -> 1",
        _constant("two_threads", f"{_WORKER}:RUNTIME_THREADS=2"),
        Fastgw(),
    ),
    Knob(
        "thread switch",
        "SWITCH_S 5 -> 1 ms (Python's own -> ours)",
        _constant("slow_switch", f"{_WORKER}:SWITCH_S=0.005"),
        Fastgw(),
        figure="p99_ms",
    ),
    Knob(
        "garbage collection",
        "GC_THRESHOLDS (700, 10, 10) -> (50000, 20, 100)",
        _constant("eager_gc", f"{_WORKER}:GC_THRESHOLDS=(700,10,10)"),
        Fastgw(),
        figure="p99_ms",
    ),
)
