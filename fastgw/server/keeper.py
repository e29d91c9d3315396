"""Keeps the embedded Valkey alive: one that ends by itself is started again, at the same socket, empty.

    RUNNING  it ended            -> DOWN      until the pause is over
    DOWN     the pause is over   -> STARTING
    STARTING it answers          -> RUNNING   the workers find it by themselves (store/link.py)
    STARTING it ended, or does not answer in time -> DOWN, with a longer pause

Part of the supervisor's turn: never waits for more than a PING. It is asked nothing any more once the gateway stops.
"""

from __future__ import annotations

import contextlib
import logging
import os
from enum import IntEnum
from time import monotonic
from typing import TYPE_CHECKING, Final

from fastgw.store.embedded import START_TIMEOUT_S, EmbeddedValkeyError

if TYPE_CHECKING:
    from fastgw.store.embedded import EmbeddedValkey

PAUSES_S: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
"""Before the n-th start in a row: nine in the first minute, then four in each. What ends so often will not be mended by
more; requests go on without it meanwhile."""

STABLE_S: Final = 60.0
"""One that has lived for so long starts the row anew."""

PING_EVERY_S: Final = 0.02
"""While it starts; it answers after about that."""

PING_TIMEOUT_S: Final = 0.05
LOOK_EVERY_S: Final = 1.0
"""Where the system does not tell when a process ends."""

log = logging.getLogger("fastgw")


class State(IntEnum):
    """See above."""

    RUNNING = 1
    STARTING = 2
    DOWN = 3


class Keeper:
    """Looks after one server, which has been started."""

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self._valkey = valkey
        self._state = State.RUNNING
        self._starts = 0
        self._since = monotonic()  # of the state; of DOWN: until when
        self._descriptor = _descriptor_of(valkey.pid)

    def __repr__(self) -> str:
        return f"<Keeper {self._state.name.lower()} {self._valkey!r}>"

    @property
    def awaited(self) -> list[int]:
        """Descriptors that are readable when there is something to see to."""
        return [] if self._descriptor < 0 else [self._descriptor]

    @property
    def deadline(self) -> float:
        """When there is something to see to in any case, monotonic seconds."""
        if self._state is State.DOWN:
            return self._since
        if self._state is State.STARTING:
            return monotonic() + PING_EVERY_S
        return monotonic() + (3600.0 if self._descriptor >= 0 else LOOK_EVERY_S)

    def look(self) -> None:
        """See to it."""
        now = monotonic()
        if self._state is State.RUNNING and not self._valkey.running:
            if now - self._since > STABLE_S:
                self._starts = 0
            self._rest(f"ended unexpectedly ({self._valkey.exit})")
        elif self._state is State.STARTING:
            self._follow(now)
        if self._state is State.DOWN and self._since <= now:
            self._start(now)

    def close(self) -> None:
        """Let go of it; the server goes on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _rest(self, what: str) -> None:
        """What has happened, and when it is started again."""
        self.close()
        pause_s = PAUSES_S[min(self._starts, len(PAUSES_S) - 1)]
        self._starts += 1
        self._state, self._since = State.DOWN, monotonic() + pause_s
        log.error(
            "the embedded Valkey %s; what it held is gone, run-time settings too; starting it again %s",
            what,
            f"in {pause_s:g} s" if pause_s else "at once",
        )

    def _start(self, now: float) -> None:
        try:
            self._valkey.respawn()
        except (EmbeddedValkeyError, OSError) as error:
            self._rest(f"can't be started: {error}")
            return
        self._state, self._since = State.STARTING, now
        self._descriptor = _descriptor_of(self._valkey.pid)

    def _follow(self, now: float) -> None:
        """Has it started?"""
        if self._valkey.answers(PING_TIMEOUT_S):
            self._state, self._since = State.RUNNING, now
            log.info("the embedded Valkey runs again (process %d), empty", self._valkey.pid)
        elif not self._valkey.running:
            tail = self._valkey.log_tail(1)
            self._rest(f"ended while starting ({self._valkey.exit})" + (f": {tail}" if tail else ""))
        elif now - self._since > START_TIMEOUT_S:
            self._valkey.kill()
            self._rest(f"did not answer within {START_TIMEOUT_S:g} s and was killed")


def _descriptor_of(pid: int) -> int:
    """A descriptor that is readable when the process has ended; -1 if there is none (not Linux)."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1
