"""History is read whole or named, never rewritten; runs are compared on one machine only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import history
from bench.report.answer import Lines, Point
from bench.report.machine import machine
from tests.pure.bench.made import ENVIRONMENT, line

HERE = machine(ENVIRONMENT)
KEPT = Path(__file__).parents[3] / "bench" / "results" / "history.jsonl"


def kept(folder: Path, *lines: object) -> history.History:
    path = folder / "history.jsonl"
    for one in lines:
        history.append(path, one)
    return history.read(path)


def cells(found: history.History, column: int) -> list[str]:
    (table,) = history.tables(found, HERE)
    return [row[column] for row in table.rows]


def test_an_old_line_gets_its_machine_from_its_environment_and_its_question(tmp_path: Path) -> None:
    (run,) = kept(tmp_path, line()).runs
    assert run.machine == HERE
    assert run.figures[0].question == "some_cost"


def test_a_line_that_names_its_machine_is_believed(tmp_path: Path) -> None:
    (run,) = kept(tmp_path, line(machine={"id": "12345678", "label": "Other"})).runs
    assert (run.machine.id, run.machine.label) == ("12345678", "Other")


def test_a_ratio_is_to_the_run_before_on_the_same_machine(tmp_path: Path) -> None:
    other = line(50.0, environment={"cores": 64})
    found = kept(tmp_path, line(2.0), other, line(3.0), line(None), line(1.5))
    assert cells(found, 1) == ["2", "3", "1.50"]
    assert cells(found, 2) == ["-", "1.50", "0.50"]
    assert [one.label.split(",")[1] for one in history.machines(found)] == [" 2 cores", " 64 cores"]


def test_runs_that_asked_something_else_are_not_compared(tmp_path: Path) -> None:
    found = kept(tmp_path, line(2.0), line(8.0, method={"connections": 1000}), line(3.0))
    assert cells(found, 2) == ["-", "-", "1.50"]
    assert cells(found, -1)[1] == "3 x 2 s, 1000 connections, Redis by tcp"


def test_a_run_on_a_busy_machine_is_marked(tmp_path: Path) -> None:
    found = kept(tmp_path, line(2.0), line(3.0, environment={"load_average": 3.0}))
    assert cells(found, 0) == ["2026-11-30 01:02", "2026-11-30 01:02 !"]


def test_only_the_questions_that_are_asked_for_are_shown(tmp_path: Path) -> None:
    found = kept(tmp_path, line(), line(questions={"other_cost": {}}))
    assert [one.title for one in history.tables(found, HERE)] == ["some_cost", "other_cost"]
    assert [one.title for one in history.tables(found, HERE, ["other_cost"])] == ["other_cost"]
    assert history.tables(found, HERE, ["never_asked"]) == ()


def test_what_was_no_number_is_kept_as_null_and_costs_no_line(tmp_path: Path) -> None:
    nothing = {"promise": "p", "value": None, "limit": None, "spread": {"median": None, "low": None, "high": None}}
    found = kept(tmp_path, line(budgets=[nothing]), line(budgets=[nothing]))
    assert found.skipped == ()
    assert found.runs[0].figures[0].value is None
    assert history.tables(found, HERE)[0].rows == ()
    assert history.plots(found, HERE) == ()


def test_a_plot_shows_what_was_judged_twice_with_the_newest_limit(tmp_path: Path) -> None:
    judged = {"promise": "p", "question": "some_cost", "value": 3.0, "limit": 2.5}
    spread = {"median": 3.0, "low": 2.0, "high": 4.0}
    found = kept(tmp_path, line(budgets=[judged | {"limit": 9.0}]), line(budgets=[judged | {"spread": spread}]), line())
    (plot,) = history.plots(found, HERE)
    assert plot == Lines(
        "some_cost: p",
        {"fastgw": (Point(0, 3.0), Point(1, 3.0, 2.0, 4.0))},
        limit=2.5,
        x_names=("0123456\n11-30",) * 2,
    )
    assert history.plots(found, machine(ENVIRONMENT | {"cores": 64})) == ()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'{"environment": {"time": "2026', "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is no run"),
        (b"[1, 2]", "it is no run"),
        (b"{}", "it has no 'environment'"),
        (json.dumps(line() | {"environment": {"cpu": "x"}}).encode(), "it has no 'cores'"),
        (json.dumps(line() | {"budgets": [{"promise": "p", "value": [], "limit": 1}]}).encode(), "it is no run"),
        (json.dumps(line() | {"budgets": None}).encode(), "it is no run"),
        (json.dumps(line() | {"machine": 7}).encode(), "it is no run"),
    ],
    ids=range(9),
)
def test_a_bad_line_is_named_and_skipped_and_stays(tmp_path: Path, bad: bytes, why: str) -> None:
    path = tmp_path / "history.jsonl"
    history.append(path, line(2.0))
    path.write_bytes(path.read_bytes() + bad + b"\n\n" + json.dumps(line(3.0)).encode())
    before = path.read_bytes()
    found = history.read(path)
    assert [run.figures[0].value for run in found.runs] == [2.0, 3.0]
    (said,) = found.skipped
    assert said.startswith(f"history.jsonl, line 2 is skipped: {why}")
    assert path.read_bytes() == before


def test_a_line_after_a_cut_one_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(json.dumps(line(2.0)).encode()[:-9])
    found = kept(tmp_path, line(3.0), line(4.0))
    assert [run.figures[0].value for run in found.runs] == [3.0, 4.0]
    assert len(found.skipped) == 1
    assert path.read_bytes().startswith(json.dumps(line(2.0)).encode()[:-9] + b"\n")


def test_no_file_is_no_history(tmp_path: Path) -> None:
    assert history.read(tmp_path / "history.jsonl") == history.History(())


def test_every_line_that_is_kept_in_the_repository_can_be_read() -> None:
    found = history.read(KEPT)
    assert found.skipped == ()
    assert len(found.runs) >= 8
    assert {figure.question for run in found.runs for figure in run.figures}.isdisjoint({history.UNKNOWN})
