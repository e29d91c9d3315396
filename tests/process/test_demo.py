"""`fastgw demo`: the whole picture comes up, answers the guide's steps, and ends without a trace."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from redis import Redis

from fastgw.store.embedded import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
UP_S = 45.0
STOP_S = 12.0
LAST_LINE = "Ctrl-C ends all of it."
PARTS = ("fastgw.demo.app", "fastgw.demo.simulate", "fastgw serve", "valkey-server")


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)


def gone(process: psutil.Process) -> bool:
    """Ended; where nobody reaps orphans (a container without init) a zombie stays, which is no process any more."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


class Demo:
    """A running `fastgw demo` on ports of its own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.port, self.backend_port = free_ports()
        self.gateway, self.backend = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.backend_port}"
        self._out, self._err = directory / "out", directory / "err"
        self.command = [sys.executable, "-m", "fastgw", "demo", "--port", str(self.port)]
        self.command += ["--backend-port", str(self.backend_port)]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                self.command,
                cwd=directory,  # no .env there
                env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": "", **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.family: list[psutil.Process] = []

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_up(self) -> None:
        until(lambda: LAST_LINE in self.out or self.process.poll() is not None, UP_S, f"the demo is up: {self.err}")
        assert self.process.poll() is None, self.err
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def part(self, words: str) -> psutil.Process:
        return next(child for child in self.family if words in " ".join(child.cmdline()))

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def assert_no_trace(self) -> None:
        until(lambda: all(gone(child) for child in self.family), STOP_S, f"children end: {self.family}")
        for port in (self.port, self.backend_port):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0, f"somebody still listens on {port}"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    running = Demo(tmp_path)
    try:
        running.wait_up()
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running.assert_no_trace()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as http:
        yield http


def test_the_guides_steps_work_and_ctrl_c_ends_it(demo: Demo, client: httpx.Client) -> None:
    """One run for all of it: each start takes seconds."""
    for words in PARTS:
        assert demo.part(words).is_running()

    for line in (
        f"curl http://localhost:{demo.port}/gateway/health",
        f"curl http://localhost:{demo.port}/api/v1/queue/stats",
        f"curl http://localhost:{demo.backend_port}/api/v1/queue/stats",
        f'curl -H "X-Worker-Token: demo-worker-token" http://localhost:{demo.port}/api/v1/jobs',
        f"curl http://localhost:{demo.port}/api/v1/workers",
    ):
        assert f"  {line}\n" in demo.out, "each command stands on a line of its own, to be copied"
    assert re.search(r"^sample server +http://localhost:\d+", demo.err, re.MULTILINE)
    assert "\x1b" not in demo.out + demo.err, "plain lines where there is no terminal"

    health = client.get(f"{demo.gateway}/gateway/health")
    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    for path in ("/api/v1/queue/stats", "/api/v1/jobs/stats/queue", "/regions"):
        assert client.get(demo.gateway + path).content == client.get(demo.backend + path).content
    stats = client.get(f"{demo.gateway}/api/v1/queue/stats").json()
    assert (stats["workers_online"], stats["running"]) == (6, 0)
    token = {"X-Worker-Token": "demo-worker-token"}
    assert client.get(f"{demo.gateway}/api/v1/jobs", headers=token).json() == {"jobs": [], "total": 0}
    assert "demo-europe-west-1" in client.get(f"{demo.gateway}/api/v1/workers").text

    job = {"type": "llm", "params": {"prompt": "Hello"}, "region": "europe-west"}
    done = client.post(f"{demo.gateway}/api/v1/jobs/sync", json=job).json()
    assert (done["status"], done["worker_id"]) == ("completed", "demo-europe-west-1")

    assert demo.end(signal.SIGINT) == 0, demo.err
    demo.assert_no_trace()
    stops = [line.removeprefix("stopping: ") for line in demo.err.splitlines() if line.startswith("stopping: ")]
    assert stops == ["gateway", "simulated workers", "sample server", "embedded Valkey"]


def test_workers_show_in_redis_and_an_open_stream_does_not_hold_up_the_end(
    tmp_path: Path, client: httpx.Client
) -> None:
    """With REDIS_URL that Redis is used, and left clean; SIGTERM ends the demo like Ctrl-C."""
    with EmbeddedValkey() as valkey, Redis.from_url(valkey.url, decode_responses=True) as redis:
        demo = Demo(tmp_path, REDIS_URL=valkey.url)
        try:
            demo.wait_up()
            assert not any("valkey-server" in child.name() for child in demo.family)
            until(lambda: len(keys(redis, "worker:*:heartbeat")) == 6, 10, "six heartbeats")
            status: dict[str, Any] = json.loads(redis.get("worker:demo-asia-east-1:status"))
            gpu: dict[str, Any] = json.loads(redis.get("worker:demo-asia-east-1:gpu"))
            assert (status["worker_id"], status["region"]) == ("demo-asia-east-1", "asia-east")
            assert status["status"] in ("idle", "busy")
            assert set(gpu) == {"name", "memory_total_mb", "memory_used_mb", "utilization_percent"}
            assert abs(time.time() - float(redis.get("worker:demo-asia-east-1:heartbeat"))) < 30
            assert all(0 < redis.ttl(key) <= 30 for key in keys(redis, "worker:*"))

            with client.stream("GET", f"{demo.gateway}/api/v1/events") as stream:
                next(stream.iter_lines())
                start = time.monotonic()
                assert demo.end(signal.SIGTERM) == 0, demo.err
                assert time.monotonic() - start < STOP_S
            demo.assert_no_trace()
            assert keys(redis, "worker:*") == []
        finally:
            demo.process.kill()
            demo.process.wait()


def keys(redis: Redis, pattern: str) -> list[str]:
    return list(redis.scan_iter(pattern))


def test_killed_it_leaves_no_orphans(demo: Demo) -> None:
    assert demo.end(signal.SIGKILL) == -signal.SIGKILL
    demo.assert_no_trace()


@pytest.mark.parametrize(
    ("words", "name"),
    [("fastgw serve", "The gateway was killed by SIGKILL"), ("valkey-server", "embedded Valkey ended by itself")],
)
def test_a_part_that_dies_ends_the_demo(demo: Demo, words: str, name: str) -> None:
    demo.part(words).kill()
    assert demo.process.wait(STOP_S) == 1
    assert name in demo.err
    assert "Its last lines:" in demo.err
    demo.assert_no_trace()


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    until(lambda: "Redis" in demo.err, UP_S, "the first step")
    demo.family = psutil.Process(demo.process.pid).children(recursive=True)
    assert demo.end(signal.SIGINT) == 0, demo.err
    demo.assert_no_trace()
    assert LAST_LINE not in demo.out


@pytest.mark.parametrize("option", ["--port", "--backend-port"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_taken_port_is_noticed_before_anything_starts(tmp_path: Path, option: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    port, backend_port = free_ports()
    taken = port if option == "--port" else backend_port
    with socket.create_server((address, taken), family=family):
        ended = run_demo(tmp_path, "--port", str(port), "--backend-port", str(backend_port))
    assert ended.returncode == 1
    assert f"Port {taken} is taken" in ended.stderr
    assert f"fastgw demo {option} " in ended.stderr
    assert "Redis" not in ended.stderr
    assert ended.stdout == ""


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    ended = run_demo(tmp_path, "--port", "4000", "--backend-port", "4000")
    assert (ended.returncode, "can't both have port 4000" in ended.stderr) == (1, True)


def test_a_redis_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        port, backend_port = free_ports()
        url = f"redis://:hemlig@127.0.0.1:{refusing.getsockname()[1]}"
        ended = run_demo(tmp_path, "--port", str(port), "--backend-port", str(backend_port), REDIS_URL=url)
    assert ended.returncode == 1
    assert "Connection refused" in ended.stderr
    assert "hemlig" not in ended.stderr


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['fastapi'] = None; from fastgw.cli.demo import demo; demo()"
    ended = run([sys.executable, "-c", program], tmp_path)
    assert ended.returncode == 1
    assert "pip install 'fastgw[demo]'" in ended.stderr


def run_demo(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "fastgw", "demo", *arguments], directory, **environment)


def run(command: list[str], directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": "", **environment}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=30, check=False)


def test_a_log_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    port, backend_port = free_ports()
    ports = ["--port", str(port), "--backend-port", str(backend_port)]
    done = run([sys.executable, "-m", "fastgw", "demo", *ports, "--log", "away/gateway.log"], tmp_path)
    assert done.returncode == 1
    assert "away/gateway.log can't be written" in done.stderr


def test_on_a_terminal(tmp_path: Path) -> None:
    """Steps carry a mark, and the terminal's own Ctrl-C, which goes to the whole foreground group, ends it cleanly."""
    port, backend_port = free_ports()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ.update(PYTHONPATH=str(ROOT), REDIS_URL="", TERM="xterm-256color")
        arguments = ["-m", "fastgw", "demo", "--port", str(port), "--backend-port", str(backend_port)]
        os.execv(sys.executable, [sys.executable, *arguments])
    seen = b""
    try:
        while LAST_LINE.encode() not in seen:
            seen += os.read(terminal, 65536)
        family = psutil.Process(pid).children(recursive=True)
        os.write(terminal, b"\x03")
        while True:
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # EIO: the last process has closed it
                break
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen.decode()
    finally:
        os.close(terminal)
    assert seen.decode().count("✓") == 4
    until(lambda: all(gone(child) for child in family), STOP_S, "children end")
