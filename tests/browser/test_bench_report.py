"""The bench's page in a real Chromium: wide and on a phone, light and dark."""

from __future__ import annotations

import pytest

from bench.report import history, page
from bench.report.answer import Dots, Lines, Point
from tests.pure.bench.made import ENVIRONMENT, METHOD, answer, budget, line, table
from tests.support.browser import CHROMIUM, chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium")


def test_it_fits_every_screen_loads_nothing_and_has_two_looks(tmp_path) -> None:
    for value in (1.0, 2.0):
        history.append(tmp_path / "history.jsonl", line(value))
    plots = (Dots("CPU", {"fastgw": [1.0, 2.0]}), Lines("p99", {"fastgw": (Point(1, 2.0), Point(2, 3.0))}, limit=2.5))
    wide = table("a remark " * 20)
    answers = [
        answer(budget(0.9, reach=(0.5, 2.0)), tables=(wide,), plots=plots),
        answer(budget(1.5), question="a_question_with_quite_a_long_name", method="What?\n\nMethod: it.\n\n- care\n"),
    ]
    path = tmp_path / "report.html"
    path.write_text(page.render(ENVIRONMENT, METHOD, answers, history.read(tmp_path / "history.jsonl")))
    grounds = set()
    with chromium() as browser:
        for width in (360, 1280):
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
                opened, errors, asked = context.new_page(), [], []
                opened.on("console", lambda message, to=errors: to.append(message.text))
                opened.on("request", lambda request, to=asked: to.append(request.url))
                opened.goto(path.as_uri())
                assert asked == [path.as_uri()]
                assert errors == []
                assert opened.evaluate("document.documentElement.scrollWidth") <= width, "nothing hangs out"
                assert opened.locator("figure svg").count() == 3
                assert all(one.bounding_box()["width"] > 200 for one in opened.locator("figure svg").all())
                grounds.add(opened.evaluate("getComputedStyle(document.body).backgroundColor"))
                context.close()
    assert len(grounds) == 2
