"""All budgets of a run in one table, and the exit status that follows from them. Pure.

A budget is judged by its median over rounds. Where single rounds say otherwise, the verdict says so, but that decides
nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from bench.report.answer import Table, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.answer import Answer, Budget

OURS = "fastgw"
COLUMNS = ("promise", "value", "limit", "verdict")


class Status(IntEnum):
    """The exit status of `python -m bench`."""

    MET = 0
    MISSED = 1
    USED_WRONGLY = 2  # click's own
    UNMEASURED = 3


def status(answers: Iterable[Answer], left_out: Iterable[str], *, judged: bool = True) -> Status:
    """Met if no budget was asked. left_out: peers without figures; without ours there is no verdict to give.

    judged: else a missed budget is only printed (smoke tests, tries on a busy machine).
    """
    if any(peer.startswith(OURS) for peer in left_out):
        return Status.UNMEASURED
    if judged and not all(budget.is_met for answer in answers for budget in answer.budgets):
        return Status.MISSED
    return Status.MET


def table(answers: Sequence[Answer]) -> Table:
    """A row of COLUMNS for each budget, in the order of questions. notes: what the verdict does not rest on firmly."""
    rows = tuple(row(budget) for answer in answers for budget in answer.budgets)
    without = [answer.question for answer in answers if not answer.budgets]
    notes = [f"no budget was judged for {', '.join(without)}"] if without else []
    remarks = {answer.question: sum(len(one.notes) for one in answer.tables) for answer in answers}
    if any(remarks.values()):
        by_question = ", ".join(f"{question} {count}" for question, count in remarks.items() if count)
        notes.append(f"remarks that speak against figures, below the tables of: {by_question}")
    return Table("Verdict", COLUMNS, rows, tuple(notes))


def row(budget: Budget) -> tuple[str, ...]:
    """The cells of COLUMNS."""
    return budget.promise, value(budget), f"{budget.sign} {budget.limit:,g}", budget.verdict


def value(budget: Budget) -> str:
    """With the extremes over rounds in brackets, where they are known."""
    shown = number(budget.value)
    if budget.spread is None or budget.spread.low == budget.spread.high:
        return shown
    return f"{shown} [{number(budget.spread.low)}..{number(budget.spread.high)}]"


def sentence(answers: Sequence[Answer]) -> str:
    """The table in one line: '3 of 5 budgets met, 2 missed'."""
    budgets = [budget for answer in answers for budget in answer.budgets]
    if not budgets:
        return "No budget was judged"
    met = sum(budget.is_met for budget in budgets)
    narrow = sum(not budget.is_clear for budget in budgets)
    said = f"{met} of {len(budgets)} budgets met"
    if met < len(budgets):
        said += f", {len(budgets) - met} missed"
    return said + (f"; {narrow} by the median only" if narrow else "")
