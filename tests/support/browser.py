"""A real Chromium, and what its pages say: console errors, requests, contrast."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.wait import until

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

FLAGS: Final = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

POLL_MS: Final = 2000

NIGHT: Final = datetime(2026, 1, 1, 3, 0, 0, tzinfo=UTC)
"""When the page is opened, by its own clock."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless one with a fresh profile. While it is open the thread has a running event loop (Playwright's)."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


class Screen:
    """The status page in a browser of its own, whose clock the test moves."""

    def __init__(self, browser: Browser, url: str, **looks: Any) -> None:
        """looks: of the browser's context, such as color_scheme, viewport, reduced_motion."""
        self.context: BrowserContext = browser.new_context(**looks)
        self.page: Page = self.context.new_page()
        self.url = url
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.clock.install(time=NIGHT)
        self.page.clock.pause_at(NIGHT + timedelta(seconds=1))  # else a slow machine's time would count
        self.page.goto(url)
        self.until_shown()

    def _note(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def until_shown(self) -> None:
        until(lambda: self.text("#moment") or self.is_away(), what="an answer or its absence")

    def text(self, selector: str) -> str:
        """The text of an element, with plain spaces."""
        return " ".join((self.page.text_content(selector) or "").split())

    def rows(self, table: str) -> list[list[str]]:
        """The cells of a table's body."""
        cells = self.page.evaluate(
            "id => [...document.getElementById(id).tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent))",
            table,
        )
        return [[" ".join(cell.split()) for cell in row] for row in cells]

    def poll(self) -> None:
        """Two seconds pass, and the answer is shown."""
        before = self.text("#moment")
        self.page.clock.run_for(POLL_MS)
        until(lambda: self.text("#moment") != before, what="the next answer on the page")

    def is_away(self) -> bool:
        return bool(self.page.is_visible("#away"))

    def pass_time(self, seconds: int, condition: Any, what: str) -> None:
        """Let time pass in steps of a second until the condition holds, at most so many."""
        for _ in range(seconds):
            self.page.clock.run_for(1000)
            for _ in range(10):
                if condition():
                    return
                self.page.evaluate("1")
        raise AssertionError(f"{what} did not come true within {seconds} s of the page's time")

    def failing(self, selector: str, check: str) -> list[str]:
        """Which elements fail a check, an expression in JavaScript of the element `e`."""
        found = f"[...document.querySelectorAll({selector!r})].filter(e => !({check}))"
        return list(self.page.evaluate(f"{found}.map(e => e.outerHTML.slice(0, 80))"))

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def low_contrasts(self) -> list[str]:
        """Visible texts whose contrast is below WCAG's AA, 4.5 to 1 (all are taken for small ones)."""
        return list(self.page.evaluate(CONTRASTS))


CONTRASTS: Final = r"""() => {
  const parse = (c) => c.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let n = node; n; n = n.parentElement) {
      const c = parse(getComputedStyle(n).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const low = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ["SCRIPT", "STYLE", "title"].includes(node.tagName)) continue;
    if (!node.checkVisibility()) continue;
    const style = getComputedStyle(node), ink = parse(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(node))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    seen += 1;
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  if (seen < 20) low.push(`only ${seen} texts were looked at`);
  return low;
}"""
