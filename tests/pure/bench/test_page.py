"""The page is one file: verdict first, everything escaped, nothing loaded, nothing run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from bench.report import history, page
from bench.report.answer import Dots
from tests.pure.bench.made import ENVIRONMENT, METHOD, answer, budget, line, table

EVIL = "<script>alert(1)</script>\"'&"
VOID = {"meta", "br"}


class Read(HTMLParser):
    """Tags that are open, and all that were seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(tmp_path, answers, lines=(), environment=ENVIRONMENT, method=METHOD) -> str:
    path = tmp_path / "history.jsonl"
    for one in lines:
        history.append(path, one)
    return page.render(environment, method, answers, history.read(path))


def test_the_page_loads_nothing_runs_nothing_and_closes_what_it_opens(tmp_path) -> None:
    plots = (Dots("CPU", {"fastgw": [1.0, 2.0]}),)
    answers = [answer(budget(0.9, reach=(0.5, 2)), tables=(table("a remark"),), plots=plots)] * 2
    read = Read(written(tmp_path, answers, [line(1.0), line(2.0)]))
    assert read.open == []
    tags = {tag for tag, _ in read.seen}
    assert not tags & {"script", "link", "img", "iframe", "object"}
    for tag, given in read.seen:
        assert not [name for name in given if name.startswith("on") or name == "src"], tag
        for name in ("href", "xlink:href"):
            assert (given.get(name) or "#").startswith("#")
    ids = [given["id"] for _, given in read.seen if "id" in given and not given["id"].startswith("q-")]
    assert len(ids) == len(set(ids))


def test_the_verdict_stands_before_environment_caveats_figures_and_history(tmp_path) -> None:
    text = written(tmp_path, [answer(budget(1.5), tables=(table(),))], [line()], METHOD | ENVIRONMENT)
    order = ["0 of 1 budgets met, 1 missed", "MISSED", "Measured on", "What does it cost?", "Figures", ">History<"]
    places = [text.index(one, text.index("<main>")) for one in order]
    assert places == sorted(places)


def test_everything_is_escaped(tmp_path) -> None:
    evil = answer(
        budget(1.0),
        question=EVIL,
        method=f"{EVIL}\n\n{EVIL}\n- {EVIL}",
        tables=(table(EVIL),),
        plots=(Dots(EVIL, {EVIL: [1.0]}),),
    )
    told = METHOD | {"left_out": {EVIL: EVIL}, "peers": {EVIL: EVIL}, "backend": EVIL}
    environment = ENVIRONMENT | {"cpu": EVIL, "commit": EVIL}
    lines = [line(environment={"cpu": EVIL, "commit": EVIL}), line(environment={"cpu": EVIL})]
    text = written(tmp_path, [evil], lines, environment, told)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 10
    assert Read(text).open == []


def test_caveats_name_a_busy_machine_missing_peers_and_few_rounds() -> None:
    found = page.caveats(
        ENVIRONMENT | {"load_average": 2.0}, METHOD | {"left_out": {"envoy": "not installed"}, "rounds": 1}
    )
    assert [one.split(" (")[0].split(":")[0] for one in found] == [
        "the machine was busy before the start",
        "envoy was left out",
        "fewer than three rounds",
    ]
    assert page.caveats(ENVIRONMENT, METHOD) == []


def test_a_docstring_is_read_as_question_paragraphs_and_lists() -> None:
    assert page.blocks("What?\n\nMethod: a\nb.\n\nRead it:\n- one\n  more\n- two\n\nEnd.\n") == [
        {"kind": "text", "lines": ["What?"]},
        {"kind": "text", "lines": ["Method: a b."]},
        {"kind": "text", "lines": ["Read it:"]},
        {"kind": "list", "lines": ["one more", "two"]},
        {"kind": "text", "lines": ["End."]},
    ]


@pytest.mark.parametrize(
    ("one", "at", "low", "high"),
    [
        (budget(1.0), 50, 50, 50),
        (budget(0.5, reach=(-1.0, 9.0)), 25, 0, 100),
        (budget(float("nan")), 100, 100, 100),
        (budget(3.0, 0.0), 100, 100, 100),
    ],
)
def test_a_budgets_picture_stays_in_its_frame(one, at, low, high, tmp_path) -> None:
    text = written(tmp_path, [answer(one)])
    assert re.search(rf'class="reach" x1="{low:.1f}%" x2="{high:.1f}%"', text)
    assert f'cx="{at:.1f}%"' in text


def test_a_run_without_budgets_plots_and_history_still_has_a_page(tmp_path) -> None:
    text = written(tmp_path, [answer(method="")])
    assert "No budget was judged" in text
    assert Read(text).open == []
