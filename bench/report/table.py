"""Answers as text: environment first, then what to beware of, then the figures, then the budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich.table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bench.report.answer import Answer, Budget, Table


def print_environment(console: Console, environment: dict[str, Any], method: dict[str, Any]) -> None:
    """What ran on what; peers that did not run, and why."""
    _say(console, "fastgw bench", style="bold")
    cores = f"{environment['cores']} cores" if environment["cores"] > 1 else "1 core"
    _say(console, f"{environment['cpu']}, {cores}, {environment['memory_gib']} GiB, Linux {environment['kernel']}")
    _say(console, f"Python {environment['python']}, commit {environment['commit']}, {environment['time']}")
    if environment["load_average"] > 0.5:
        _say(console, f"! the machine was busy before the start (load average {environment['load_average']})")
    for label in ("cores", "load", "backend"):
        _say(console, f"{label}: {method[label]}")
    for peer, version in method["peers"].items():
        _say(console, f"  {peer}: {version}")
    for peer, reason in method["left_out"].items():
        _say(console, f"! left out: {peer}: {reason}", style="yellow")


def print_answer(console: Console, answer: Answer) -> None:
    """The question's docstring, then its tables and budgets."""
    console.rule(answer.question)
    _say(console, answer.method.strip())
    for table in answer.tables:
        console.print(_rendered(table))
        for note in table.notes:
            _say(console, f"! {note}", style="yellow")
    _print_budgets(console, answer.budgets)


def _rendered(table: Table) -> rich.table.Table:
    rendered = rich.table.Table(title=table.title, title_justify="left")
    for number, column in enumerate(table.columns):
        rendered.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        rendered.add_row(*(Text(cell) for cell in row))  # Text: brackets are spreads here, not markup
    return rendered


def _print_budgets(console: Console, budgets: Sequence[Budget]) -> None:
    for budget in budgets:
        sign = "at most" if budget.at_most else "at least"
        verdict = "met" if budget.is_met else "MISSED"
        line = f"budget: {budget.promise}: {budget.value:,.2f}, {sign} {budget.limit:,g}: {verdict}"
        _say(console, line, style="green" if budget.is_met else "bold red")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text), style=style or None, highlight=False)
