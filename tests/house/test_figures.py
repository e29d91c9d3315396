"""The figures in tuning.md and README are those of the kept runs, and every knob that is measured is told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bench.asking import QUESTIONS
from bench.questions.knobs import KNOBS
from bench.report.answer import Answer, Budget, Table
from bench.report.kept import keep, load

REPOSITORY = Path(__file__).parents[2]
TUNING = (REPOSITORY / "tuning.md").read_text()


def test_pages_hold_the_figures_of_the_kept_runs() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/render_figures.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_knob_is_in_tuning_and_was_measured() -> None:
    told = set(re.findall(r"<!--knob:(.+?)-->", TUNING))
    assert told == {knob.name for knob in KNOBS}
    assert "not measured yet" not in TUNING


def test_kept_answers_are_of_questions_that_exist() -> None:
    kept = load(REPOSITORY / "bench" / "results")
    assert set(kept) <= set(QUESTIONS)
    assert "tuning" in kept


def test_keeping_an_answer_leaves_the_others_and_drops_the_rounds(tmp_path: Path) -> None:
    def answer(question: str, value: float) -> Answer:
        data = {"fastgw": {"cpu_us": {"median": value}, "rounds": [1, 2]}}
        return Answer(question, "", (Table("", (), ()),), (Budget("less", value, 2),), data)

    keep(tmp_path, {"commit": "a"}, {}, [answer("one", 1), answer("two", 2)])
    keep(tmp_path, {"commit": "b"}, {}, [answer("two", 3)])
    kept = load(tmp_path)
    assert kept["one"]["environment"] == {"commit": "a"}
    assert kept["two"]["environment"] == {"commit": "b"}
    assert kept["two"]["data"] == {"fastgw": {"cpu_us": {"median": 3}}}
    (budget,) = kept["two"]["budgets"]
    assert (budget["promise"], budget["value"], budget["met"]) == ("less", 3, False)
