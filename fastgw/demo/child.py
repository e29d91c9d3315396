"""A child process of the demo: started, watched, ended, with the last lines it wrote at hand."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final, Self

from fastgw.store.embedded import dies_with_parent

TAIL_LINES: Final = 12
_MAX_LINE: Final = 500
_CHUNK: Final = 65536


class Child:
    """A Python module run as a process of its own session, so that Ctrl-C at the terminal reaches only the demo."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: BinaryIO | None) -> None:
        self.name = name
        self._process = process
        self._log = log
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = asyncio.create_task(self._read())
        self.ended = asyncio.create_task(process.wait())
        """Done when the process has ended; its result is the exit status (negative: the signal that killed it)."""

    @classmethod
    async def start(
        cls,
        name: str,
        module_and_arguments: Sequence[str],
        environment: Mapping[str, str],
        log: BinaryIO | None = None,
    ) -> Self:
        """Start `python -m module arguments...` with these variables on top of our own environment.

        log: unbuffered; gets what the process writes, as it comes.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *module_and_arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environment},  # noqa: TID251 -- handed on, not read
            start_new_session=True,
            preexec_fn=dies_with_parent(),
        )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._process.pid

    async def stop(self, grace_s: float) -> bool:
        """Ask with SIGTERM, wait up to grace_s, then kill what is left of its group. Was asking enough?"""
        in_time = True
        if not self.ended.done():
            self._signal(signal.SIGTERM)
            in_time = bool((await asyncio.wait((self.ended,), timeout=grace_s))[0])
        self.kill()
        await self.ended
        await self._reader
        return in_time

    def kill(self) -> None:
        """Kill the process and every process it started in its group; also what it left behind when it ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def obituary(self) -> str:
        """Tell how the ended process ended, and the last lines it wrote."""
        status = await self.ended
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        await asyncio.wait((self._reader,), timeout=1)  # what is still in the pipe; a grandchild may hold it open
        return f"{self.name} {how}. Its last lines:\n{self.tail()}"

    def tail(self) -> str:
        """Give the last lines that the process wrote, indented."""
        return "\n".join(f"    {line}" for line in self._tail) or "    (it wrote nothing)"

    def _keep(self, chunk: bytes) -> None:
        if self._log is None:
            return
        try:
            self._log.write(chunk)
        except OSError:  # a full disk ends the file, not the demo
            self._log = None

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self) -> None:
        """Empty the pipe all the time, so that the child never waits for us, and keep the last lines."""
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 -- it was asked for above
        rest = ""
        while chunk := await pipe.read(_CHUNK):
            self._keep(chunk)
            *lines, rest = (rest + chunk.decode(errors="replace")).split("\n")
            self._tail.extend(line[:_MAX_LINE] for line in lines[-TAIL_LINES:] if line.strip())
            rest = rest[-_CHUNK:]
        if rest.strip():
            self._tail.append(rest[:_MAX_LINE])
