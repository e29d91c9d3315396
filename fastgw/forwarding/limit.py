"""How many requests may wait for the backends at once. Pure: told what happened and when, it keeps one number.

There is no limit until there is a reason for one. The reason is a queue that stands: in a whole window not one answer
came about as quickly as that kind of request can be answered (the idea of CoDel, RFC 8289: judge by the least delay,
as a burst is no queue and one slow request is none either). "As quickly as" is the least time seen of that kind, so
slow routes beside quick ones, and one slow backend beside others, are no queue.

    no limit -> limited       a queue of more than the target stands, and more than FLOOR requests wait
    limited: less             by as much as the queue is too long (half of it at most), once per round trip
    limited: more             by a tenth in each window without a standing queue in which requests were refused
    limited -> no limit       after CALM_S without a refusal

A backend that has become slow, and one that is full, look alike at first. They are told apart by experiment: with
fewer requests waiting, a full backend answers sooner, a slow one takes as long as before. So each cut is looked at
afterwards, and while a limit is in force a larger one is tried now and then; if the time of an answer did not follow
the number that wait, it was no queue: the limit is put back, and what is quick is learned anew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

FLOOR: Final = 32
"""Requests that may always wait. A queue this short is no overload worth an error; and with one process per core and
several gateways, each needs enough to keep its share of a backend busy."""

TARGET_S: Final = 0.02
"""The queue that is allowed, at least: enough to keep a backend busy between two answers, and above what a busy
machine's scheduler does to one. For kinds that take longer, as long as they take: their time doubles at most."""

WINDOW_S: Final = 0.1
"""A decision rests on the answers of so long, from the first one on that was asked after the last decision."""

MIN_ANSWERS: Final = 10
"""And on so many of them: the least of a few says nothing."""

LEAST_CUT: Final = 0.5
"""A limit in force is cut by half at most: the next decision sees what that did."""

GROWTH: Final = 1.1
QUEUED: Final = 0.4
"""Exponent with which the time of an answer follows the number waiting, up to which it is no queue: 1 is a full backend
(twice as many wait twice as long), 0 one that has room. A little below the half: cutting is what harms if it is wrong.
Times are compared and not rates: Little's law makes them the same, and rates of short windows come in clumps."""

TRY_FACTOR: Final = 1.5
FIRST_TRY_S: Final = 1.0
LAST_TRY_S: Final = 8.0
"""While limited, half as much again is tried for a window: a second after the first cut, then, while that is of no use,
after twice as long each time. In a long overload it makes one window of fifty longer by a half."""

CALM_S: Final = 10.0
"""Without a refusal for so long, there is nothing to be limited."""

SILENT_S: Final = 1.0
"""Refusing, and no answer for so long: what waits may be waiting for something else. Half as much again is let in."""

LEARN_EVERY_S: Final = 60.0
"""How often what is quick is learned anew, while nothing is limited: backends change."""

MAX_KINDS: Final = 512
"""Kinds of requests that are told apart; one beyond counts as the same as all others beyond."""


class Limit:
    """One for all backends of a process. Times are seconds of any clock that does not go back."""

    __slots__ = (
        "_answers",
        "_first_at",
        "_kinds",
        "_last_answer",
        "_learned_at",
        "_least",
        "_refusal_at",
        "_refused",
        "_since",
        "_took_sum",
        "_tried_at",
        "_try_after_s",
        "_trying",
        "_usual_sum",
        "_waiting_sum",
        "lag_s",
        "value",
        "waiting",
    )

    def __init__(self, now: float = 0.0) -> None:
        self.value = math.inf
        """Requests that may wait."""
        self.waiting = 0
        """Requests that wait for a response's head. The callers count it."""
        self.lag_s = 0.0
        """How late this process itself may be in noticing an answer: no queue of the backends'."""
        self._kinds: dict[Hashable, float] = {}
        self._learned_at = self._last_answer = self._refusal_at = self._tried_at = now
        self._trying: tuple[float, float, float] | None = None  # before it: the time, the number waiting, the limit
        self._try_after_s = FIRST_TRY_S
        # of the window
        self._since = self._first_at = now
        self._answers = self._waiting_sum = self._refused = 0
        self._usual_sum = self._took_sum = 0.0
        self._least = math.inf

    def __repr__(self) -> str:
        return f"<Limit {self.value:g} waiting={self.waiting} kinds={len(self._kinds)}>"

    def answered(self, kind: Hashable, among: int, took_s: float, now: float) -> None:
        """A response's head came. kind: what may be compared with each other, such as backend, method and route.

        among: how many waited when it began to, itself included. took_s: since then.
        """
        kinds = self._kinds
        usual = kinds.get(kind)
        if usual is None and len(kinds) >= MAX_KINDS:
            kind = None
            usual = kinds.get(None)
        if usual is None:
            usual = kinds[kind] = took_s
            queue = math.inf  # the first of its kind says nothing of a queue
        else:
            if took_s < usual:
                usual = kinds[kind] = took_s
            queue = took_s - usual
        self._last_answer = now
        if now - took_s < self._since and self.value < math.inf:
            return  # asked before the last decision: tells nothing of what that did
        if not self._answers:
            self._first_at = now
        self._answers += 1
        self._waiting_sum += among
        self._usual_sum += usual
        self._took_sum += took_s
        if queue < self._least:  # noqa: PLR1730 - half the price of min()
            self._least = queue
        if now - self._first_at >= WINDOW_S and self._answers >= MIN_ANSWERS:
            self._decide(now)

    def refuses(self, now: float) -> bool:
        """Whether one more is too many. To be asked when as many as `value` wait: the refusal is counted."""
        if now - self._refusal_at > CALM_S:
            self.value = math.inf
        elif now - self._last_answer > SILENT_S:
            self._last_answer = now
            self.value = self.value * TRY_FACTOR + 1
        if self.waiting < self.value:
            return False
        self._refused += 1
        self._refusal_at = now
        return True

    def lift(self) -> None:
        """There is no limit, until a queue stands again: what looked like one had another reason."""
        self.value = math.inf
        self._trying = None

    # -- inside ---------------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        self._since = now
        self._first_at = now
        self._answers = 0
        self._waiting_sum = 0
        self._usual_sum = self._took_sum = 0.0
        self._least = math.inf
        self._refused = 0

    def _decide(self, now: float) -> None:
        answers, refused = self._answers, self._refused
        load = self._waiting_sum / answers
        took = self._took_sum / answers
        usual = self._usual_sum / answers
        queue = self._least - self.lag_s if self._least < math.inf else 0.0
        self._begin(now)
        trying, self._trying = self._trying, None
        if trying is not None and not _is_queue(trying, took, load):
            self.value = max(self.value, trying[2])
            self._kinds.clear()
            self._try_after_s = FIRST_TRY_S
            self._try(now, took, load)
            return
        if trying is not None and self.value > trying[2]:  # it only made the queue longer
            self.value = trying[2]
            self._try_after_s = min(self._try_after_s * 2, LAST_TRY_S)
            return
        target = max(TARGET_S, usual)
        if queue > target and load > FLOOR:
            self._trying = (took, load, self.value)
            self._cut(now, load, load / took * (usual + target))
        elif self.value == math.inf:
            if now - self._learned_at > LEARN_EVERY_S and queue < TARGET_S:
                self._learned_at = now
                self._kinds.clear()
        else:
            self._raise(now, took, load, stands=queue > target, refused=refused)

    def _cut(self, now: float, load: float, enough: float) -> None:
        """enough: how many wait when the queue is as long as the target (Little: rate times time)."""
        if self.value == math.inf:
            self._refusal_at = now
            self._try_after_s = FIRST_TRY_S
        else:
            enough = max(enough, self.value * LEAST_CUT)
        self.value = max(FLOOR, min(self.value, load, enough))
        self._tried_at = now

    def _try(self, now: float, took: float, load: float) -> None:
        """Let more wait until the next decision, and see."""
        if self.value < math.inf:
            self._trying = (took, load, self.value)
            self.value *= TRY_FACTOR
        self._tried_at = now

    def _raise(self, now: float, took: float, load: float, *, stands: bool, refused: int) -> None:
        if now - self._refusal_at > CALM_S:
            self.value = math.inf
        elif refused and now - self._tried_at > self._try_after_s:
            self._try(now, took, load)
        elif refused and not stands:
            self.value = self.value * GROWTH + 1


def _is_queue(before: tuple[float, float, float], took: float, load: float) -> bool:
    """Whether the time of an answer went the way of the number that waited; yes, if that has hardly changed."""
    took_before, load_before, _ = before
    if took <= 0 or took_before <= 0 or not (load < load_before * 0.9 or load > load_before * 1.1):
        return True
    return math.log(took / took_before) / math.log(load / load_before) > QUEUED
