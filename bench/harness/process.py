"""Starting a peer or a backend on its core and a free port, and stopping all of it whatever happens.

Each runs in a session of its own, with a temporary directory as its home and working directory. Leaving the context
stops it in bounded time: SIGTERM, STOP_GRACE_S later SIGKILL to every process that belongs to it; then the directory
is removed.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.harness import proc
from bench.harness.cores import pinned
from bench.harness.load import Fields, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bench.harness.store import Store

HOST = "127.0.0.1"
PROBE_PATH = "/api/v1/queue/stats"
REPOSITORY = Path(__file__).parents[2]
START_LIMIT_S = 20.0  # fastgw with its embedded Valkey needs 1 to 2 s; a busy two-core CI machine several times that
STOP_GRACE_S = 5.0
PROBE_TIMEOUT_S = 2.0
PROBE_FIELDS = {"X-API-Key": "k-bench"}  # whoever asks for no key does not look at it


class StartError(Exception):
    """A process did not come up. The text says why, with the last lines it printed."""


@dataclass(frozen=True)
class Command:
    """What to run. env: added to the few variables every child gets (PATH, HOME, TMPDIR, PYTHONPATH)."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a peer listens and what stands behind it: ports of HOST. store: for peers whose chain needs one."""

    port: int
    backend_port: int
    store: Store | None = None


class Peer(Protocol):
    """A gateway that can be measured."""

    @property
    def name(self) -> str:
        """The name on the command line and in reports."""

    def version(self) -> str:
        """Program and version, for the report. Only asked when `missing` is None."""

    def missing(self) -> str | None:
        """Why it cannot run here and what would install it; None when it can."""

    def command(self, home: Path, place: Place) -> Command | None:
        """Write the configuration into `home`; forward place.port to place.backend_port. None: nothing in between."""


@dataclass(frozen=True)
class Running:
    """A process that answers."""

    name: str
    port: int
    pid: int | None  # None: nothing of its own (direct)

    @property
    def url(self) -> str:
        """The address of the small static answer."""
        return f"http://{HOST}:{self.port}{PROBE_PATH}"

    def request(self, path: str = PROBE_PATH, fields: Fields = (), body_bytes: int = 0) -> Request:
        """For the load generator."""
        return Request(f"http://{HOST}:{self.port}{path}", fields, body_bytes)

    def cpu_ns(self) -> int:
        """CPU time of all its processes so far; 0 for direct."""
        return 0 if self.pid is None else proc.cpu_ns(proc.family(self.pid))

    def rss_bytes(self) -> int:
        """Resident memory of all its processes; 0 for direct."""
        return 0 if self.pid is None else proc.rss_bytes(proc.family(self.pid))

    def peak_bytes(self) -> int:
        """The most that its largest process ever had resident; 0 for direct."""
        return 0 if self.pid is None else proc.peak_bytes(proc.family(self.pid))


def free_port() -> int:
    """A TCP port that nobody listens on now. Another program may take it before we do: the start then fails, loudly."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_peer(
    peer: Peer, backend: Running, core: int | Iterable[int], store: Store | None = None
) -> Iterator[Running]:
    """`peer` in front of `backend`, on `core` or several. Raises StartError."""
    with working_home(peer.name) as home:
        place = Place(free_port(), backend.port, store)
        command = peer.command(home, place)
        if command is None:
            yield Running(peer.name, backend.port, None)
            return
        with running(peer.name, command, home, place.port, core) as started:
            yield started


@contextmanager
def working_home(name: str) -> Iterator[Path]:
    """A temporary directory for one process, removed at the end."""
    home = Path(tempfile.mkdtemp(prefix=f"fastgw-bench-{name}-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _answers_http(port: int) -> str:
    """Empty once HOST:port answers 200 on PROBE_PATH; until then what it does instead."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", PROBE_PATH, headers=PROBE_FIELDS)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"status {status}"


@contextmanager
def running(
    name: str,
    command: Command,
    home: Path,
    port: int,
    core: int | Iterable[int],
    asked: Callable[[int], str] = _answers_http,
) -> Iterator[Running]:
    """`command`, which listens on HOST:port, once it answers. Raises StartError.

    asked: given the port, says what is wrong with the answer; nothing is once it is ready.
    """
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    fixed = {"TMPDIR": str(home), "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    environment = {**kept, **fixed, **command.env}
    log = home / "output.log"
    with log.open("wb") as output, pinned(core):
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait_ready(name, process, lambda: asked(port), log)
        yield Running(name, port, process.pid)
    finally:
        with _interrupts_held_back():
            _stop(process, home)


def _wait_ready(name: str, process: subprocess.Popen[bytes], asked: Callable[[], str], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    last = "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"{name} ended with status {process.returncode} while starting: {_tail(log)}")
        last = asked()
        if not last:
            return
        time.sleep(0.05)
    raise StartError(f"{name} did not answer well within {START_LIMIT_S:.0f} s (last: {last}): {_tail(log)}")


def _tail(log: Path, lines: int = 3) -> str:
    """The last lines printed, without this machine's directories."""
    text = log.read_text(errors="backslashreplace").replace(str(log.parent), "HOME").replace(str(REPOSITORY), ".")
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])[-600:] or "it printed nothing"


def _stop(process: subprocess.Popen[bytes], home: Path) -> None:
    members = proc.family(process.pid)  # while the root lives: afterwards its children are nobody's descendants
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_GRACE_S)
    # Taken again: what a member started while it was stopping is still in the session.
    for pid in {*proc.family(process.pid)} - ({process.pid} if process.returncode is not None else set()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(STOP_GRACE_S)
    # A child in a session of its own (the embedded store) whose parent died without stopping it.
    _kill_orphans(members, home)


def _kill_orphans(members: list[int], home: Path) -> None:
    for pid in members:
        # The number may have been given to a stranger by now; only a process that works in this home is ours.
        with suppress(OSError):
            if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(home):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C or SIGTERM must not leave half of a peer behind: within, they wait; stopping is bounded anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    held = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
