"""A gateway's process tree under test: start it, look at its workers, signal it, see that nothing is left."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
TINY_APP = Path(__file__).with_name("tiny_app.py")
UP_S = 20.0


def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until it holds, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.02)
    return result


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def is_gone(process: psutil.Process) -> bool:
    """Ended; where nobody reaps orphans (a container without init) a zombie stays, which is no process any more."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class ServeProcess:
    """One gateway: the parent, its workers, its port. Use it as a context manager."""

    def __init__(self, directory: Path, *arguments: str, port: int = 0, workers: int = 2, **environment: str) -> None:
        """arguments: what Python runs; the directory is the working directory, and holds no .env unless made."""
        self.port, self.workers = port or free_port(), workers
        self._log = directory / "stderr"
        self._family: list[psutil.Process] = []
        variables = {
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_WORKERS": str(workers),
            "SHUTDOWN_GRACE_SECONDS": "5",
            **environment,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @classmethod
    def tiny(cls, directory: Path, mode: str = "ok", *tls: str, workers: int = 2, grace_s: float = 5) -> Self:
        """Start the supervisor with the tiny application; mode: see tiny_app.py."""
        (directory / "mode").write_text(mode)
        port = free_port()
        arguments = (str(TINY_APP), str(port), str(workers), str(grace_s), "mode", *tls)
        return cls(directory, *arguments, port=port, workers=workers)

    @classmethod
    def serve(cls, directory: Path, workers: int = 2, **environment: str) -> Self:
        """Start `fastgw serve`, with an embedded Valkey unless the environment says REDIS_URL."""
        variables = {"REDIS_URL": "", "FASTAPI_URL": "http://127.0.0.1:9", **environment}
        return cls(directory, "-m", "fastgw", "serve", workers=workers, **variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def pids(self) -> set[int]:
        """The live workers: children that are this very program (the Valkey is not)."""
        mine = psutil.Process(self.process.pid)
        found = set()
        for child in mine.children():
            try:
                if not is_gone(child) and child.cmdline() == mine.cmdline():
                    found.add(child.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    def wait_up(self) -> set[int]:
        """Wait until every worker serves; their process ids."""
        until(lambda: self.served() >= self.workers or self.process.poll() is not None, UP_S, f"it is up: {self.log}")
        assert self.process.poll() is None, self.log
        self._family = psutil.Process(self.process.pid).children(recursive=True)
        return self.pids()

    def served(self) -> int:
        """How many workers have become ready so far."""
        return self.log.count(" serves")

    def get(self, path: str = "/", timeout: float = 10) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, fields (lower case), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def who(self) -> int:
        """The process id of the tiny application's worker that answers."""
        return int(json.loads(self.get()[2])["pid"])

    def is_refused(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def tell(self, number: signal.Signals) -> None:
        self._family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 15) -> int:
        """Signal it and wait for its exit status."""
        self.tell(number)
        return self.process.wait(seconds)

    def assert_no_trace(self, seconds: float = 3) -> None:
        """No process of it lives, nothing listens."""
        until(lambda: all(is_gone(child) for child in self._family), seconds, f"children end: {self._family}")
        until(self.is_refused, 1, "nobody listens any more")

    def kill(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process.poll() is None:
            self._family += psutil.Process(self.process.pid).children(recursive=True)
        for process in self._family:
            if not is_gone(process):
                process.kill()
        self.process.kill()
        self.process.wait()


class Load:
    """Clients that ask again and again on keep-alive connections and honour `Connection: close`."""

    def __init__(self, port: int, clients: int = 4, path: str = "/", new_connections: bool = False) -> None:
        """new_connections: each request on a connection of its own."""
        self.done, self.failures = 0, list[str]()
        self._port, self._path, self._new = port, path, new_connections
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", self._path)  # reconnects by itself after `Connection: close`
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(f"status {response.status}")
                self.done += 1
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
            except http.client.HTTPException as error:
                self.failures.append(repr(error))
                connection.close()
            if self._new:
                connection.close()
            time.sleep(0.005)
        connection.close()
