"""The report: complete, in one file, and without secrets or foreign markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import orjson
import pytest

from fastgw.cutover.compare import Finding, Outcome, Pair
from fastgw.cutover.differences import Difference
from fastgw.cutover.recordings import Recording, Request
from fastgw.cutover.report import page, shown_url, summary

URLS = ("http://user:s3cret@fastapi:8000", "http://gateway:3000")
BUDGET = (5.0, 10.0)
PAGE = Request("GET", "/page?api_key=s3cret&limit=5")
ADDED_MS = 0.5


def pairs(added: float = ADDED_MS, count: int = 40) -> list[Pair]:
    return [Pair(2.0 + n / 100, 2.0 + n / 100 + added, 0.3, 2.0 + added) for n in range(count)]


def finding(where: str = "/a", text: str = "1") -> Finding:
    return Finding(PAGE, Difference("body", where, text, "2"), "do this", 3)


def test_the_same_answers_in_time_pass() -> None:
    content = summary(Outcome(pairs(), asked=40), Recording([PAGE]), URLS, BUDGET)
    assert content["passed"] is True
    assert content["latency"]["added_ms"]["p50"]["value"] == pytest.approx(ADDED_MS)
    assert content["latency"]["added_ms"]["p99"]["high"] is None
    assert orjson.loads(orjson.dumps(content)) == content


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(pairs(), [finding()], asked=40), "3 differences in 40 pairs: bodies"),
        (Outcome(pairs(20.0), asked=40), "p50 of the added latency is 20.00 ms"),
        (Outcome([], [finding()], asked=40), "no pair could be timed"),
        (Outcome(pairs(), asked=40, stopped="the limit"), "stopped early"),
        (Outcome(), "nothing was asked"),
    ],
)
def test_everything_else_fails_and_says_so(outcome: Outcome, text: str) -> None:
    content = summary(outcome, Recording([PAGE]), URLS, BUDGET)
    assert content["passed"] is False
    assert any(text in one["text"] for one in content["verdicts"] if not one["passed"])
    assert text in page(content)


def test_secrets_of_queries_and_addresses_are_masked() -> None:
    recording = Recording([PAGE], {("POST /jobs?token=s3cret", "because"): 1})
    outcome = Outcome(pairs(), [finding()], {("GET /page?token=s3cret", "/n"): 2}, 40)
    content = summary(outcome, recording, URLS, BUDGET)
    for text in (orjson.dumps(content).decode(), page(content)):
        assert "s3cret" not in text
    assert content["differences"][0]["request"] == "GET /page?api_key=***&limit=5"
    assert shown_url(URLS[0]) == "http://fastapi:8000"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_loads_and_runs_nothing_and_holds_no_foreign_markup() -> None:
    outcome = Outcome(pairs(), [finding("/<script>alert(1)</script>", "<img src=x>")], asked=40)
    tags = Tags()
    tags.feed(page(summary(outcome, Recording([PAGE]), URLS, BUDGET)))
    assert not tags.found & {"script", "link", "img", "iframe"}
    assert tags.links == []
    assert "svg" in tags.found


@pytest.mark.parametrize("values", [pairs(), pairs(0.0, 1), pairs(-3.0, 5), [Pair(0.0, 0.0)]])
def test_the_plots_are_well_formed_and_inside_their_box(values: list[Pair]) -> None:
    text = page(summary(Outcome(values, asked=len(values)), Recording([PAGE]), URLS, BUDGET))
    plots = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(plots) == 2
    for plot in plots:
        tree = ET.fromstring(plot)
        for dot in tree.iter("{http://www.w3.org/2000/svg}circle"):
            assert 0 <= float(dot.get("cx", "-1")) <= 760
            assert 0 <= float(dot.get("cy", "-1")) <= 220


def test_long_tables_are_cut_in_the_page_only() -> None:
    outcome = Outcome(pairs(), [finding(f"/{n}") for n in range(150)], asked=40)
    content = summary(outcome, Recording([PAGE]), URLS, BUDGET)
    assert len(content["differences"]) == 150
    assert "and 50 more" in page(content)
