"""history.jsonl: one line per run, for ever; and what the runs of one machine say beside each other.

A line is {"environment", "machine": {"id", "label"}, "method", "questions", "budgets"}; the first ones have no machine,
which then follows from the environment, and budgets that do not say whose they are. A line that cannot be read is named
and left where it is: nothing here ever rewrites the file.

Two values are compared if machine, promise and what was asked (connections, the way to Redis) are the same.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from bench.report.answer import ABSENT, Lines, Point, Table, number
from bench.report.machine import Machine, machine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUSY = 1.0  # load average before the start, from which on a line of the table has a mark
UNKNOWN = "unknown"
EARLIEST = {
    "CPU per request as a share of Envoy's": "forwarding_cost",
    "overhead at one connection": "overhead_c1",
    "CPU per request with the full chain": "chain_cost",
    "CPU of a cache hit": "hit_cost",
    "1,000 clients with 100 requests": "redis_cost",
    "memory growth during a slow": "streams_memory",
    "event streams that deliver": "streams_memory",
    "KiB for each open event stream": "streams_memory",
}
"""How promises begin -> the question; of lines before budgets named theirs, if they hold several questions."""


@dataclass(frozen=True)
class Figure:
    """A budget's value in one run. low, high: over its rounds, where they were kept. limit: of that time."""

    question: str
    promise: str
    value: float | None
    low: float | None
    high: float | None
    limit: float | None


@dataclass(frozen=True)
class Run:
    """time: ISO 8601, UTC. asked: rounds and seconds, for people. alike: what must be equal for a comparison."""

    machine: Machine
    time: str
    commit: str
    asked: str
    alike: str
    load_average: float
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class History:
    """runs: in the order of the file. skipped: a line for people for each line that could not be read."""

    runs: tuple[Run, ...]
    skipped: tuple[str, ...] = ()


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line, in one write. A file that a killed run left without its last newline gets that first."""
    written = json.dumps(line, allow_nan=False).encode() + b"\n"
    with path.open("ab+", buffering=0) as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            written = b"\n" + written
        file.write(written)


def read(path: Path) -> History:
    """Every run that can be read; none if there is no such file."""
    if not path.exists():
        return History(())
    runs, skipped = [], []
    for place, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            runs.append(_run(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            skipped.append(f"{path.name}, line {place} is skipped: {_reason(error)}")
    return History(tuple(runs), tuple(skipped))


def machines(history: History) -> tuple[Machine, ...]:
    """Each once, that of the newest run first."""
    return tuple(dict.fromkeys(run.machine for run in reversed(history.runs)))


def tables(history: History, of: Machine, questions: Sequence[str] = ()) -> tuple[Table, ...]:
    """One per question: a row per run of this machine, oldest first. questions: only these; empty: all."""
    runs = [run for run in history.runs if run.machine == of]
    return tuple(_table(question, runs) for question in _questions(runs) if not questions or question in questions)


def plots(history: History, of: Machine) -> tuple[Lines, ...]:
    """One per promise that this machine judged at least twice: its value over those runs, with the newest limit."""
    runs = [run for run in history.runs if run.machine == of]
    found = []
    for question in _questions(runs):
        for promise in _promises(question, runs):
            held = [(run, figure) for run in runs if (figure := _figure(run, question, promise)) is not None]
            series: dict[str, tuple[Point, ...]] = {}
            for place, (run, figure) in enumerate(held):
                if figure.value is not None:
                    point = Point(place, figure.value, figure.low, figure.high)
                    series[run.alike] = (*series.get(run.alike, ()), point)
            if sum(map(len, series.values())) > 1:
                names = tuple(f"{run.commit.removesuffix('+changes')[:7]}\n{run.time[5:10]}" for run, _ in held)
                title = f"{question}: {promise}"
                found.append(Lines(title, _named(series), limit=held[-1][1].limit, x_names=names))
    return tuple(found)


def _table(question: str, runs: list[Run]) -> Table:
    promises = _promises(question, runs)
    rows: list[tuple[str, ...]] = []
    remarks: list[str] = []
    before: dict[tuple[str, str], float] = {}
    is_mixed = len({run.alike for run in runs if any(_figure(run, question, promise) for promise in promises)}) > 1
    for run in runs:
        cells: list[str] = []
        for promise in promises:
            figure = _figure(run, question, promise)
            cells += [_shown(figure), _ratio(figure, before.get((promise, run.alike)))]
            if figure is not None and figure.value is not None:
                before[promise, run.alike] = figure.value
        if any(cell != ABSENT for cell in cells):
            asked = f"{run.asked}, {run.alike}" if is_mixed else run.asked
            is_busy = run.load_average >= BUSY
            rows.append((f"{run.time[:16].replace('T', ' ')}{' !' if is_busy else ''}", *cells, run.commit, asked))
            if is_busy and not remarks:
                remarks.append(f"time marked !: the machine was busy before the start (load average {BUSY:g} or more)")
    figures = (column for promise in promises for column in (promise, "/ before"))
    columns = ("time, UTC", *figures, "commit", "rounds")
    return Table(question, columns, tuple(rows), tuple(remarks))


def _named(series: dict[str, tuple[Point, ...]]) -> dict[str, tuple[Point, ...]]:
    """What was asked is worth naming where it was not always the same."""
    return {"fastgw": next(iter(series.values()))} if len(series) == 1 else series


def _questions(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(figure.question for run in runs for figure in run.figures))


def _promises(question: str, runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(figure.promise for run in runs for figure in run.figures if figure.question == question))


def _figure(run: Run, question: str, promise: str) -> Figure | None:
    return next((one for one in run.figures if (one.question, one.promise) == (question, promise)), None)


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return ABSENT
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return number(figure.value)
    return f"{number(figure.value)} [{number(figure.low)}..{number(figure.high)}]"


def _ratio(figure: Figure | None, before: float | None) -> str:
    if figure is None or figure.value is None or not before:
        return ABSENT
    return f"{figure.value / before:.2f}"


# -- a line ---------------------------------------------------------------------------------------------


def _run(line: dict[str, Any]) -> Run:
    """Raises what a line of another shape leads to."""
    environment, method = line["environment"], line["method"]
    kept, redis = line.get("machine"), method.get("redis", "tcp")
    questions = list(line["questions"])
    return Run(
        machine=machine(environment) if kept is None else Machine(str(kept["id"]), str(kept["label"])),
        time=str(environment["time"]),
        commit=str(environment["commit"]),
        asked=f"{method['rounds']} x {method['seconds']} s",
        alike=f"{method['connections']} connections, Redis by {redis}",
        load_average=float(environment["load_average"]),
        figures=tuple(_kept(budget, questions) for budget in line["budgets"]),
    )


def _kept(budget: dict[str, Any], questions: list[str]) -> Figure:
    spread = budget.get("spread") or {}
    return Figure(
        question=budget.get("question") or _whose(str(budget["promise"]), questions),
        promise=str(budget["promise"]),
        value=_number(budget["value"]),
        low=_number(spread.get("low")),
        high=_number(spread.get("high")),
        limit=_number(budget["limit"]),
    )


def _number(value: Any) -> float | None:
    """None for null, which is how what was no number is kept."""
    return float(value) if value is not None and isfinite(value) else None


def _whose(promise: str, questions: list[str]) -> str:
    if len(questions) == 1:
        return questions[0]
    return next((question for begin, question in EARLIEST.items() if promise.startswith(begin)), UNKNOWN)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, UnicodeDecodeError | json.JSONDecodeError):
        return "it is not JSON"
    return f"it is no run: {str(error)[:80]}"
