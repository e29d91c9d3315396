"""Overload: refuse early what can't be carried, so that what is accepted keeps its time.

Two places, each the cheapest at which its question can be answered:

    door    before anything else, in app.py    is this process itself late?          lag.py: so many per second
    gate    the last step before deliver       do too many wait for the backends?    limit.py: so many at once

What only the backends are too slow for is refused at the gate: what the cache holds, who is refused anyway, and a stale
entry where the backend allows it (stale-if-error) need no backend. Where this process is busy too, the way to the gate
is what it can't afford: then a refusal there is a reason to refuse at the door. The gateway's own pages pass neither
place: they are never refused.

A refusal at the door is an answer made once a second, with the request's own id in it; most of what it costs is
granian's, and that is still a third of a forwarded request. Answered at once, who asks again at once would keep the
process busy with refusals alone; so beyond a part of what is carried they wait for their turn, HOLD_S at most, and with
them the connection on which the next request would come.

One timer per process measures the loop's lag. It is armed while requests come: an idle process sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from fastgw.errors import SERVICE_UNAVAILABLE, GatewayError
from fastgw.forwarding.lag import TICK_S, Lag
from fastgw.forwarding.limit import Limit
from fastgw.forwarding.timeouts import SYNC_PATH
from fastgw.respond import CLOSE, MESSAGES, SAME_FIELDS, error_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.exchange import Exchange, Scope, Send
    from fastgw.protocol.fields import Fields
    from fastgw.respond import Answer
    from fastgw.routing.backend import Backend

LONG_ENDS: Final = (SYNC_PATH, b"/next-job")
"""Paths that wait by design, for a result or for work: neither do they count, nor does their time say anything."""

LONG_LAST: Final = frozenset(end[-1] for end in LONG_ENDS)
"""Their last letters: a third of the price of looking at the whole end."""

SAMPLES_PER_TICK: Final = 10
"""Answers whose time is looked at: 500 per second are plenty to decide on ten times a second, and at full speed one of
fifty costs nothing."""

TURNS: Final = 3
"""Of a loop that has too much to do, from a request's being sent to its answer's being noticed. And a tick's requests
come at once, when the door opens."""

REFUSALS_PER_TICK: Final = 40
"""2,000 per second that are answered at once, at most: 3 % of a core."""

LEAST_REFUSALS: Final = 2
"""Of a tick, however little is carried."""

REFUSED_PART: Final = 0.15
"""And while the door is in force no more than this part of what is let in: as a refusal costs a third of a request,
that takes 5 % of a core from those that are carried, on slow machines too."""

HOLD_S: Final = 2.0
"""Longest that a refusal is kept back. With 4,000 clients that ask again at once it keeps the process at the 2,000."""

MAX_HELD: Final = 16_384
"""Refusals that are kept back, at some 4 KiB each; more are answered at once."""

MARK: Final = b"00000000"
"""Stands for the request's id in an answer made beforehand."""

QUIET_TICKS: Final = 50
"""Without a request for so many ticks, a second, the timer rests."""

SECOND_TICKS: Final = 50
MAX_RETRY_S: Final = 30

SHAPE_BYTES: Final = 64
"""Of a path, to tell kinds of requests apart."""

_OF_IDS: Final = b"0123456789abcdefABCDEF-_"
"""What ids are made of: taken out of a path, one route's paths become the same, and different routes' hardly ever."""

log = logging.getLogger("fastgw.overload")


class Shed:
    """The two places, and what they learn from. To be made in the running loop."""

    def __init__(self, name: Callable[[Fields], bytes], cors: Callable[[Fields], Fields] | None = None) -> None:
        """name: a request's id, of its fields. cors: of these, what lets a page of another origin read the refusal."""
        self._name = name
        self._cors = cors
        self._loop = asyncio.get_running_loop()
        now = perf_counter()
        self.limit = Limit(now)
        self.lag = Lag(now)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._at_rest = True
        self.lag.left = 0  # so that the first request arms the timer
        self._quiet = self._ticks = 0
        self._held: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._turns = REFUSALS_PER_TICK
        self._every = 1
        self._unseen = 0
        self._passed = self._refused = 0  # of this second
        self._retry_after_s = 1
        self._sheds = False
        self._is_crowded = False
        self._ready = self._prepared()
        self.refused = {"lag": 0, "backend": 0}

    def __repr__(self) -> str:
        return f"<Shed {self.limit!r} {self.lag!r} held={len(self._held)}>"

    # -- the two places -------------------------------------------------------------------------------

    def door(self) -> str:
        """Whether a request must go at once: why, or "" for one that may come in."""
        lag = self.lag
        lag.left -= 1
        return "" if lag.left >= 0 or self._wake() else "lag"

    async def turn_away(self, scope: Scope, send: Send, why: str, *, must_close: bool) -> None:
        """Answer 503, at once or after a while. For HTTP and WebSockets; neither accept nor an Exchange is needed."""
        begun = perf_counter()
        self._count(why)
        if self._turns < 0 and len(self._held) < MAX_HELD:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._held.append((begun + HOLD_S, waiter))
            await waiter
        request_id = self._name(scope["headers"])
        before, after, same = self._ready
        body = before + request_id + after
        took_ms = (perf_counter() - begun) * 1e3
        fields = [
            *same,
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id),
            (b"x-gateway-duration", b"%.2fms" % took_ms),
            (b"server-timing", b"gateway;dur=%.2f, backend;dur=0.00" % took_ms),
        ]
        if must_close:
            fields.append(CLOSE)
        if self._cors is not None and scope["type"] == "http":
            fields += self._cors(scope["headers"])
        start, end = MESSAGES[scope["type"]]
        await send({"type": start, "status": SERVICE_UNAVAILABLE.status, "headers": fields})
        await send({"type": end, "body": b"" if scope.get("method") == "HEAD" else body})

    def gate(self, x: Exchange) -> Awaitable[Answer | None] | None:
        """Let a request go to the backends, unless too many wait for them. Raises GatewayError (503), or gives the wait
        for it.
        """
        limit = self.limit
        if limit.waiting < limit.value or not limit.refuses(perf_counter()):
            return None
        self._is_crowded = True
        return self._refuse(x, "backend")

    # -- for deliver ----------------------------------------------------------------------------------

    def enter(self, x: Exchange) -> None:
        """The request waits for a response from now on."""
        path = x.raw_path
        if path and path[-1] in LONG_LAST and path.endswith(LONG_ENDS):
            return
        limit = self.limit
        limit.waiting = x.among = limit.waiting + 1

    def answered(self, x: Exchange, backend: Backend, status: int, took_s: float) -> None:
        """The response's head has come. took_s: of the wait for a connection and for the head.

        One answer of `_every` is looked at. A failure is quicker than what it stands for, and a second try slower:
        neither is compared.
        """
        among = x.among
        if among:
            x.among = 0
            self.limit.waiting -= 1
            self._unseen += 1
            if self._unseen >= self._every and status < 400 and x.attempts == 1:
                self._passed += self._unseen
                self._unseen = 0
                shape = x.raw_path[:SHAPE_BYTES].translate(None, _OF_IDS)
                self.limit.answered((backend, x.method, shape), among, took_s, perf_counter())

    def leave(self, x: Exchange) -> None:
        """The request does not wait any more, whatever came of it. Safe to call twice."""
        if x.among:
            x.among = 0
            self.limit.waiting -= 1

    # -- for the pages, and the end ---------------------------------------------------------------------

    def told(self) -> dict[str, Any]:
        """For /gateway/plugins and the detailed health page."""
        limit = self.limit
        return {
            "name": "overload",
            "enabled": True,
            "state": "shedding" if self._sheds else "active",
            "waiting": limit.waiting,
            "waiting_limit": None if limit.value == math.inf else int(limit.value),
            "requests_per_second_limit": None if self.lag.rate == math.inf else int(self.lag.rate),
            "loop_lag_ms": 0.0 if self._at_rest else round(self.lag.last_s * 1e3, 2),
            "refused": dict(self.refused),
        }

    def close(self) -> None:
        """Stop the timer, and answer who is kept waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held:
            _end(self._held.popleft()[1])

    # -- inside ---------------------------------------------------------------------------------------

    def _wake(self) -> bool:
        """Arm the timer for the first request after a rest. False: it runs, and this request is one too many."""
        if not self._at_rest:
            return False
        self._at_rest = False
        self._quiet = 0
        self.lag.wake(perf_counter())
        self._arm()
        return True

    def _arm(self) -> None:
        self._due = perf_counter() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        lag = self.lag
        now = perf_counter()
        was_open = lag.rate == math.inf
        came = lag.look(now, self._due, is_crowded=self._is_crowded)
        self._is_crowded = False
        if lag.rate == math.inf:
            self.limit.lag_s = lag.worst_s
        else:
            self.limit.lag_s = TICK_S + TURNS * lag.worst_s
            if was_open:
                self.limit.lift()
        self._every = max(1, came // SAMPLES_PER_TICK)
        self._quiet = 0 if came or self._held else self._quiet + 1
        self._turns = REFUSALS_PER_TICK
        if lag.rate < math.inf:
            self._turns = min(max(int(lag.let_in * REFUSED_PART), LEAST_REFUSALS), REFUSALS_PER_TICK)
        held = self._held
        while held and (self._turns > 0 or held[0][0] <= now):
            self._turns -= 1
            _end(held.popleft()[1])
        self._ticks += 1
        if self._ticks % SECOND_TICKS == 0:
            self._take_stock()
        if self._quiet < QUIET_TICKS:
            self._arm()
        else:
            self._timer = None
            self._at_rest = True
            lag.left = 0

    def _take_stock(self) -> None:
        """Each second: when should those come back who are refused now? And a line when it begins or ends.

        Retry-After: if all who come are spread over so many seconds, those who come in one can be carried.
        """
        passed, refused = self._passed + self._unseen, self._refused
        self._unseen = 0
        self._passed = self._refused = 0
        self._retry_after_s = min(MAX_RETRY_S, max(1, math.ceil((passed + refused) / max(1, passed))))
        self._ready = self._prepared()
        if bool(refused) is not self._sheds:
            self._sheds = bool(refused)
            if refused:
                log.warning("overload: %d of %d requests of this second refused; %r", refused, passed + refused, self)
            else:
                log.info("overload is over")

    def _prepared(self) -> tuple[bytes, bytes, Fields]:
        """An answer at the door: its body before and after the request's id, the fields that are the same in all."""
        answer = error_answer(self._error("lag"), MARK)
        before, _, after = answer.body.partition(MARK)
        return before, after, [*answer.fields, *SAME_FIELDS]

    def _count(self, why: str) -> None:
        self.refused[why] += 1
        self._refused += 1
        self._turns -= 1

    def _refuse(self, x: Exchange, why: str) -> Awaitable[None]:
        """Raise now, or give the wait for it, if it is one of too many."""
        x.shed = why
        self._count(why)
        if self._turns >= 0 or len(self._held) >= MAX_HELD:
            raise self._error(why)
        return self._hold(why)

    async def _hold(self, why: str) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._held.append((perf_counter() + HOLD_S, waiter))
        await waiter
        raise self._error(why)

    def _error(self, why: str) -> GatewayError:
        where = "this gateway" if why == "lag" else "what stands behind it"
        return GatewayError(
            SERVICE_UNAVAILABLE, f"{where} has more to do than it can", retry_after_s=self._retry_after_s
        )


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
