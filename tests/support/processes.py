"""Real processes for tests: started, waited for, looked at, and surely ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil

from fastgw.settings.model import Settings
from tests.support.ports import free_port
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
STOP_S = 15.0

SETTINGS = frozenset(name.upper() for name in Settings.model_fields)
"""What the developer's own environment says of these must not reach a gateway under test; nor must a .env file."""

UNEXPECTED = ("Traceback", " ERROR ", " CRITICAL ", "Exception", "was never awaited", "never retrieved")


class Running:
    """A process whose output goes to a file. Its working directory is not the checkout, so no .env is read."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self.log_path = Path(tempfile.mkstemp(prefix="fastgw-test-", suffix=".log")[1])
        base = {k: v for k, v in os.environ.items() if k not in SETTINGS}
        with self.log_path.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=tempfile.gettempdir(),
                env={**base, "PYTHONPATH": str(ROOT), **(env or {})},
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def log(self) -> str:
        """What it has printed. Workers' lines leave by a thread: they get a moment."""
        time.sleep(0.02)
        return self.log_path.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """End it; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the process did not end within {STOP_S} s:\n{self.log}") from None
        self.log_path.unlink(missing_ok=True)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.check_log()
            self.stop()

    def check_log(self, start: int = 0) -> None:
        """Fail if the log says what it should not; a plain process may say what it likes."""


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; where nobody reaps orphans, a zombie stays of an ended one."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


class Gateway(Running):
    """`fastgw serve` with one worker on a free port, in front of `backend_url`."""

    def __init__(self, backend_url: str, **settings: object) -> None:
        self.port = int(str(settings.pop("GATEWAY_PORT", free_port())))
        env = {
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_WORKERS": "1",
            "FASTAPI_URL": backend_url,
            "AUTH_ENABLED": "false",
            "RATE_LIMIT_ENABLED": "false",
            "CACHE_ENABLED": "false",
            "LOG_FORMAT": "text",
            "ACCESS_LOG": "false",
            "SHUTDOWN_GRACE_SECONDS": "2",
            **{name: str(value) for name, value in settings.items()},
        }
        super().__init__([sys.executable, "-m", "fastgw", "serve"], env)
        self.url = f"http://127.0.0.1:{self.port}"
        workers = int(env["GATEWAY_WORKERS"])
        try:
            until(lambda: self.process.poll() is not None or self.served >= workers, 20, "the start")
        except BaseException:
            self.process.kill()  # nobody else knows of it
            raise
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway did not start:\n{self.log}")

    @property
    def served(self) -> int:
        """Workers that have begun to serve, in either form of log."""
        return self.log.count(" serves\n") + self.log.count(' serves"')

    def check_log(self, start: int = 0) -> None:
        """Fail if the log says, from character `start` on, that something went wrong that no test asked for."""
        new = self.log[start:]
        assert not any(word in new for word in UNEXPECTED), f"unexpected lines in the gateway's log:\n{new}"

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """End it; no child process may be left behind."""
        children = self.children() if self.process.poll() is None else []
        status = super().stop(signal_number)
        assert not [child for child in children if is_alive(child)], "a child process was left behind"
        return status

    def worker(self) -> psutil.Process:
        """The (first) worker process."""
        return self.workers()[0]

    def workers(self) -> list[psutil.Process]:
        found = []
        for child in self.children():
            try:
                if "valkey" not in child.name():
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found


class Uvicorn(Running):
    """A real uvicorn with one of the tests' applications."""

    def __init__(self, app: str, *options: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(self.port)]
        super().__init__([*command, "--log-level", "warning", "--no-server-header", *options])
        self.url = f"http://127.0.0.1:{self.port}"
        until(lambda: self.process.poll() is not None or accepts(self.port), 20, "uvicorn's start")
        assert self.process.poll() is None, self.log
