"""The parent process: keeps one worker per slot alive, replaces them on SIGHUP, ends them on SIGTERM.

    SIGTERM, SIGINT   drain: say so, close the sockets, let the workers finish within the grace; a second one: end now
    SIGHUP            read the settings anew and replace the workers, one after the other
    a worker dies     a new one in its place, at once, or later if it keeps dying
    the Valkey dies   likewise, if it is ours (keeper.py)

A worker is told once, by SIGTERM if the gateway ends, by SIGUSR1 if a successor has taken its place; drain.py says how
it leaves then. Here is only the clock that kills what does not.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from fastgw.server.drain import NOTICE_S
from fastgw.server.sockets import reopen
from fastgw.server.worker import HANDLED, Job, work
from fastgw.store.embedded import dies_with_parent

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from multiprocessing.context import ForkProcess

    from fastgw.background import Drain
    from fastgw.server.keeper import Keeper

    Build = Callable[[Drain], Any]

AGAIN_S: Final = 1.0
"""A second SIGTERM or SIGINT counts as impatience only after this: managers that signal both process and group deliver
the first one twice."""

KILL_MARGIN_S: Final = 1.0
"""A worker ends itself when its grace is over (drain.py); this long after, it is killed."""

READY_S: Final = 30.0
"""A worker that does not serve after this is taken for broken. It takes half a second."""

BACKOFF_S: Final = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
"""Wait before the n-th respawn of a slot in a row; a worker that lived for STABLE_S starts the row anew."""

STABLE_S: Final = 10.0

MAX_FAILED_STARTS: Final = 5
"""If every slot has failed to start a worker so often in a row, the fault is not going away."""

log = logging.getLogger("fastgw")


@dataclass(slots=True, eq=False)
class Worker:
    """One process."""

    process: ForkProcess
    ready: int
    """The descriptor on which it says that it serves; -1 once it has."""
    born: float = field(default_factory=monotonic)
    kill_at: float | None = None
    """When it is to be killed, if it is on its way out."""

    @property
    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.ready < 0

    @property
    def is_overdue(self) -> bool:
        """Whether it should have served by now, and nothing was done about it yet."""
        return not self.is_ready and self.kill_at is None and self.born + READY_S <= monotonic()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal; it may be gone."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.pid is not None:
                os.kill(self.process.pid, number)


@dataclass(slots=True, eq=False)
class Slot:
    """A place for a worker, with its listening socket."""

    number: int
    listener: socket.socket
    build: Build
    """What its next worker is made by."""
    worker: Worker | None = None
    failures: int = 0
    """Workers that ended unexpectedly, each soon after it began."""
    failed_starts: int = 0
    """Workers in a row that never served."""
    respawn_at: float = 0.0


class Supervisor:
    """Runs the workers. One per program; takes over its signal handlers."""

    def __init__(
        self,
        listeners: list[socket.socket],
        build: Build,
        *,
        tls: tuple[str, str] | None,
        grace_s: float,
        reload: Callable[[], Build | None],
        keeper: Keeper | None = None,
    ) -> None:
        """listeners: one per worker. build: makes a worker's application. tls: paths of certificate and key.

        grace_s: seconds that a stopping worker has for what is under way. reload: called on SIGHUP; returns the
        new `build`, or None if the new settings are no good, in which case the old workers go on. keeper: of the
        embedded Valkey, if there is one.
        """
        self._keeper = keeper
        self._slots = [Slot(number, listener, build) for number, listener in enumerate(listeners, 1)]
        self._tls = tls
        self._grace_s = grace_s
        self._reload = reload
        self._retiring: list[Worker] = []
        self._stops = 0
        self._first_stop = 0.0
        self._wants_reload = False
        self._context = multiprocessing.get_context("fork")  # sockets and settings are inherited
        self._wake, self._waker = os.pipe()

    def run(self) -> int:
        """Serve until told to stop. Returns the exit status: 0, or 1 if no worker could be started."""
        self._install_signals()
        try:
            return self._serve()
        except BaseException:  # a fault of ours must not leave workers behind
            for worker in [*self._retiring, *(slot.worker for slot in self._slots)]:
                if worker is not None:
                    worker.tell(signal.SIGKILL)
            raise

    def _serve(self) -> int:
        for slot in self._slots:
            slot.worker = self._spawn(slot, slot.build)
        while not self._stops:
            if self._wants_reload:
                self._wants_reload = False
                self._replace_all()
            self._turn(self._next_deadline())
            if min(slot.failed_starts for slot in self._slots) >= MAX_FAILED_STARTS:
                log.error("no worker could be started; the lines above say why")
                self._end(notice_s=0)
                return 1
        self._end(notice_s=NOTICE_S)
        return 0

    # -- starting -----------------------------------------------------------------------------------

    def _spawn(self, slot: Slot, build: Build) -> Worker:
        read_end, write_end = os.pipe()
        others = tuple(other.listener for other in self._slots if other is not slot)
        job = Job(slot.number, slot.listener, others, build, self._tls, write_end, dies_with_parent(), self._grace_s)
        process = self._context.Process(target=work, args=(job,), name=f"fastgw-worker-{slot.number}")
        # Until the child has put our handlers off, a signal would be taken in by a copy of them, and be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(write_end)
        return Worker(process, read_end)

    def _respawn(self, slot: Slot) -> None:
        """The slot's worker is dead: put a new one in its place, or note when to."""
        worker = slot.worker
        if worker is not None:
            how = _exit_of(worker)
            self._forget(worker)
            slot.worker = None
            if not worker.is_ready:
                slot.failed_starts += 1
                slot.listener = reopen(slot.listener)
            elif monotonic() - worker.born > STABLE_S:
                slot.failures = 0
            wait_s = BACKOFF_S[min(slot.failures, len(BACKOFF_S) - 1)]
            slot.failures += 1
            slot.respawn_at = monotonic() + wait_s
            log.error(
                "worker %d ended unexpectedly (%s), respawning %s",
                slot.number,
                how,
                f"in {wait_s:g} s" if wait_s else "at once",
            )
        if slot.respawn_at <= monotonic():
            slot.worker = self._spawn(slot, slot.build)

    # -- replacing ----------------------------------------------------------------------------------

    def _replace_all(self) -> None:
        build = self._reload()
        if build is None:
            return
        log.info("reloading: replacing %d workers, one after the other", len(self._slots))
        for slot in self._slots:
            successor = self._spawn(slot, build)
            deadline = monotonic() + READY_S
            while not successor.is_ready and successor.process.is_alive() and not self._stops:
                if monotonic() >= deadline:
                    break
                self._turn(deadline, successor)
            if self._stops:
                self._retiring.append(successor)
                return
            if not successor.is_ready:
                successor.tell(signal.SIGKILL)
                self._forget(successor)
                log.error("reload given up: the new worker %d does not start; the old ones go on", slot.number)
                return
            old, slot.worker, slot.build = slot.worker, successor, build
            slot.failures = 0
            if old is not None:
                self._retire(old)
        log.info("reloaded")

    def _retire(self, worker: Worker) -> None:
        """Tell a worker that another one is in its place, and give it the grace."""
        worker.tell(signal.SIGUSR1 if worker.is_ready else signal.SIGTERM)
        worker.kill_at = monotonic() + self._grace_s + KILL_MARGIN_S
        self._retiring.append(worker)

    # -- ending -------------------------------------------------------------------------------------

    def _end(self, notice_s: float) -> None:
        """Stop all workers: notice, then no new connections, then the grace, then force."""
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        log.info("stopping: requests under way have %g s to finish", self._grace_s)
        for slot in self._slots:
            slot.worker = None  # nothing is respawned any more
        self._retiring += workers
        for worker in self._retiring:
            worker.tell(signal.SIGTERM)
            worker.kill_at = worker.kill_at or monotonic() + self._grace_s + KILL_MARGIN_S
        self._pause(min(notice_s, self._grace_s / 2))
        for slot in self._slots:
            slot.listener.close()
        while self._retiring:
            if self._stops > 1:
                for worker in self._retiring:
                    worker.tell(signal.SIGKILL)
            self._turn(monotonic() + 1.0)
        log.info("stopped")

    # -- one turn -----------------------------------------------------------------------------------

    def _pause(self, seconds: float) -> None:
        """Go on for a while, unless told to stop (again)."""
        until, stops = monotonic() + seconds, self._stops
        while monotonic() < until and self._stops == stops and any(w.process.is_alive() for w in self._retiring):
            self._turn(until)

    def _turn(self, until: float, extra: Worker | None = None) -> None:
        """Wait for something to happen, at most until then, and see to it."""
        workers = [slot.worker for slot in self._slots if slot.worker is not None] + self._retiring
        if extra is not None:
            workers.append(extra)
        awaited: list[Any] = [self._wake, *(w.process.sentinel for w in workers)]
        awaited += [w.ready for w in workers if not w.is_ready]
        keeper = None if self._stops else self._keeper  # what ends while we stop is let go
        if keeper is not None:
            awaited += keeper.awaited
        happened = multiprocessing.connection.wait(awaited, max(0.0, min(until, self._next_deadline()) - monotonic()))
        if self._wake in happened:
            os.read(self._wake, 4096)
        for worker in workers:
            if not worker.is_ready and worker.ready in happened:
                self._note_ready(worker)
            elif worker.is_overdue:
                log.error("worker process %s does not serve after %g s and is killed", worker.process.pid, READY_S)
                worker.tell(signal.SIGKILL)
                worker.kill_at = monotonic() + 1.0
        self._see_off()
        if not self._stops:
            self._keep_up()

    def _keep_up(self) -> None:
        """Put new ones in the place of workers, and of a Valkey, that have ended by themselves."""
        if self._keeper is not None:
            self._keeper.look()
        for slot in self._slots:
            if slot.worker is None or not slot.worker.process.is_alive():
                self._respawn(slot)
            elif slot.worker.is_ready:
                slot.failed_starts = 0

    def _see_off(self) -> None:
        """Forget the retiring that have ended, and end those whose grace is over."""
        for worker in list(self._retiring):
            if not worker.process.is_alive():
                self._retiring.remove(worker)
                self._forget(worker)
            elif worker.kill_at is not None and worker.kill_at <= monotonic():
                log.warning("worker process %s did not finish in time and is killed", worker.process.pid)
                worker.tell(signal.SIGKILL)
                worker.kill_at = monotonic() + 1.0

    def _note_ready(self, worker: Worker) -> None:
        if os.read(worker.ready, 1):
            os.close(worker.ready)
            worker.ready = -1
            log.info("worker process %s serves", worker.process.pid)

    def _forget(self, worker: Worker) -> None:
        worker.process.join()
        if not worker.is_ready:
            os.close(worker.ready)
        worker.process.close()

    def _next_deadline(self) -> float:
        moments = [monotonic() + 3600.0]
        moments += [slot.respawn_at for slot in self._slots if slot.worker is None and not self._stops]
        moments += [w.kill_at for w in self._retiring if w.kill_at is not None]
        if self._keeper is not None and not self._stops:
            moments.append(self._keeper.deadline)
        starting = (slot.worker for slot in self._slots if slot.worker is not None and not slot.worker.is_ready)
        moments += [w.born + READY_S for w in starting if w.kill_at is None]
        return min(moments)

    def _install_signals(self) -> None:
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, *_: object) -> None:
        if not self._stops:
            self._first_stop = monotonic()
        elif monotonic() - self._first_stop < AGAIN_S:
            return
        self._stops += 1

    def _on_reload(self, *_: object) -> None:
        self._wants_reload = True


def _exit_of(worker: Worker) -> str:
    """How a dead worker ended, for the log."""
    code = worker.process.exitcode
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
