"""The run as one HTML file: plots inline, no script, nothing loaded; light or dark as the reader's system is."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.report import history, verdict
from bench.report.machine import machine
from bench.report.pictures import plots
from bench.report.plot import inline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.answer import Answer, Budget, Plot
    from bench.report.history import History

SCALE = 2.0  # times the limit, at the right end of a budget's picture; what is over it stands at the end


def render(environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer], kept: History) -> str:
    """The whole page. kept: with this run in it. All text is escaped; what is not are plots, made here."""
    loader = FileSystemLoader(Path(__file__).parent)
    template = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html.j2")
    here = machine(environment)
    return template.render(
        environment=environment,
        machine=here,
        method=method,
        sentence=verdict.sentence(answers),
        budgets=[_judged(answer, budget) for answer in answers for budget in answer.budgets],
        verdict_notes=verdict.table(answers).notes,
        caveats=caveats(environment, method),
        questions=[
            {
                "name": answer.question,
                "blocks": blocks(answer.method),
                "tables": answer.tables,
                "plots": _drawn(plots(answer), f"q{place}"),
            }
            for place, answer in enumerate(answers)
        ],
        history_plots=_drawn(history.plots(kept, here), "h"),
        machines=[(one, history.tables(kept, one)) for one in sorted(history.machines(kept), key=lambda m: m != here)],
        skipped=kept.skipped,
    )


def caveats(environment: dict[str, Any], method: dict[str, Any]) -> list[str]:
    """What speaks against the run as a whole."""
    found = [f"{peer} was left out: {reason}" for peer, reason in method["left_out"].items()]
    if environment["load_average"] > 0.5:
        found.insert(0, f"the machine was busy before the start (load average {environment['load_average']})")
    if method["rounds"] < 3:
        found.append("fewer than three rounds: medians and brackets say little about how far figures vary")
    return found


def blocks(method: str) -> list[dict[str, Any]]:
    """A docstring as [{"kind": "text" | "list", "lines": [...]}]: paragraphs, and '- ' items with what belongs to each.

    The first is the question.
    """
    found: list[dict[str, Any]] = []
    is_open = False
    for line in (line.rstrip() for line in method.strip().splitlines()):
        text = line.lstrip()
        if not text:
            is_open = False
        elif text.startswith("- "):
            if not found or found[-1]["kind"] == "text":
                found.append({"kind": "list", "lines": []})
            found[-1]["lines"].append(text[2:])
            is_open = True
        elif is_open:
            found[-1]["lines"][-1] += f" {text}"
        else:
            found.append({"kind": "text", "lines": [text]})
            is_open = True
    return found


def _judged(answer: Answer, budget: Budget) -> dict[str, Any]:
    """A row of the verdict, with places in per cent of its picture's width."""
    low, high = (budget.value, budget.value) if budget.spread is None else (budget.spread.low, budget.spread.high)
    promise, value, limit, said = verdict.row(budget)
    return {
        "question": answer.question,
        "promise": promise,
        "value": value,
        "limit": limit,
        "verdict": said,
        "is_met": budget.is_met,
        "is_clear": budget.is_clear,
        "at_most": budget.at_most,
        "places": {
            name: _place(one, budget.limit) for name, one in (("at", budget.value), ("low", low), ("high", high))
        },
    }


def _place(value: float, limit: float) -> float:
    """0 to 100; 50 is the limit. What is no number stands at an end."""
    share = value / limit if limit and isfinite(value) else SCALE
    return round(100 * min(max(share, 0.0), SCALE) / SCALE, 2)


def _drawn(found: Sequence[Plot], prefix: str) -> list[dict[str, Any]]:
    """prefix: of the ids in it, so that no two plots of the page share one."""
    return [{"title": plot.title, "svg": Markup(inline(plot, f"{prefix}-{n}"))} for n, plot in enumerate(found)]
