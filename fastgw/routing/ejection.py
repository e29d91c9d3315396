"""When may a backend be asked? Pure: told what happened to it and when, it says where it stands.

    SERVING     whole share
    EJECTED     too many failures in a row: not asked until its back-off is over
    PROBING     half open: one request at a time; its outcome decides
    RETURNING   slow start: a share that grows to the whole

The record of one backend; panel.py has the rule over all of them. Times are monotonic seconds. Nothing is known of a
request before its outcome, so a probe that is never told of lapses.
"""

from __future__ import annotations

import math
from collections import Counter
from enum import IntEnum
from typing import Final


class Outcome(IntEnum):
    """How one try ended, as seen from the gateway."""

    ANSWERED = 0
    """A whole response below 500."""
    SERVER_ERROR = 1
    """A response of 500 or above."""
    CONNECT_FAILED = 2
    """Refused, unreachable, or not connected in time: nothing was sent."""
    TIMED_OUT = 3
    """No byte of the response in time, or silence within it."""
    BROKEN = 4
    """Lost, or not HTTP, before the head was complete; not for the loss of a kept-alive connection that was idle."""
    BROKEN_IN_BODY = 5
    """Lost, or not HTTP, after the head."""
    CLIENT_GONE = 6
    """The gateway's side gave it up: says nothing of the backend. Also for a full pool."""


class State(IntEnum):
    """Where a backend stands."""

    SERVING = 0
    EJECTED = 1
    PROBING = 2
    RETURNING = 3


MOVES: Final = {
    State.SERVING: frozenset({State.EJECTED, State.RETURNING}),  # RETURNING: new, or healthy again by its checks
    State.EJECTED: frozenset({State.PROBING, State.RETURNING}),  # RETURNING: spared by the panel, and answered
    State.PROBING: frozenset({State.EJECTED, State.RETURNING}),
    State.RETURNING: frozenset({State.SERVING, State.EJECTED}),
}

PATIENCE: Final = {
    Outcome.CONNECT_FAILED: 2,  # plain evidence, and free to try elsewhere; one may be a full accept queue
    Outcome.TIMED_OUT: 3,  # each costs seconds, but a single slow job must not look like a frozen server
    Outcome.BROKEN: 3,  # one crash of a worker process behind the backend's port is not the backend
    Outcome.BROKEN_IN_BODY: 3,
    Outcome.SERVER_ERROR: 5,  # as Envoy's consecutive_5xx: a client's poison request is repeated some times
}
"""Failures of one kind in a row, without an answer between them, that eject. A returning backend is given half."""

WORDS: Final = {
    Outcome.CONNECT_FAILED: "connections failed",
    Outcome.TIMED_OUT: "requests timed out",
    Outcome.BROKEN: "answers broke off before the head",
    Outcome.BROKEN_IN_BODY: "answers broke off in the body",
    Outcome.SERVER_ERROR: "answers were server errors",
}
"""Reasons, for people: "3 requests timed out"."""

FIRST_BACKOFF_S: Final = 1.0
"""About what a server process takes to be back after a crash."""

LAST_BACKOFF_S: Final = 60.0
"""A backend that was down for hours is tried within a minute of its return; that costs one request a minute."""

GOOD_SPELL_S: Final = 60.0
"""In use again for that long: the next ejection starts the back-off anew."""

PROBE_LAPSES_S: Final = 10.0
"""A probe may be a job that takes minutes: after this another request may try."""

RISK_AFTER_S: Final = 10.0
"""For so long only requests that may be sent again are probes: a job submission that a frozen backend swallows is lost
to its client. Then any may be, or where there are no others the backend would stay out."""

SLOW_START_S: Final = 10.0
"""From the first share to the whole: caches are filled and code is warm by then."""

FIRST_SHARE: Final = 0.1
"""Share of a backend that has just come back, is tried, or is in use only because too few others are."""

SHOWN_BY_CHECK: Final = frozenset({Outcome.CONNECT_FAILED, Outcome.TIMED_OUT, Outcome.BROKEN})
"""Reasons that a healthy check speaks against, so that the backend is probed at once. Server errors are not: a health
page is often well while the rest is not."""


class Ejection:
    """The record of one backend in one process: which failures it has in a row, and where it stands."""

    __slots__ = (
        "_back_at",
        "_ejected_at",
        "_is_tried",
        "_probe_until",
        "_runs",
        "ejections",
        "failures",
        "is_in_use",
        "is_quiet",
        "is_unhealthy",
        "name",
        "reason",
        "row",
        "run",
        "since",
        "state",
        "until",
    )

    def __init__(self, name: str = "") -> None:
        """name: of the backend, for repr and log lines."""
        self.name = name
        self.state = State.SERVING
        self.since = -math.inf
        """When it came to this state."""
        self.until = math.inf
        """When this state ends by itself: that of an ejection, of a slow start, of a probe's right."""
        self.reason: Outcome | None = None
        """Of the last ejection."""
        self.run = 0
        """Failures in a row that led to the last ejection."""
        self.row = 0
        """Ejections, failed probes among them, without a good spell between them."""
        self.is_quiet = True
        """Serving, and no failure since the last answer: ANSWERED changes nothing."""
        self.is_unhealthy = False
        """Its active checks fail."""
        self.is_in_use = True
        """The panel's word: it may be chosen now."""
        self.ejections = 0
        """How often it was taken out of use for its failures; failed probes not counted."""
        self.failures = 0
        """Outcomes that counted against it, ever."""
        self._runs: Counter[Outcome] = Counter()  # failures since the last answer
        self._back_at = -math.inf  # when it last came back into use
        self._ejected_at = -math.inf
        self._is_tried = False  # a probe was let through since it is PROBING

    def __repr__(self) -> str:
        healthy = ", unhealthy" if self.is_unhealthy else ""
        why = f", {WORDS[self.reason]}" if self.reason is not None and self.state is not State.SERVING else ""
        return f"<Ejection {self.name} {self.state.name}{healthy}{why} ejections={self.ejections}>"

    @property
    def is_half_open(self) -> bool:
        """Whether `picked` is to be called when it is chosen."""
        return self.state is State.PROBING

    @property
    def is_out(self) -> bool:
        """Whether it should be left out for its failures: ejected, or its one probe is under way."""
        return self.state is State.EJECTED or (self.state is State.PROBING and self.until < math.inf)

    @property
    def complaint(self) -> str:
        """Why it is left out for its failures, such as "ejected: requests timed out"; or ""."""
        if self.reason is None or self.state is State.SERVING or self.state is State.RETURNING:
            return ""
        return f"{self.state.name.lower()}: {WORDS[self.reason]}"

    @property
    def due(self) -> float:
        """When `turn` has something to do; infinity if never."""
        return self.until

    def is_available(self, now: float) -> bool:
        """Whether it may be asked, by itself; the panel may say otherwise of many."""
        return not self.is_unhealthy and (now >= self.until or not self.is_out)

    def may_risk(self, now: float) -> bool:
        """Whether it may be given a request that can't be sent again, such as a POST; others need not ask."""
        return self.state is not State.PROBING or now - self.since >= RISK_AFTER_S

    def share(self, now: float) -> float:
        """Of the requests it would get by its weight: FIRST_SHARE..1, growing while it returns."""
        if self.state is State.SERVING:
            return 1.0
        if self.state is State.RETURNING:
            return min(1.0, max(FIRST_SHARE, (now - self.since) / SLOW_START_S))
        return FIRST_SHARE

    def note(self, outcome: Outcome, now: float) -> bool:
        """A try ended. Whether the state, or who may try next, changed."""
        if not outcome:  # ANSWERED
            return False if self.is_quiet else self._answered(now)
        if outcome is Outcome.CLIENT_GONE:
            return self._free_probe()
        return self._failed(outcome, now)

    def check(self, is_healthy: bool, now: float, asked_at: float = math.inf) -> bool:
        """An active check ended that was begun at asked_at. Whether anything changed."""
        was_unhealthy, self.is_unhealthy = self.is_unhealthy, not is_healthy
        if not is_healthy:
            return not was_unhealthy
        if self.state is State.EJECTED or self.state is State.PROBING:
            return self._recommend(now, asked_at) or was_unhealthy
        if was_unhealthy:
            self._return(now)
        return was_unhealthy

    def welcome(self, now: float) -> None:
        """It is new among others that serve already: slow start."""
        if self.state is State.SERVING:
            self._return(now)

    def picked(self, now: float) -> bool:
        """It was chosen. Whether that was the probe, so that no other may try now."""
        if self.state is not State.PROBING:
            return False
        self._is_tried = True
        self.until = now + PROBE_LAPSES_S
        return True

    def turn(self, now: float) -> bool:
        """What time alone changes: a back-off, a slow start or a probe is over. Whether one was."""
        if now < self.until:
            return False
        if self.state is State.EJECTED:
            self._probe(now)
        elif self.state is State.RETURNING:
            self._move_to(State.SERVING, now, math.inf)
            self.is_quiet = not self._runs
        else:
            self.until = math.inf
        return True

    # -- moves ------------------------------------------------------------------------------------------

    def _answered(self, now: float) -> bool:
        self._runs.clear()
        if self.state is State.PROBING or self.state is State.EJECTED:
            # one that is not spared answers what it was asked before: no news of how it is now
            if self.is_in_use or self.state is State.PROBING:
                self._return(now)
                return True
        elif self.state is State.SERVING:
            self.is_quiet = True
        return False

    def _failed(self, outcome: Outcome, now: float) -> bool:
        self.failures += 1
        if outcome is Outcome.SERVER_ERROR:  # an answer all the same
            run = self._runs[outcome] + 1
            self._runs.clear()
            self._runs[outcome] = run
        else:
            self._runs[outcome] += 1
        self.is_quiet = False
        if self.state is State.PROBING:
            if self._is_tried:
                self._eject(outcome, now)
            return self._is_tried
        if self.state is State.EJECTED:
            return False
        patience = PATIENCE[outcome]
        if self.state is State.RETURNING:
            patience = (patience + 1) // 2
        if self._runs[outcome] < patience:
            return False
        self.ejections += 1
        self.run = self._runs[outcome]
        self._eject(outcome, now)
        return True

    def _eject(self, reason: Outcome, now: float) -> None:
        if now - self._back_at >= GOOD_SPELL_S and self.state is not State.PROBING:
            self.row = 0
        self.reason, self._ejected_at = reason, now
        self._move_to(State.EJECTED, now, now + min(FIRST_BACKOFF_S * 2**self.row, LAST_BACKOFF_S))
        self.row = min(self.row + 1, 16)  # 2**16 first back-offs are past any bound

    def _probe(self, now: float) -> None:
        self._is_tried = False
        self._move_to(State.PROBING, now, math.inf)

    def _return(self, now: float) -> None:
        if self.state is not State.RETURNING:
            self._back_at = now
            self._move_to(State.RETURNING, now, now + SLOW_START_S)
        else:
            self.since, self.until = now, now + SLOW_START_S
        self.is_quiet = False

    def _recommend(self, now: float, asked_at: float) -> bool:
        """A check went well: it may be tried now, or is back if nobody has come to try it."""
        if self.reason not in SHOWN_BY_CHECK or asked_at < self._ejected_at:
            return False
        if self.state is State.EJECTED:
            self._probe(now)
        elif not self._is_tried:
            self._runs.clear()
            self._return(now)
        else:
            return False
        return True

    def _free_probe(self) -> bool:
        is_freed = self.state is State.PROBING and self.until < math.inf
        if is_freed:
            self.until = math.inf
        return is_freed

    def _move_to(self, state: State, now: float, until: float) -> None:
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a backend can't go from {self.state.name} to {state.name}")
        self.state, self.since, self.until = state, now, until
