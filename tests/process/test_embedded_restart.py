"""The embedded Valkey dies while the gateway serves: it is started again, and nobody outside notices but by health."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis

from fastgw.server import keeper as keeper_module
from fastgw.server.keeper import PAUSES_S, STABLE_S, Keeper
from fastgw.store.embedded import EmbeddedValkey, EmbeddedValkeyError
from tests.support.processes import Gateway, is_alive
from tests.support.raw_client import request
from tests.support.steady_load import SteadyLoad
from tests.support.wait import until


def valkey_of(gateway: Gateway) -> psutil.Process | None:
    for child in gateway.children():
        try:
            if is_alive(child) and "valkey" in child.name():
                return child
        except psutil.NoSuchProcess:
            continue
    return None


def redis_state(gateway: Gateway) -> tuple[str, str]:
    health = request(gateway.port, "/gateway/health").json
    return health["status"], health["redis"]


def healthy(gateway: Gateway) -> bool:
    """Both workers say so: each has a connection of its own."""
    return all(redis_state(gateway) == ("healthy", "connected") for _ in range(8))


@pytest.fixture
def embedded(backend):
    """A gateway with a Valkey of its own; its log has lines that say what the tests do to it."""
    gateway = Gateway(
        backend.url,
        GATEWAY_WORKERS=2,
        REDIS_URL="",
        RATE_LIMIT_ENABLED="true",
        RATE_LIMIT_MAX_REQUESTS=1_000_000,
        CACHE_ENABLED="true",
        CACHE_ROUTES="/regions=60",
    )
    until(lambda: healthy(gateway), 10, "Redis")
    yield gateway
    if gateway.process.poll() is None:
        gateway.stop()


def test_a_killed_one_is_back_within_seconds_and_no_request_fails(embedded) -> None:
    before = valkey_of(embedded)
    assert before is not None
    with SteadyLoad(embedded.port, "198.51.100.1", ["/regions", "/echo?n={n}"]) as load:
        load.more(100)
        before.send_signal(signal.SIGKILL)
        begun = time.monotonic()
        until(lambda: (now := valkey_of(embedded)) is not None and now.pid != before.pid, 5, "another one")
        until(lambda: "runs again" in embedded.log, 5, "a line that says so")
        until(lambda: healthy(embedded), 5, "health of both workers")
        assert time.monotonic() - begun < 5
        load.until(lambda one: one.cache == "HIT", "the cache, which needs its scripts anew")
        load.more(100)
    assert {one.status for one in load.seen} == {200}
    assert "killed by SIGKILL" in embedded.log
    assert "starting it again at once" in embedded.log
    answer = request(embedded.port, "/regions", X_Forwarded_For="198.51.100.77")
    assert answer.header("x-ratelimit-remaining") == "999999", "limits are counted in it"


def test_health_says_so_meanwhile(embedded) -> None:
    """One that is killed whenever it comes back stays away for the pauses; the gateway serves and says degraded."""
    for _ in range(3):
        victim = until(lambda: valkey_of(embedded), 5, "a Valkey to kill")
        victim.send_signal(signal.SIGKILL)
        until(lambda one=victim: not is_alive(one), 5, "its end")
    until(lambda: redis_state(embedded)[0] == "degraded", 5, "degraded")
    assert request(embedded.port, "/regions").status == 200
    until(lambda: healthy(embedded), 10, "health")


def test_it_is_not_started_again_while_the_gateway_stops(backend) -> None:
    gateway = Gateway(backend.url, REDIS_URL="", SHUTDOWN_GRACE_SECONDS=3)
    valkey = valkey_of(gateway)
    assert valkey is not None
    log = gateway.log_path
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in gateway.log, 5, "the stop to begin")
    valkey.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(valkey), 5, "its end")
    while gateway.process.poll() is None:
        assert valkey_of(gateway) is None
        time.sleep(0.02)
    assert "starting it again" not in log.read_text()
    assert gateway.stop() == 0


# -- the keeper alone -----------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(keeper_module, "monotonic", one)
    return one


def test_one_that_never_starts_is_tried_a_few_times_a_minute(tmp_path: Path, clock: Clock, caplog) -> None:
    """A real server at first; then its binary is one that ends at once."""
    with EmbeddedValkey() as server:
        keeper = Keeper(server)
        broken = tmp_path / "server"
        broken.write_text("#!/bin/sh\necho 'no more memory'; exit 3\n")
        broken.chmod(0o755)
        server._binary = broken
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not server.running, 5, "its end")
        starts: list[float] = []
        spawn = server.respawn
        server.respawn = lambda: (starts.append(clock.now), spawn())[1]  # type: ignore[method-assign]
        looks = 0
        while clock.now < 1000.0 + 180:
            keeper.look()
            if server.pid and keeper._state is keeper_module.State.STARTING:
                until(lambda: not server.running, 5, "its end")
            else:
                assert keeper.deadline > clock.now, "it never spins"
                clock.now = keeper.deadline
            looks += 1
        assert looks < 100
        in_minutes = [sum(1000 + 60 * m <= at < 1060 + 60 * m for at in starts) for m in range(3)]
        assert in_minutes[0] <= len(PAUSES_S) + 1
        assert max(in_minutes[1:]) <= 4
        assert "ended while starting (exit status 3): no more memory; what it held is gone" in caplog.text
        assert "starting it again in 15 s" in caplog.text
        keeper.close()


def test_one_that_was_stable_is_started_at_once(clock: Clock) -> None:
    with EmbeddedValkey() as server:
        keeper = Keeper(server)

        def killed() -> float:
            """How long it pauses."""
            os.kill(server.pid, signal.SIGKILL)
            until(lambda: not server.running, 5, "its end")
            keeper.look()
            return keeper.deadline - clock.now if keeper._state is keeper_module.State.DOWN else 0.0

        def started() -> None:
            clock.now = max(clock.now, keeper.deadline)
            until(lambda: (keeper.look(), keeper._state is keeper_module.State.RUNNING)[1], 5, "its start")

        pauses = []
        for _ in range(3):
            pauses.append(killed())
            started()
        assert pauses == pytest.approx(list(PAUSES_S[:3]))
        clock.now += STABLE_S + 1
        assert killed() == 0.0
        keeper.close()


def test_it_comes_back_at_the_same_socket_empty_also_if_its_directory_was_tidied_away() -> None:
    with EmbeddedValkey() as server:
        url, directory = server.url, server.directory
        with Redis.from_url(url) as redis:
            redis.set("gateway:x", "1")
        with pytest.raises(EmbeddedValkeyError, match="has not ended by itself"):
            server.respawn()
        for is_tidied in (False, True):
            server.kill()
            assert server.exit == "killed by SIGKILL"
            if is_tidied:
                for path in directory.iterdir():
                    path.unlink()
                directory.rmdir()
            server.respawn()
            until(lambda: server.answers(0.2), 5, "its answer")
            assert server.url == url
            with Redis.from_url(url) as redis:
                assert redis.get("gateway:x") is None
                redis.set("gateway:x", "1")


def test_it_does_not_start_in_a_directory_that_others_may_enter() -> None:
    with EmbeddedValkey() as server:
        server.kill()
        server.directory.chmod(0o777)
        with pytest.raises(EmbeddedValkeyError, match="not this user's alone"):
            server.respawn()
        server.directory.chmod(0o700)
