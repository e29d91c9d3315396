"""`python -m bench`: what it keeps, and its exit status. What is measured here is made up."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import bench.__main__
from bench.harness.process import StartError
from bench.report import history
from bench.report.answer import Answer, Dots
from tests.pure.bench.made import METHOD, answer, budget, line, table

LATEST = ("results.json", "report.txt", "report.png", "report.html", "some_cost.svg")


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(bench.__main__.main, [*arguments, "--output", str(folder)])


@pytest.fixture
def answers(monkeypatch):
    """Call it with what is to be answered, who is left out, and how asking ends."""

    def given(*found: Answer, left_out: tuple[str, ...] = (), failure: BaseException | None = None) -> None:
        class Asking:
            def __init__(self, *_arguments) -> None:
                self.answers = list(found)
                self.left_out = dict.fromkeys(left_out, "it is not installed")
                self.method = METHOD | {"left_out": self.left_out}

            def run(self) -> None:
                if failure is not None:
                    raise failure

        monkeypatch.setattr(bench.__main__, "Asking", Asking)
        monkeypatch.setattr(bench.__main__.signal, "signal", lambda *_arguments: None)  # the tests' own stay

    return given


@pytest.mark.parametrize(
    ("value", "arguments", "status"), [(0.9, (), 0), (1.1, (), 1), (1.1, ("--no-verdict",), 0), (0.9, ("--what",), 2)]
)
def test_the_exit_status_is_the_verdict(tmp_path: Path, answers, value: float, arguments, status: int) -> None:
    answers(answer(budget(value)))
    assert run(tmp_path, *arguments).exit_code == status


def test_without_fastgw_there_is_no_verdict(tmp_path: Path, answers) -> None:
    answers(answer(budget(0.9)), left_out=("fastgw",))
    assert run(tmp_path, "--no-verdict").exit_code == 3


@pytest.mark.parametrize("failure", [StartError("backend ended"), KeyError("peer")], ids=["start", "fault"])
def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path, answers, failure: Exception) -> None:
    answers(answer(budget(0.9)), failure=failure)
    done = run(tmp_path)
    assert done.exit_code == 3
    assert str(failure) in done.stderr
    assert len(history.read(tmp_path / "history.jsonl").runs) == 1
    answers(failure=failure)
    assert run(tmp_path / "none").exit_code == 3
    assert not (tmp_path / "none").exists()


def test_a_plot_that_cannot_be_drawn_costs_no_figure(tmp_path: Path, answers) -> None:
    answers(answer(budget(0.9), question="forwarding_cost", data={"fastgw": {}}))
    done = run(tmp_path)
    assert done.exit_code == 3
    assert "KeyError: 'rounds'" in done.stderr
    assert "1 of 1 budgets met" in done.stdout
    assert len(history.read(tmp_path / "history.jsonl").runs) == 1


def test_an_interrupt_is_no_verdict(tmp_path: Path, answers) -> None:
    answers(answer(budget(1.1)), failure=KeyboardInterrupt())
    assert run(tmp_path).exit_code == 130


def test_a_run_is_kept_as_text_figures_pictures_page_and_a_line_of_history(tmp_path: Path, answers) -> None:
    data = {"fastgw": {"cpu_us": nan, "rounds": [{"cpu_us": 1.0}]}}
    answers(
        answer(budget(0.9, reach=(0.8, 1.1)), tables=(table(),), data=data, plots=(Dots("CPU", {"fastgw": [1.0]}),))
    )
    done = run(tmp_path)
    for text in (done.stdout, (tmp_path / "latest" / "report.txt").read_text()):
        assert "budget: CPU as a share of a peer's: 0.900 [0.800..1.10], at most 1: met, by the median only" in text
        assert "1 of 1 budgets met; 1 by the median only" in text
    assert sorted(path.name for path in (tmp_path / "latest").iterdir()) == sorted(LATEST)
    kept = json.loads((tmp_path / "history.jsonl").read_text())
    assert kept["questions"] == {"some_cost": {"fastgw": {"cpu_us": None}}}
    assert kept["budgets"][0]["question"] == "some_cost"
    assert kept["machine"].keys() == {"id", "label"}
    full = json.loads((tmp_path / "latest" / "results.json").read_text())
    assert full["questions"]["some_cost"]["fastgw"]["rounds"] == [{"cpu_us": 1.0}]


def test_no_picture_of_an_earlier_run_stays(tmp_path: Path, answers) -> None:
    answers(answer(budget(0.9), question="earlier", plots=(Dots("CPU", {"fastgw": [1.0]}),)))
    assert run(tmp_path).exit_code == 0
    answers(answer(budget(0.9), question="forwarding_cost", data={"fastgw": {}}))
    assert run(tmp_path).exit_code == 3, "it cannot be drawn"
    assert sorted(path.name for path in (tmp_path / "latest").iterdir()) == ["report.txt", "results.json"]


def test_history_is_printed_without_measuring(tmp_path: Path, answers) -> None:
    answers(failure=AssertionError("it measures"))
    path = tmp_path / "history.jsonl"
    for one in (line(2.0), line(3.0), line(7.0, questions={"overhead_c1": {}})):
        history.append(path, one)
    path.write_bytes(path.read_bytes() + b"{")
    done = run(tmp_path, "--history")
    assert done.exit_code == 0
    for text in ("Example CPU, 2 cores, 24 GiB", "some_cost", "overhead_c1", "1.50", "line 4 is skipped"):
        assert text in done.stdout
    only = run(tmp_path, "--history", "overhead_c1")
    assert "overhead_c1" in only.stdout
    assert "some_cost" not in only.stdout


def test_no_history_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "--history")
    assert done.exit_code == 0
    assert "no runs are kept in" in done.stderr
