"""Answers as text: environment first, then what to beware of, the figures, the budgets; the verdict comes last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich.table
from rich.text import Text

from bench.report import history, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bench.report.answer import Answer, Budget, Table
    from bench.report.history import History


def print_run(console: Console, environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]) -> None:
    """Environment, answers, verdict."""
    print_environment(console, environment, method)
    for answer in answers:
        print_answer(console, answer)
    print_verdict(console, answers)


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
        print_table(console, table)
    for budget in answer.budgets:
        promise, value, limit, said = verdict.row(budget)
        _say(console, f"budget: {promise}: {value}, {limit}: {said}", style=_style(budget))


def print_verdict(console: Console, answers: Sequence[Answer]) -> None:
    """Every budget of the run in one table."""
    console.rule("verdict")
    table = verdict.table(answers)
    if table.rows:
        rendered = _rendered(table)
        for row, budget in zip(rendered.rows, (budget for answer in answers for budget in answer.budgets), strict=True):
            row.style = _style(budget)
        console.print(rendered)
    for note in table.notes:
        _say(console, f"! {note}", style="yellow")
    _say(console, verdict.sentence(answers), style="bold")


def print_history(console: Console, kept: History, questions: Sequence[str]) -> None:
    """For each machine a table per question: how its budgets' values went from run to run."""
    for machine in history.machines(kept):
        tables = history.tables(kept, machine, questions)
        if tables:
            console.rule(f"{machine.id}: {machine.label}")
        for table in tables:
            print_table(console, table)
    for line in kept.skipped:
        _say(console, f"! {line}", style="yellow")


def print_table(console: Console, table: Table) -> None:
    """With its notes below."""
    console.print(_rendered(table))
    for note in table.notes:
        _say(console, f"! {note}", style="yellow")


def _rendered(table: Table) -> rich.table.Table:
    rendered = rich.table.Table(title=table.title, title_justify="left")
    for number, column in enumerate(table.columns):
        rendered.add_column(Text(column), justify="right" if number else "left")
    for row in table.rows:
        rendered.add_row(*(Text(cell) for cell in row))  # Text: brackets are spreads here, not markup
    return rendered


def _style(budget: Budget) -> str:
    return "green" if budget.is_met else "bold red"


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text), style=style or None, highlight=False)
