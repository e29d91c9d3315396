"""Which backends may be asked? Pure: the rule over all records (ejection.py) of a process.

Never more than half are left out for their failures: the least bad stay in use, with FIRST_SHARE. Who fails its active
checks is left out too, unless all do. How choose.py uses it:

    panel.note(record, outcome, now)                after each try
    panel.check(record, is_healthy, now, asked_at)  after each active check
    panel.turn(now)                                 when now >= panel.due
    panel.picked(record, now)                       when one is chosen whose `record.is_half_open`

Each says True if who is in use may have changed: look at `is_in_use` of the records again, and log `take_changes()`.
A backend with nothing noted has `record.is_quiet`: ANSWERED need not be noted then. While `panel.is_calm` no time has
to be asked for: nothing is due, all have their whole share.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from fastgw.routing.ejection import SLOW_START_S, WORDS, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.routing.ejection import Ejection

SEVERITY: Final = (
    Outcome.SERVER_ERROR,
    Outcome.BROKEN_IN_BODY,
    Outcome.BROKEN,
    Outcome.TIMED_OUT,
    Outcome.CONNECT_FAILED,
)
"""From the least bad to the worst: what answers at all is worth more than what does not."""


class Panel:
    """The rule over all backends of a process. Sets `is_in_use` of each record; at least one is always in use.

    A backend that is alone is never judged by its failures: there is nobody to ask instead.
    """

    def __init__(self, records: Sequence[Ejection] = ()) -> None:
        """records: of all backends."""
        self._changes: list[tuple[int, str]] = []
        self.is_calm = True
        """All serve and are well; nothing is due."""
        self.is_panicking = False
        """All fail their checks, which are therefore not believed."""
        self.due = math.inf
        """When `turn` is to be called."""
        self._records = tuple(records)
        self._sort_out()

    def __repr__(self) -> str:
        used = sum(record.is_in_use for record in self._records)
        return f"<Panel {used} of {len(self._records)} in use{', panicking' if self.is_panicking else ''}>"

    def replace(self, records: Sequence[Ejection], now: float) -> None:
        """Other backends from now on. Those kept keep what is known of them; new ones among them start slowly."""
        before, self._records = self._records, tuple(records)
        if any(record in before for record in records):
            for record in records:
                if record not in before:
                    record.welcome(now)
        self._sort_out()

    def note(self, record: Ejection, outcome: Outcome, now: float) -> bool:
        """A try ended (O(1) unless a state changes). True: look at `is_in_use` of all again."""
        if len(self._records) < 2:
            return False
        before = record.state
        if not record.note(outcome, now):
            return False
        self._sort_out()
        self._tell(record, before, now)
        return True

    def check(self, record: Ejection, is_healthy: bool, now: float, asked_at: float = math.inf) -> bool:
        """An active check ended that was begun at asked_at. True: look again."""
        is_turned = now >= self.due and self.turn(now)  # where no request comes, time is told by the checks
        before = record.state
        if not record.check(is_healthy, now, asked_at):
            return is_turned
        self._sort_out()
        self._tell(record, before, now)
        return True

    def picked(self, record: Ejection, now: float) -> bool:
        """One with `is_half_open` was chosen. True: look again."""
        if not record.picked(now):
            return False
        self._sort_out()
        return True

    def turn(self, now: float) -> bool:
        """Time has passed `due`. True: look again."""
        before = [(record, record.state) for record in self._records]
        turned = [record.turn(now) for record in self._records]
        if not any(turned):
            return False
        self._sort_out()
        for record, state in before:
            self._tell(record, state, now)
        return True

    def take_changes(self) -> list[tuple[int, str]]:
        """What to log since the last call: (level of logging, line), one for each change."""
        changes, self._changes = self._changes, []
        return changes

    def _sort_out(self) -> None:
        """Who is in use: all that are well, but for the worst half of all at most."""
        records = self._records
        well = [record for record in records if not record.is_unhealthy]
        was_panicking, self.is_panicking = self.is_panicking, bool(records) and not well
        if self.is_panicking:
            well = list(records)
        may_be_out = max(0, len(records) // 2 - (len(records) - len(well)))
        worst_first = sorted((record for record in well if record.is_out), key=_badness, reverse=True)
        in_use = set(well).difference(worst_first[:may_be_out])
        for record in records:
            record.is_in_use = record in in_use
        self.is_calm = all(record.state is State.SERVING and not record.is_unhealthy for record in records)
        self.due = min((record.due for record in records), default=math.inf)
        if self.is_panicking and not was_panicking and len(records) > 1:
            self._changes.append((logging.WARNING, "all backends fail their checks: all are asked nevertheless"))
        elif was_panicking and not self.is_panicking and len(records) > 1:
            self._changes.append((logging.INFO, "not all backends fail their checks any more"))

    def _tell(self, record: Ejection, before: State, now: float) -> None:
        state = record.state
        if state is before:
            return
        name = f"backend {record.name}"
        level = logging.INFO
        if state is State.EJECTED and record.reason is not None:
            if before is State.PROBING:
                why = f"it was tried, and {WORDS[record.reason]}"
            else:
                level, why = logging.WARNING, f"{record.run} {WORDS[record.reason]} in a row"
            spared = ", but asked now and then, as too few others are left" if record.is_in_use else ""
            line = f"{name} is ejected for {record.until - now:g} s: {why}{spared}"
        elif state is State.PROBING:
            line = f"{name} may be tried by one request at a time"
        elif state is State.RETURNING:
            line = f"{name} is back: its share grows to the whole within {SLOW_START_S:g} s"
        else:
            line = f"{name} has its whole share"
        self._changes.append((level, line))


def _badness(record: Ejection) -> tuple[bool, int, int]:
    """How bad it is to ask one that should be left out. One that may soon be back is better than an ejected one."""
    severity = -1 if record.reason is None else SEVERITY.index(record.reason)
    return record.state is State.EJECTED, severity, record.row
