"""Where a run is kept: latest/ (text, JSON, plot; overwritten) and one line more in history.jsonl (kept in git)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.questions import chain_cost, forwarding_cost, overhead_c1
from bench.report.table import print_answer, print_environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.harness.rounds import Sample
    from bench.report.answer import Answer

    Samples = dict[str, dict[str, list[Sample]]]

TEXT_WIDTH = 150


def write_run(
    folder: Path, environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]
) -> tuple[Path, ...]:
    """report.txt and results.json in folder/latest, a line in folder/history.jsonl. The paths written."""
    latest = folder / "latest"
    latest.mkdir(parents=True, exist_ok=True)
    text, results, history = latest / "report.txt", latest / "results.json", folder / "history.jsonl"
    text.write_text(_as_text(environment, method, answers))
    run: dict[str, Any] = {"environment": environment, "method": method}
    budgets = [budget.as_json() for answer in answers for budget in answer.budgets]
    full = {**run, "questions": {answer.question: answer.data for answer in answers}, "budgets": budgets}
    results.write_text(json.dumps(full, indent=2) + "\n")
    short = {answer.question: _without_rounds(answer.data) for answer in answers}
    with history.open("a") as lines:
        lines.write(json.dumps({**run, "questions": short, "budgets": budgets}) + "\n")
    return text, results, history


def write_plots(folder: Path, forwarding: Samples, chain: Samples, caption: str) -> tuple[Path | str, ...]:
    """folder/latest/forwarding.svg and chain.svg, of what was measured; without matplotlib, why there is none."""
    try:
        from bench.report.plot import Panel, draw  # noqa: PLC0415 - matplotlib comes with the extra `bench`
    except ImportError:
        return ("no plot: matplotlib is not installed; run: pip install matplotlib",)
    busy, alone = forwarding.get(forwarding_cost.NAME, {}), forwarding.get(overhead_c1.NAME, {})
    miss = chain.get(chain_cost.LOADS[0], {})
    pictures = {
        "forwarding": [
            Panel("CPU per request, us", _bars(busy, "cpu_us", without="direct")),
            Panel("requests/s on one core", _bars(busy, "per_second")),
            Panel("p50 at one connection, ms", _bars(alone, "p50_ms")),
            Panel("p99 at one connection, ms", _bars(alone, "p99_ms")),
        ],
        "chain": [
            Panel("full chain, cache miss: CPU per request, us", _bars(miss, "cpu_us")),
            Panel("Redis CPU per request, us", _bars(miss, "store_us")),
            Panel("cache hit, 200 bytes: CPU, us", _bars(chain.get("hit_200", {}), "cpu_us")),
            Panel("cache hit, 5 KB: CPU, us", _bars(chain.get("hit_5k", {}), "cpu_us")),
        ],
    }
    paths = []
    for name, panels in pictures.items():
        if any(panel.values for panel in panels):
            path = folder / "latest" / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(path, panels, caption)
            paths.append(path)
    return tuple(paths)


def _bars(samples: dict[str, list[Sample]], figure: str, without: str = "") -> dict[str, list[float]]:
    return {
        peer: [float(getattr(sample, figure)) for sample in taken] for peer, taken in samples.items() if peer != without
    }


def _as_text(environment: dict[str, Any], method: dict[str, Any], answers: Sequence[Answer]) -> str:
    console = Console(file=io.StringIO(), width=TEXT_WIDTH, color_system=None)
    print_environment(console, environment, method)
    for answer in answers:
        print_answer(console, answer)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _without_rounds(data: dict[str, Any]) -> dict[str, Any]:
    return {
        peer: {name: value for name, value in figures.items() if name != "rounds"} for peer, figures in data.items()
    }
