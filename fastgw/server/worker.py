"""One worker process: granian's ASGI server around our application.

What granian's own entry for workers does, with four differences: it serves a socket that the parent owns, it
calls the application without the layers of wrapping (0.5 us a request, bench/experiments), it tells the parent
when it is ready, and it leaves SIGINT to the parent and its own end to drain.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import uvloop
from granian._futures import _new_cbscheduler
from granian._granian import ASGIWorker, SocketHolder, WorkerSignal
from granian.asgi import LifespanProtocol
from granian.http import HTTP1Settings, HTTP2Settings

from fastgw.background import Drain
from fastgw.server.drain import Leaving
from fastgw.server.sockets import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

RUNTIME_MODE: Final = "mt"
"""granian's Rust side on a thread pool of one. Within noise of "st" in cost, and the one that serves HTTP/2."""

RUNTIME_THREADS: Final = 1
"""Of granian's Rust side: parsing costs a fifth of what Python does, and a second thread only wakes the first."""

MAX_CONNECTIONS: Final = 65536
"""Client connections per worker (granian's backpressure): file limits are met first, so it never blocks streams."""

HTTP1: Final = HTTP1Settings(
    # Also ends idle keep-alive connections: longer than load balancers keep theirs (60 s), as in nginx.
    header_read_timeout=75_000,
    # Read and write buffer of one client connection. Bounds what a slow reader holds, and the size of a head.
    max_buffer_size=64 * 1024,
)

HTTP2: Final = HTTP2Settings(
    max_headers_size=64 * 1024,
    max_send_buffer_size=64 * 1024,
    initial_stream_window_size=256 * 1024,
    keep_alive_interval=30_000,
)

TLS_MINIMUM: Final = "tls1.2"
"""Older versions are forbidden (RFC 8996)."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Requests make no cycles; a full collection of the start's objects cost 10 ms pauses (p99 at 64 connections: 16 ms
with Python's defaults, 6 ms frozen). What the start made is frozen, the rest is looked at rarely."""


SWITCH_S: Final = 0.001
"""How long granian's thread, with a request in its hands, waits for a busy event loop to let it in. With Python's 5 ms
each request that comes in a long turn of the loop waits as long, one after the other: the health page too."""


HANDLED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What the parent has handlers for. Blocked while it forks; the worker unblocks them once it has its own."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know."""

    number: int
    listener: socket.socket
    others: tuple[socket.socket, ...]
    """The listeners of the other workers, inherited by fork: kept open they would keep the port open."""
    build: Callable[[Drain], Any]
    """Makes the ASGI application."""
    tls: tuple[str, str] | None
    """Paths of certificate and key."""
    ready_fd: int
    """Where a byte is written when the worker serves."""
    tie_to_parent: Callable[[], None]
    """Has the kernel end this process when its parent is gone, however that happened."""
    grace_s: float
    """Seconds from the word to end until the end, at most."""


def work(job: Job) -> None:
    """Be a worker until told to end, then finish what is under way. The target of the process."""
    signal.set_wakeup_fd(-1)  # the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until it serves there is nothing to finish
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    job.tie_to_parent()
    for other in job.others:
        other.close()

    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    drain = Drain()
    stop = WorkerSignal()
    app = job.build(drain)
    lifespan = LifespanProtocol(app)
    loop.run_until_complete(lifespan.startup())
    if lifespan.interrupt or lifespan.errored:  # granian alone would serve an application that failed to start
        logging.getLogger("fastgw").error("worker %d could not start", job.number, exc_info=lifespan.exc)
        sys.exit(1)

    stopped = asyncio.Event()
    stop.add_cb(lambda: loop.call_soon_threadsafe(stopped.set))
    leaving = Leaving(drain, loop, job.listener.fileno(), stop.set, job.grace_s)
    worker = _asgi_worker(job)
    scheduler = _new_cbscheduler(loop, _watched(app), impl_asyncio=True)
    serve = worker.serve_mtr if RUNTIME_MODE == "mt" else worker.serve_str
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    with _threads_that_yield():
        serve(scheduler, loop, stop)

    async def serving() -> None:
        # in the running loop: uvloop loses a signal that comes between the adding of its handler and its start
        loop.add_signal_handler(signal.SIGTERM, leaving.stop)
        loop.add_signal_handler(signal.SIGUSR1, leaving.give_way)
        os.write(job.ready_fd, b"1")
        os.close(job.ready_fd)
        await stopped.wait()

    loop.run_until_complete(serving())
    loop.run_until_complete(lifespan.shutdown())


@contextlib.contextmanager
def _threads_that_yield() -> Iterator[None]:
    """Threads started inside do not interrupt the event loop's thread when they are woken (SCHED_BATCH, sched(7)).

    For each request granian's threads and the loop wake each other; on a busy core every such wake-up took the
    loop off the core. Measured on one core (us of CPU per request at 64 and at 8 connections): all threads normal
    36.5 and 71, all batch 33.2 and 47, granian's batch and the loop normal 33.1 and 48. The last is as quick as
    normal when others compete for the core (p90 3.7 ms; all batch 5.0, all normal 3.9), so it is what we do.
    Where the system forbids it, all works as before.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (OSError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _watched(app: Callable[..., Awaitable[None]]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """The application as granian's scheduler wants it: given a watcher that holds scope and protocol."""

    async def watched(watcher: Any) -> None:
        proto = watcher.proto
        try:
            await app(watcher.scope, proto.receive, proto.send)
        except BaseException as error:
            watcher.err(error)
            return
        watcher.done()

    return watched


def _asgi_worker(job: Job) -> Any:
    # granian's type stubs lag behind its constructors
    hold, make = cast("Callable[..., Any]", SocketHolder), cast("Callable[..., Any]", ASGIWorker)
    holder = hold(job.listener.detach(), False, BACKLOG)  # no unix socket
    cert, key = job.tls or (None, None)
    return make(
        job.number,
        (None, holder),
        None,  # no channel to granian's metrics
        RUNTIME_THREADS,
        32,  # file threads of the runtime: unused, as nothing is served from files
        1,  # threads that enter Python: more than one is refused for ASGI
        30,  # their idle time-out, seconds
        MAX_CONNECTIONS,
        "auto",
        HTTP1,
        HTTP2,
        True,  # WebSockets
        None,  # no static files
        job.tls is not None,
        cert,
        key,
        None,  # password
        TLS_MINIMUM,
        None,  # client CA
        [],
        False,  # no client certificates
        (None, None),  # metrics
    )
