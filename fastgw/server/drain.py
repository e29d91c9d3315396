"""How a worker ends without failing a request.

    SIGTERM          the gateway stops:       say so, still accepting -> accept no more -> finish what is under way
    SIGUSR1          a successor is at work:  accept no more, say so  -> finish what is under way
    parent is gone   the gateway was killed:  accept no more, so that the next one gets the port -> finish

"Say so" is `Connection: close` on each answer, for a notice: clients leave by themselves, so no request is on the wire
when idle connections are closed. The worker does all this by itself upon one signal, so it makes no difference whether
the parent alone is signalled (Docker) or every process of the group (systemd, Ctrl-C), nor how often.

Why accepting ends before the rest does: granian stops accepting and closes silent connections in the same moment, which
cuts those whose first bytes or TLS handshake are on their way.
When the grace is over the kernel ends the process (SIGALRM), also if its loop hangs or its parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fastgw.background import Drain

NOTICE_S: Final = 1.0
"""What keep-alive clients need to send one more request and be told to close; load balancers see one check fail."""

SETTLE_S: Final = 0.1
"""From the last accept to the end of a stopping worker: for the first bytes of what was just accepted."""


class Leaving:
    """The end of one worker, on its event loop."""

    def __init__(
        self, drain: Drain, loop: asyncio.AbstractEventLoop, listen_fd: int, finish: Callable[[], None], grace_s: float
    ) -> None:
        """listen_fd: what the worker accepts on. finish: has granian finish what is under way; called once.

        grace_s: from the signal to the forced end; notice and settling take at most half of it.
        """
        self._drain = drain
        self._loop = loop
        self._listen_fd = listen_fd
        self._finish = finish
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._is_under_way = False

    def stop(self) -> None:
        """End, because the gateway does."""
        self._drain.begin(is_stopping=True)
        is_orphan = os.getppid() != self._parent
        self._start(0.0 if is_orphan else NOTICE_S, SETTLE_S)

    def give_way(self) -> None:
        """End, because a successor accepts on the same socket."""
        self._drain.begin(is_stopping=False)
        self._start(0.0, NOTICE_S)

    def _start(self, accept_s: float, settle_s: float) -> None:
        if self._is_under_way:
            return
        self._is_under_way = True
        signal.setitimer(signal.ITIMER_REAL, max(self._grace_s, 0.01))
        share = min(1.0, self._grace_s / 2 / (accept_s + settle_s))

        def refuse() -> None:
            stop_accepting(self._listen_fd)
            self._loop.call_later(settle_s * share, self._finish)

        if accept_s:
            self._loop.call_later(accept_s * share, refuse)
        else:
            refuse()


def stop_accepting(listen_fd: int) -> bool:
    """Make granian's accept loop deaf, its connections untouched, and let go of the port. Was it possible?

    granian waits for the socket with epoll. The socket is taken off the epoll set first: other processes hold the same
    open socket, so its events would still come after our descriptor is closed, for memory that is then freed. Then the
    descriptor is replaced by one that nobody can connect to. Where no epoll set has the socket (another granian, no
    /proc) nothing is done: what is accepted last may then be cut. Costs 2 us per open descriptor.
    """
    if not any(_take_off(epoll_fd, listen_fd) for epoll_fd in _epoll_fds()):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.setblocking(False)
        deaf.bind("")  # an abstract name that the kernel picks (unix(7))
        deaf.listen(1)
        os.dup2(deaf.fileno(), listen_fd)
    return True


def _take_off(epoll_fd: int, fd: int) -> bool:
    """Remove fd from an epoll set. Was it there?"""
    try:
        with select.epoll.fromfd(os.dup(epoll_fd)) as epoll:  # closes what it is given
            epoll.unregister(fd)
    except OSError:
        return False
    return True


def _epoll_fds() -> list[int]:
    """This process's epoll sets: granian's and the loop's."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are wanted, not paths
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":  # noqa: PTH115 - 5 times as fast
                    found.append(int(name))
    return found
