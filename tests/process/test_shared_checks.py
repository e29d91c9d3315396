"""Active checks: one process of a host asks, all know, and its death or a reload leaves no gap."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import threading
import time
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Uvicorn
from tests.support.raw_client import request
from tests.support.serve_process import ServeProcess, until

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL_S = 0.8
LATE_S = INTERVAL_S + 1.5
"""The longest from one check to the next: the interval, its jitter, a tick, and a busy machine."""

WORKERS = 3
FLOCK = "hhqqi"  # struct flock: type, whence, start, length, pid


@pytest.fixture
def backend() -> Iterator[Uvicorn]:
    with Uvicorn("tests.support.moody_app:app") as server:
        yield server


@pytest.fixture
def gateway(backend: Uvicorn, tmp_path: Path) -> Iterator[ServeProcess]:
    with ServeProcess.serve(
        tmp_path,
        WORKERS,
        FASTAPI_URL=backend.url,
        ROUTER_HEALTH_CHECK_INTERVAL=str(int(INTERVAL_S * 1e3)),
        RATE_LIMIT_ENABLED="false",
    ) as gateway:
        gateway.wait_up()
        yield gateway


def asked(backend: Uvicorn) -> list[float]:
    return request(backend.port, "/_asked").json["health"]


def asker(gateway: ServeProcess) -> int:
    """The process that holds the lock of the checks; 0: none does."""
    inherited = Path(f"/proc/{gateway.process.pid}/fd")
    [lock] = [fd for fd in inherited.iterdir() if "fastgw-checks" in str(fd.readlink())]
    fd = os.open(lock, os.O_RDWR)
    try:
        told = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
    finally:
        os.close(fd)
    kind, _, _, _, pid = struct.unpack(FLOCK, told)
    return 0 if kind == fcntl.F_UNLCK else pid


def is_one_asker(times: list[float], handovers: int = 0) -> bool:
    """Whether they are as few as one process makes; each handover may bring one that came too early."""
    return len(times) <= (times[-1] - times[0]) / (0.9 * INTERVAL_S) + 1.5 + handovers


def ask_in_vain(gateway: ServeProcess) -> None:
    with contextlib.suppress(OSError, HTTPException):
        gateway.get("/", 40)


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(times)]


def by_process(gateway: ServeProcess, wanted: int = WORKERS) -> list[dict[str, object]]:
    """What `wanted` different processes tell of their (only) backend."""
    told: dict[str, dict[str, object]] = {}

    def ask() -> bool:
        content = json.loads(gateway.get("/gateway/health/detailed")[2])
        told[content["resources"]["pid"]] = content["backends"][0]
        return len(told) >= wanted

    until(ask, 15, "every worker has answered")
    return list(told.values())


def test_the_backend_is_asked_by_one_process_and_all_know(gateway: ServeProcess, backend: Uvicorn) -> None:
    start = time.monotonic()
    until(lambda: len([t for t in asked(backend) if t > start]) >= 6, 10, "six checks")
    found = [t for t in asked(backend) if t > start]
    assert is_one_asker(found), gaps(found)
    assert max(gaps(found)) < LATE_S
    assert asker(gateway) in gateway.pids()
    assert [(b["status"], b["latency_ms"] is not None) for b in by_process(gateway)] == [("healthy", True)] * WORKERS
    request(backend.port, "/_set?health=503")
    until(lambda: gateway.get("/gateway/health")[0] == 503, 5, "the loss is noticed")
    time.sleep(0.5)  # two ticks: all have read it
    assert {(b["status"], b["problem"]) for b in by_process(gateway)} == {("unhealthy", "status 503")}
    assert gateway.log.count("is unhealthy") == 1, "logged once, by who asked"


def test_a_killed_asker_is_replaced_within_an_interval(gateway: ServeProcess, backend: Uvicorn) -> None:
    until(lambda: len(asked(backend)) >= 2, 5, "checks are under way")
    for _ in range(2):
        before, count = asker(gateway), len(asked(backend))
        os.kill(before, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda b=before: asker(gateway) not in (0, b), INTERVAL_S, "another has taken over")
        found = until(lambda n=count: len(a := asked(backend)) >= n + 2 and a, 5, "checks go on")
        assert found[count] - killed < LATE_S
        assert asker(gateway) in gateway.pids() - {before}
        until(lambda: len(gateway.pids()) == WORKERS, 10, "a new worker is there")
    after = asked(backend)
    assert max(gaps(after)) < LATE_S
    assert is_one_asker(after[1:], handovers=2), gaps(after)


def test_a_reload_leaves_no_gap_and_no_second_asker(gateway: ServeProcess, backend: Uvicorn) -> None:
    until(lambda: len(asked(backend)) >= 2, 5, "checks are under way")
    before, start = gateway.pids(), time.monotonic()
    gateway.tell(signal.SIGHUP)
    until(lambda: len(p := gateway.pids()) == WORKERS and not p & before, 20, "all are new")
    count = len(asked(backend))
    until(lambda: len(asked(backend)) >= count + 3, 5, "checks go on")
    found = [t for t in asked(backend) if t > start]
    assert is_one_asker(found), gaps(found)
    assert max(gaps(found)) < LATE_S
    assert asker(gateway) in gateway.pids() - before
    assert all(b["status"] == "healthy" for b in by_process(gateway))


def test_a_reload_to_another_backend_has_it_asked_though_old_processes_linger(backend: Uvicorn, tmp_path: Path) -> None:
    """A process that retires gives the checks up at once, however long its last request takes."""
    with Uvicorn("tests.support.moody_app:app") as other:
        settings = (
            f"ROUTER_HEALTH_CHECK_INTERVAL={int(INTERVAL_S * 1e3)}\nRATE_LIMIT_ENABLED=false\nCACHE_ENABLED=false\n"
        )
        (tmp_path / ".env").write_text(f"FASTAPI_URL={backend.url}\n{settings}")
        with ServeProcess(tmp_path, "-m", "fastgw", "serve", workers=WORKERS, REDIS_URL="") as gateway:
            before = gateway.wait_up()
            request(backend.port, "/_set?sleep=30")
            for _ in range(12):
                threading.Thread(target=ask_in_vain, args=(gateway,), daemon=True).start()
            until(lambda: len(request(backend.port, "/_asked").json["other"]) >= 12, 5, "requests under way")
            (tmp_path / ".env").write_text(f"FASTAPI_URL={other.url}\n{settings}")
            gateway.tell(signal.SIGHUP)
            until(lambda: "reloaded" in gateway.log, 20, "all are replaced")
            reloaded = time.monotonic()
            assert gateway.pids() & before, "the old ones linger"
            until(lambda: len(asked(other)) >= 3, 5, "checks of the new backend")
            assert asked(other)[0] - reloaded < LATE_S
            assert asker(gateway) in gateway.pids() - before
            assert max(asked(backend)) < reloaded + LATE_S
