"""Every plot that can be declared can be drawn, as SVG that is safe in a page and as one PNG."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.report import pictures, plot
from bench.report.answer import Dots, Lines, Point
from tests.pure.bench.made import answer

DOTS = Dots("CPU <per> request & $x$, us", {"fastgw": [2.0, 3.0], "nginx <b>": [1.0]}, limit=2.5)
LINES = Lines(
    "latency",
    {"fastgw": (Point(10, 1.0, 0.5, 2.0), Point(1000, 4.0)), "envoy": (Point(10, 2.0),)},
    "share of capacity, %",
    "p99, ms",
    x_log=True,
    y_log=True,
    limit=5.0,
)
ODD = [
    Dots("with zero and less", {"fastgw": [0.0, -1.0]}),
    Dots("one value", {"fastgw": [5.0]}),
    Dots("not all are numbers", {"fastgw": [nan, 1.0], "nginx": [inf], "envoy": []}),
    Dots("very far apart", {"fastgw": [1e-9], "nginx": [1e12]}),
    Dots("narrow", {"fastgw": [30.1, 30.2]}),
    Lines("one point", {"fastgw": (Point(0, 1.0),)}, x_log=True, y_log=True),
    Lines("not all are numbers", {"fastgw": (Point(0, nan, nan, nan), Point(1, 2.0))}, limit=0.0),
    Lines("many names", {"fastgw": tuple(Point(n, n) for n in range(100))}, x_names=tuple(map(str, range(100)))),
]


@pytest.mark.parametrize("one", [DOTS, LINES, *ODD], ids=lambda one: one.title)
def test_a_plot_is_well_formed_svg_of_its_own_size_and_without_foreign_addresses(one) -> None:
    drawn = plot.inline(one, "p")
    root = ET.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert root.get("width") is None
    assert root.get("viewBox")
    assert "<script" not in drawn
    assert "<style" not in drawn
    assert re.sub(r'xmlns(:xlink)?="[^"]*"', "", drawn).count("http") == 0


def test_texts_are_escaped_and_are_no_mathematics() -> None:
    drawn = plot.inline(DOTS, "p")
    assert "&lt;per&gt;" in drawn
    assert "nginx &lt;b&gt;" in drawn
    assert "$x$" in drawn


def test_the_limit_and_nought_are_in_the_picture() -> None:
    figure, axes = plot.plt.subplots()
    plot.draw(axes, Lines("growth", {"fastgw": (Point(0, 1.0), Point(1, 1.1))}, limit=16.0))
    low, high = axes.get_ylim()
    plot.plt.close(figure)
    assert (low, high > 16.0) == (0.0, True)


def test_ids_of_two_plots_do_not_meet_and_references_follow() -> None:
    first, second = plot.inline(DOTS, "a"), plot.inline(DOTS, "b")
    ids = [set(re.findall(r'\bid="([^"]+)"', one)) for one in (first, second)]
    assert ids[0]
    assert ids[0].isdisjoint(ids[1])
    referred = re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', first)
    assert referred
    assert {one or other for one, other in referred} <= ids[0]


def test_colours_are_left_to_the_page_which_knows_them_all() -> None:
    drawn = plot.inline(DOTS, "p") + plot.inline(LINES, "q")
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)
    style = (Path(plot.__file__).parent / "page.css").read_text()
    for role in plot.ROLES.values():
        assert style.count(f"{role}:") == 2, f"{role}: in light and in dark"


def test_the_same_plot_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        plot.save_svg(tmp_path / name, [DOTS, LINES], "caption")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    ET.parse(tmp_path / "one.svg")


@pytest.mark.parametrize("plots", [[], [DOTS], [DOTS, LINES, *ODD]], ids=len)
def test_a_run_is_one_png(tmp_path: Path, plots) -> None:
    plot.save_png(tmp_path / "report.png", plots, "1 of 2 budgets met", [("a: met", True), ("b: MISSED", False)])
    assert (tmp_path / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 10, [1, 2, 5, 10]), (8, 300, [10, 20, 50, 100, 200]), (10, 100_000, [10, 100, 1000, 10_000, 100_000])],
)
def test_ticks_are_round_and_few(low, high, expected) -> None:
    assert plot.ticks(low, high) == expected


@pytest.mark.parametrize("exponent", range(1, 22))
def test_no_range_has_too_many_ticks(exponent) -> None:
    assert 2 <= len(plot.ticks(1e-9, 1e-9 * 10**exponent)) <= plot.TICKS_SHOWN


def test_empty_plots_are_left_out_and_a_questions_own_come_before_known_ones() -> None:
    sample = {"cpu_us": 5.0, "per_second": 100.0}
    measured = {"fastgw": {"rounds": [sample, sample]}, "direct": {"rounds": [sample | {"cpu_us": 0.0}]}}
    known = answer(question="forwarding_cost", data=measured)
    assert pictures.plots(known) == (
        Dots("CPU per request, us", {"fastgw": [5.0, 5.0]}),
        Dots("requests/s on one core", {"fastgw": [100.0, 100.0], "direct": [100.0]}),
    )
    own = answer(question="forwarding_cost", data=measured, plots=(DOTS, Dots("empty", {}), Lines("empty", {"a": ()})))
    assert pictures.plots(own) == (DOTS,)
    assert pictures.plots(answer()) == ()


def test_questions_that_belong_together_share_a_picture_and_others_have_their_own() -> None:
    answers = [
        answer(question="forwarding_cost", plots=(DOTS,)),
        answer(question="overhead_c1", plots=(LINES,)),
        answer(question="soak", plots=(LINES,)),
        answer(question="silent"),
    ]
    assert pictures.pictures(answers) == {"forwarding": (DOTS, LINES), "soak": (LINES,)}
