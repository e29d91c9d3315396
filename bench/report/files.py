"""Where a run is kept: latest/ (text, JSON, plots, pages; overwritten) and a line in history.jsonl (kept in git).

Figures are written before pictures: whatever goes wrong while drawing, no measurement is lost.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.report import history, verdict
from bench.report.kept import plain, without_rounds
from bench.report.machine import machine
from bench.report.pictures import pictures
from bench.report.pictures import plots as plots_of
from bench.report.table import print_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.report.answer import Answer

TEXT_WIDTH = 150
HISTORY = "history.jsonl"


def write_run(
    folder: Path, environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]
) -> tuple[Path, ...]:
    """report.txt and results.json in folder/latest, a line in folder/history.jsonl. The paths written."""
    latest = folder / "latest"
    latest.mkdir(parents=True, exist_ok=True)
    for old in (*latest.glob("*.svg"), latest / "report.png", latest / "report.html"):
        old.unlink(missing_ok=True)  # pictures of another run beside these figures would mislead
    text, results, lines = latest / "report.txt", latest / "results.json", folder / HISTORY
    run: dict[str, Any] = {"environment": environment, "machine": machine(environment).as_json(), "method": method}
    budgets = [{"question": answer.question, **budget.as_json()} for answer in answers for budget in answer.budgets]
    full = {**run, "questions": {answer.question: answer.data for answer in answers}, "budgets": budgets}
    results.write_text(json.dumps(plain(full), indent=2, allow_nan=False) + "\n")
    short = {answer.question: without_rounds(answer.data) for answer in answers}
    history.append(lines, plain({**run, "questions": short, "budgets": budgets}))
    text.write_text(_as_text(environment, method, answers))
    return text, results, lines


def write_pictures(
    folder: Path, environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]
) -> tuple[Path | str, ...]:
    """SVGs, report.png and report.html in folder/latest, after `write_run`; without their libraries, why there is none.

    pictures.TOGETHER names the SVGs.
    """
    try:
        from bench.report import page, plot  # noqa: PLC0415 - matplotlib and jinja2 come with the extra `bench`
    except ImportError as missing:
        return (f"no pictures and no page: {missing.name} is not installed; run: pip install -e '.[bench]'",)
    latest, found, written = folder / "latest", pictures(answers), []
    made = f"{environment['cpu']}; {environment['commit']}; {environment['time']}"
    for name, plots in found.items():
        written.append(latest / f"{name}.svg")
        plot.save_svg(written[-1], plots, f"{made}; dots: rounds, diamonds: their median")
    lines = [(": ".join(verdict.row(budget)), budget.is_met) for answer in answers for budget in answer.budgets]
    every = [replace(one, title=f"{answer.question}: {one.title}") for answer in answers for one in plots_of(answer)]
    written.append(latest / "report.png")
    plot.save_png(written[-1], every, f"{verdict.sentence(answers)}. {made}", lines)
    written.append(latest / "report.html")
    written[-1].write_text(page.render(environment, method, answers, history.read(folder / HISTORY)))
    return tuple(written)


def _as_text(environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]) -> str:
    console = Console(file=io.StringIO(), width=TEXT_WIDTH, color_system=None)
    print_run(console, environment, method, answers)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
