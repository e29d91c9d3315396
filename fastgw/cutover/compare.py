"""`fastgw compare`: the same requests to the server and to the gateway, in turn, one pair after the other.

A pair is asked right after one another, and who is first alternates. If the answers differ, the server is asked twice
more: what differs between two answers of its own moves by itself, and is noted, not counted. So is what it has changed
by itself at any time in the run: counters of a server with traffic stand still for a moment, and go on. Everything else
counts, and stays counted: an error that came once is an error.

The gateway may limit the rate, as it is meant to. A 429 of its own is waited out, and is no difference.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fastgw.cutover.diagnose import cause, code_of
from fastgw.cutover.differences import Answer, Difference, compare, is_below
from fastgw.errors import RATE_LIMIT_EXCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fastgw.cutover.recordings import Request
    from fastgw.cutover.sides import Side

    Tell = Callable[[int, str], None]

NO_CACHE: Final = ("cache-control", "no-cache")
"""Both are asked for what is there now. Without it, cached answers would be compared with newer ones."""

WARM_UP: Final = 3
"""Pairs before the first that is timed: connections, and what servers do at their first request."""

MAX_WAIT_S: Final = 120.0
"""For a rate limit, at a time. A longer one ends the comparison."""

MAX_REMEMBERED_BYTES: Final = 64 << 10
"""Of the server's last answer to each request."""

MAX_ERRORS: Final = 10
"""Pairs in a row that lack an answer, after which it ends: each may take a time-out."""

MAX_FINDINGS: Final = 200
"""Different ones that are kept."""


@dataclass(frozen=True, slots=True)
class Options:
    """samples: timed pairs, each request at least once. cached: ask without NO_CACHE.

    max_wait_s: for the gateway's rate limit, at a time.
    """

    samples: int = 200
    ignored: Collection[str] = ()
    cached: bool = False
    max_wait_s: float = MAX_WAIT_S


@dataclass(slots=True)
class Finding:
    """One difference, how often it was there, and what it comes from."""

    request: Request
    difference: Difference
    hint: str
    times: int = 1


@dataclass(slots=True)
class Pair:
    """One pair in time, ms. backend: what the gateway waited for its backend, by its own word; None: not said."""

    direct: float
    gateway: float
    own: float | None = None
    backend: float | None = None
    is_cached: bool = False


@dataclass(slots=True)
class Outcome:
    """What the comparison has found."""

    pairs: list[Pair] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    moving: dict[tuple[str, str], int] = field(default_factory=dict)
    """(method and target, where): what the server itself answers differently each time."""
    asked: int = 0
    unanswered: int = 0
    """Pairs to which neither side gave an answer: the server's own fault, and no difference."""
    waited_s: float = 0.0
    stopped: str = ""
    """Why it ended before its end."""


class Comparison:
    """Asks both sides and notes what differs."""

    def __init__(self, direct: Side, gateway: Side, options: Options) -> None:
        self._direct = direct
        self._gateway = gateway
        self._options = options
        self._fields = () if options.cached else (NO_CACHE,)
        self._known: dict[tuple[Request, str, str], Finding] = {}
        self._errors = 0  # in a row
        self._last: dict[Request, Answer] = {}
        self._moved: dict[Request, set[str]] = {}  # places in bodies and fields; a status never excuses another one
        self.outcome = Outcome()

    def run(self, requests: list[Request], tell: Tell) -> Outcome:
        """Replay them. tell: called with the pairs that are done and what is being done. An unsafe one is sent once."""
        safe = [request for request in requests if request.is_safe]
        for request in safe[:WARM_UP]:
            self._ask(request, 0)
        plan = list(requests) + [safe[i % len(safe)] for i in range(self._options.samples - len(requests)) if safe]
        for number, request in enumerate(plan):
            tell(number, f"{request.method} {request.target}")
            self._pair(request, number, tell)
            if self.outcome.stopped:
                break
        self._excuse()
        return self.outcome

    def _pair(self, request: Request, number: int, tell: Tell) -> None:
        direct, gateway = self._ask(request, number)
        if code_of(gateway) == RATE_LIMIT_EXCEEDED.code and direct.status != 429:
            if not request.is_safe or not self._wait(gateway, number, tell):
                self.outcome.stopped = self.outcome.stopped or "the gateway's rate limit refuses what is not sent twice"
                return
            direct, gateway = self._ask(request, number)
        self.outcome.asked += 1
        if not direct.error and not gateway.error and direct.status == gateway.status:
            self.outcome.pairs.append(_timed(direct, gateway))
        self.outcome.unanswered += bool(direct.error and gateway.error)
        self._errors = self._errors + 1 if direct.error or gateway.error else 0
        if self._errors >= MAX_ERRORS:
            self.outcome.stopped = f"no answer {MAX_ERRORS} times in a row: {direct.error or gateway.error}"
        differences = compare(direct, gateway, self._options.ignored)
        if differences:
            self._note(request, direct, gateway, differences)
        if len(direct.body) <= MAX_REMEMBERED_BYTES:
            before = self._last.get(request, direct)
            self._last[request] = direct
            moved = {one.where for one in compare(before, direct, self._options.ignored) if one.where}
            if moved:
                self._moved.setdefault(request, set()).update(moved)

    def _ask(self, request: Request, number: int) -> tuple[Answer, Answer]:
        if number % 2:
            gateway = self._gateway.ask(request, *self._fields)
            return self._direct.ask(request, *self._fields), gateway
        direct = self._direct.ask(request, *self._fields)
        return direct, self._gateway.ask(request, *self._fields)

    def _wait(self, refused: Answer, number: int, tell: Tell) -> bool:
        """Wait as long as the gateway says; False if that is too long."""
        text = refused.field("retry-after")
        seconds = float(text) if text.isdigit() else 1.0
        if seconds > self._options.max_wait_s:
            self.outcome.stopped = f"the gateway's rate limit wants a wait of {seconds:.0f} s"
            return False
        tell(number, f"waiting {seconds:.0f} s for the gateway's rate limit")
        time.sleep(seconds)
        self.outcome.waited_s += seconds
        return True

    def _note(self, request: Request, direct: Answer, gateway: Answer, found: list[Difference]) -> None:
        """Count what differs, but for what the server itself answers differently now, or did before."""
        moving: set[str] = set()
        if request.is_safe and found[0].kind != "error":
            again = [self._direct.ask(request, *self._fields) for _ in range(2)]
            before = self._last.get(request, direct)
            for answer, later in itertools.pairwise((before, direct, *again)):
                moving |= {one.where for one in compare(answer, later)}
            if found[0].kind == "status" and gateway.status not in {answer.status for answer in (before, *again)}:
                moving.discard("")
        for one in found:
            if is_below(one.where, moving):
                key = (f"{request.method} {request.target}", one.where or "status")
                self.outcome.moving[key] = self.outcome.moving.get(key, 0) + 1
            else:
                self._count(request, one, cause(one, direct, gateway, request.target.partition("?")[0]))

    def _excuse(self) -> None:
        """Take back what was counted in places that the server was seen to change by itself, before or after."""
        for (request, _, where), finding in list(self._known.items()):
            if where and is_below(where, self._moved.get(request, ())):
                self.outcome.findings.remove(finding)
                key = (f"{request.method} {request.target}", where)
                self.outcome.moving[key] = self.outcome.moving.get(key, 0) + finding.times

    def _count(self, request: Request, one: Difference, hint: str) -> None:
        key = (request, one.kind, one.where)
        known = self._known.get(key)
        if known is not None:
            known.times += 1
        elif len(self._known) < MAX_FINDINGS:
            hide = self._gateway.hidden
            shown = Difference(one.kind, hide(one.where), hide(one.direct), hide(one.gateway))
            self._known[key] = finding = Finding(request, shown, hide(hint))
            self.outcome.findings.append(finding)


def _timed(direct: Answer, gateway: Answer) -> Pair:
    own, backend = _server_timing(gateway.field("server-timing"))
    is_cached = gateway.field("x-gateway-cache") in {"HIT", "STALE"}
    return Pair(direct.seconds * 1e3, gateway.seconds * 1e3, own, backend, is_cached)


def _server_timing(text: str) -> tuple[float | None, float | None]:
    """The milliseconds of `gateway` and `backend`."""
    found: dict[str, float] = {}
    for metric in text.split(","):
        name, _, rest = metric.strip().partition(";dur=")
        try:
            found[name] = float(rest)
        except ValueError:
            continue
    return found.get("gateway"), found.get("backend")
