"""The status page in a real Chromium. Most of it is of the page alone: a tiny server tells what the test scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.browser import CHROMIUM, Screen, chromium
from tests.support.status_data import BOUNDS_S, HOSTILE, backend, later, many, quiet, timed
from tests.support.status_server import StatusServer
from tests.support.wait import until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium")

PHONE = {"width": 360, "height": 740}
NONE = "\u2013"
"""What stands where there is no value."""

EXPECTED_FAILURE = re.compile(r"Failed to load resource")
"""What Chromium itself writes of an answer that is an error, or missing."""


COUNT_SPOKEN = """new MutationObserver(() => { window.spoken = (window.spoken ?? 0) + 1; })
    .observe(said, {childList: true, subtree: true, characterData: true})"""

FOCUSED = """() => {
  const e = document.activeElement, s = getComputedStyle(e);
  return [e.id || (e.getAttribute("aria-label") ?? e.textContent), s.outlineStyle, s.outlineWidth];
}"""


@pytest.fixture(scope="module")
def alone() -> Iterator[StatusServer]:
    server = StatusServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(alone: StatusServer) -> Iterator[Browser]:
    """After the server, which wants the event loop for itself when it starts."""
    with chromium() as one:
        yield one


@pytest.fixture
def server(alone: StatusServer) -> StatusServer:
    alone.reset()
    return alone


@pytest.fixture(params=["the page alone"])
def url(request: pytest.FixtureRequest, server: StatusServer) -> str:
    """Where the page is. What holds for any gateway is asked of each of these."""
    return server.url


@pytest.fixture
def screens(browser: Browser) -> Iterator[Callable[..., Screen]]:
    """Open the page; in the end it must have asked its own host only, and have had no errors but expected ones."""
    opened: list[Screen] = []

    def get(url: str, **looks: Any) -> Screen:
        opened.append(Screen(browser, url, **looks))
        return opened[-1]

    yield get
    for screen in opened:
        screen.context.close()
        home = screen.url.removesuffix("/gateway/ui")
        assert {one for one in screen.requests if not one.startswith(("data:", home))} == set()
        assert [one for one in screen.errors if not EXPECTED_FAILURE.match(one)] == []


def quantile_ms(counts: dict[float, int], q: float) -> float:
    """As Prometheus' histogram_quantile: linear within the bucket."""
    rank, below, low = q * sum(counts.values()), 0, 0.0
    for bound in BOUNDS_S:
        inside = counts.get(bound, 0)
        if inside and below + inside >= rank:
            return 1000 * (low + (bound - low) * (rank - below) / inside)
        below, low = below + inside, bound
    raise AssertionError("beyond the last bound")


def shown_ms(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def test_numbers_are_the_differences_of_two_answers(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    assert screen.text("#rate") == "measuring …"
    parts = {
        "total": {0.001: 300, 0.0025: 150, 0.01: 40, 0.25: 10},
        "upstream": {0.0005: 300, 0.001: 150, 0.005: 50},
        "overhead": {0.00025: 250, 0.0005: 200, 0.001: 47, 0.0025: 3},
    }
    after = later(server.data, 4, requests=500, s200=480, s502=20, hit=60, miss=30, stale=10, rate_limited=7, shed=2)
    for part, counts in parts.items():
        timed(after, part, counts)
    after["routes"][0]["requests"] += 123
    server.data = after
    screen.poll()
    assert screen.text("#rate") == "125/s"
    assert screen.text("#errors") == "4.0 %"
    assert screen.text("#requests") == "10,500"
    assert screen.text("#ratio") == "70.0 %"
    assert screen.rows("latency") == [
        [name, *(shown_ms(quantile_ms(parts[part], q)) for q in (0.5, 0.9, 0.99))]
        for name, part in (("Whole request", "total"), ("Backend", "upstream"), ("Gateway", "overhead"))
    ]
    p50, p99 = (shown_ms(quantile_ms(parts["overhead"], q)) for q in (0.5, 0.99))
    assert screen.text("#overhead") == f"p50 {p50}, p99 {p99}: below the budget of 1 to 5 ms"
    assert screen.rows("cache") == [["Hit", "60", "3,060"], ["Stale, answered", "10", "110"], ["Miss", "30", "1,030"]]
    assert screen.rows("refused")[:3] == [
        ["Rate limited", "7", "47"],
        ["Auth failures", "0", "2"],
        ["Shed: overload", "2", "2"],
    ]
    assert ["502 Bad Gateway", "20", "30"] in screen.rows("codes")
    assert screen.rows("routes")[0] == ["/api/v1/jobs/{id}", "24.6 %", "123", "6,123"]
    assert screen.text("#traffic dt") == "Rate, last 4 s"


def test_what_is_told_is_shown_as_it_is(server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.data["backends"].append(backend("http://10.0.0.9:8000", state="ejected", problem="refused", latency_ms=None))
    screen = screens(server.url)
    assert screen.rows("backends") == [
        ["http://10.0.0.9:8000", "ejected", NONE, "1", "2", NONE, "refused"],
        ["http://10.0.0.5:8000", "serving", "europe-west", "1", "2", "1.20 ms", ""],
        ["http://10.0.0.6:8000", "serving", NONE, "2", "2", "1.20 ms", ""],
    ], "those in trouble come first"
    assert screen.text("#notices") == "WarningBackend http://10.0.0.9:8000 is ejected: refused"
    assert screen.rows("workers") == [
        ["asia-east", "3 of 3", "1", "41.5 %"],
        ["europe-west", "1 of 2", "1", "not told"],
    ]
    assert screen.text("#workers-sum") == "4 of 5 online, 2 busy, 2 idle"
    assert screen.text("#redis") == "StateconnectedLatency0.21 msModestandaloneBreakerclosed"
    assert screen.text("#process") == "StatushealthyProcesses2Uptime1 d 2 hLoop lag0.40 msVersion0.1.0"
    assert screen.text("#active") == "3"


def test_the_rate_is_that_of_the_last_ten_seconds(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    for more in (900, 10, 20, 30, 40, 50):
        server.data = later(server.data, 2, requests=more)
        screen.poll()
    assert screen.text("#rate") == "15.0/s"
    assert screen.text("#history-text") == "lowest 5.00/s, mean 87.5/s, highest 450/s"
    assert screen.text("#history-t").endswith(screen.text("#history-text"))


def test_counters_that_fall_begin_anew(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    server.data = later(server.data, 2, requests=100)
    screen.poll()
    assert screen.text("#rate") == "50.0/s"
    restarted = quiet(time=server.data["time"] + 2, uptime_s=1.0)
    restarted["counters"] = {"requests": 5, "statuses": {"200": 5}, "cache": {"hit": 0, "miss": 5, "stale": 0}}
    server.data = restarted
    screen.poll()
    assert screen.text("#rate") == "measuring …"
    assert "counted anew since" in screen.text("#moment")
    assert screen.text("#requests") == "5"
    server.data = later(restarted, 2, requests=30, s200=30, miss=30)
    screen.poll()
    assert screen.text("#rate") == "15.0/s"
    assert screen.rows("cache")[2] == ["Miss", "30", "35"]
    assert not re.search(r"NaN|undefined|Infinity|-\d+[,.\d]*(/s| ms| %)", screen.page.inner_text("main"))


def test_counters_that_stand_still_are_named(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    for _ in range(6):
        screen.poll()
    assert "its counters stand still" in screen.text("#notices")
    server.data = later(server.data, 12)
    screen.poll()
    assert screen.text("#notices") == "Nothing needs attention."


def test_the_gateway_goes_away_and_comes_back(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    server.data = later(server.data, 2, requests=100)
    screen.poll()
    last = screen.text("#moment").removeprefix("Updated ")
    server.stop()
    try:
        screen.pass_time(8, screen.is_away, "the banner")
        assert screen.text("#away-h") == f"No data since {last}"
        assert screen.text("#away-why") == "The gateway can't be reached."
        assert not screen.page.is_visible("#ask")
        assert screen.text("#status") == "no data"
        assert screen.text("#said").startswith("No data since")
        assert screen.page.title().startswith("no data")
        assert screen.text("#rate") == "50.0/s", "what was known stays to be read"
        before = len(screen.requests)
        screen.page.clock.run_for(1000)
        screen.pass_time(60, lambda: len(screen.requests) >= before + 3, "three more tries")
    finally:
        server.start()
    screen.page.click("#now")
    until(lambda: not screen.is_away(), what="the banner's end")
    assert screen.text("#status") == "healthy"


def test_it_asks_ever_less_often_while_the_gateway_is_away(
    server: StatusServer, screens: Callable[..., Screen]
) -> None:
    server.status = 503
    screen = screens(server.url)
    assert screen.text("#away-h") == "No data yet"
    assert not screen.page.is_visible("section"), "nothing is shown that is not known"
    assert screen.text("#away-why") == "The gateway answered 503 Unavailable."
    for _ in range(60):
        screen.page.clock.run_for(1000)
        screen.page.evaluate("1")
    asked = sum(path == "/gateway/ui/data" for path, _ in server.asked)
    assert 4 <= asked <= 8, "after 2, 4, 8, 15, 15 s"


def test_403_then_a_wrong_token_then_the_right_one(server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.token = "s3cret-ü"
    screen = screens(server.url)
    page = screen.page
    assert "ADMIN_ALLOW" in screen.text("#away-why")
    page.get_by_label("Admin token").fill("wrong")
    page.keyboard.press("Enter")
    until(lambda: "401" in screen.text("#away-why"), what="the word that it is wrong")
    page.get_by_label("Admin token").fill("s3cret-ü")
    page.get_by_role("button", name="Use this token").click()
    until(lambda: not screen.is_away(), what="the banner's end")
    server.data = later(server.data, 2, requests=100)
    screen.poll()
    assert screen.text("#rate") == "50.0/s"
    tokens = [token for path, token in server.asked if path.endswith("data")]
    assert list(dict.fromkeys(tokens)) == [None, "wrong", "s3cret-ü"], "on a busy machine one may be asked for twice"
    assert page.input_value("#token") == ""
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert "s3cret" not in page.url + page.content()
    page.reload()
    screen.until_shown()
    assert screen.is_away(), "the token was in the page's memory only"


def test_foreign_strings_stay_text(server: StatusServer, screens: Callable[..., Screen]) -> None:
    long = HOSTILE + "x" * 300
    server.data = quiet(
        version=HOSTILE,
        status=HOSTILE,
        routes=[
            {"route": HOSTILE, "requests": 5},
            {"route": "__proto__", "requests": 4},
            {"route": long, "requests": 3},
        ],
        backends=[backend(long, region=HOSTILE, state=long, problem=HOSTILE), backend("x", state="constructor")],
        redis={"status": "disconnected", "mode": HOSTILE, "latency_ms": None, "breaker": HOSTILE, "problem": long},
        workers={"regions": [{"region": long, "total": 1, "online": 0, "busy": 0, "utilization_percent": 900}]},
    )
    server.data["counters"]["statuses"] = {HOSTILE: 3, "__proto__": 4, "200": 5}
    for viewport in (PHONE, {"width": 1280, "height": 800}):
        screen = screens(server.url, viewport=viewport)
        screen.poll()
        assert [row[0] for row in screen.rows("routes")] == [HOSTILE, "__proto__", long]
        assert screen.rows("backends")[0][:3] == [long, long, HOSTILE]
        assert screen.text("#status") == HOSTILE
        assert screen.page.title() != "owned"
        assert screen.page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert screen.overflow() <= 0


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        dict.fromkeys(quiet()),
        quiet(counters={"statuses": None, "cache": []}, latency={"bounds_s": None}, backends=[None, 3], routes=[[]]),
        quiet(backends=[], routes=[], workers={"regions": [{}]}, redis={}, latency={}),
    ],
    ids=["nothing", "a list", "nulls", "odd ones", "empty lists"],
)
def test_what_is_missing_is_not_made_up(data: Any, server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.data = data
    screen = screens(server.url)
    screen.poll()
    assert not screen.is_away()
    assert not re.search(r"NaN|undefined|Infinity|null|\[object", screen.page.inner_text("main"))


def test_an_answer_that_is_not_the_gateways_is_named(server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.data = b"<html>a proxy's page</html>"
    assert screens(server.url).text("#away-why") == "What answers is not the gateway's data."


def test_a_large_platform(server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.data = many()
    server.data["backends"][57] |= {"state": "ejected", "problem": "timed out"}
    for viewport in (PHONE, {"width": 1280, "height": 800}):
        screen = screens(server.url, viewport=viewport)
        assert len(screen.rows("backends")) == 100
        assert len(screen.rows("routes")) == 40
        assert screen.rows("backends")[0][1] == "ejected"
        assert screen.text("#backends-sum") == "1 ejected, 99 serving"
        assert screen.overflow() <= 0
        box = screen.page.get_by_role("region", name="Backends, those in trouble first, scrolls")
        box.focus()
        screen.page.keyboard.press("End")
        until(lambda box=box: box.evaluate("b => b.scrollTop") > 0, what="scrolling by the keyboard")


def test_a_change_of_state_is_said_and_numbers_are_not(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    live = "[...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map(e => e.id)"
    assert screen.page.evaluate(live) == ["said"]
    assert screen.text("#said") == "Nothing needs attention."
    screen.page.evaluate(COUNT_SPOKEN)
    for _ in range(2):
        server.data = later(server.data, 2, requests=100)
        screen.poll()
    assert screen.page.evaluate("window.spoken ?? 0") == 0
    server.data = later(server.data, 2)
    server.data["redis"] = {"status": "disconnected", "problem": "connection refused"}
    screen.poll()
    assert screen.text("#said") == "Redis is disconnected: connection refused"
    assert screen.page.evaluate("window.spoken") == 1


def test_it_asks_nothing_while_it_is_hidden(server: StatusServer, screens: Callable[..., Screen]) -> None:
    screen = screens(server.url)
    hide = """is => { Object.defineProperty(document, "hidden", {value: is, configurable: true});
              document.dispatchEvent(new Event("visibilitychange")); }"""
    screen.page.evaluate(hide, True)
    before = len(server.asked)
    screen.page.clock.run_for(30_000)
    screen.page.evaluate("1")
    assert len(server.asked) == before
    screen.page.evaluate(hide, False)
    until(lambda: len(server.asked) == before + 1, what="the question on coming back")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(scheme: str, url: str, screens: Callable[..., Screen]) -> None:
    screen = screens(url, color_scheme=scheme)
    screen.poll()
    ground = screen.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    red, green, blue = map(int, re.findall(r"\d+", ground))
    assert (red + green + blue < 150) == (scheme == "dark")
    assert screen.low_contrasts() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_trouble_can_be_read_in_both_schemes(scheme: str, server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.data = quiet(
        backends=[backend("a", state="ejected", problem="p"), backend("b", state="probing")], status="unhealthy"
    )
    server.data["redis"]["status"] = "disconnected"
    screen = screens(server.url, color_scheme=scheme)
    server.data = later(server.data, 2, requests=100, s502=100)
    screen.poll()
    assert screen.text("#notices").startswith("CriticalNo backend is serving.Critical100.0 % of the answers")
    assert screen.low_contrasts() == []
    server.token = "t"
    screen.page.clock.run_for(2000)
    until(screen.is_away, what="the banner")
    assert screen.low_contrasts() == []


def test_it_fits_a_phone(url: str, screens: Callable[..., Screen]) -> None:
    screen = screens(url, viewport=PHONE)
    screen.poll()
    assert screen.overflow() <= 0
    screen.page.set_viewport_size({"width": 320, "height": 600})
    assert screen.overflow() <= 0


def test_its_structure_can_be_heard(url: str, screens: Callable[..., Screen]) -> None:
    screen = screens(url)
    screen.poll()
    page = screen.page
    assert page.evaluate("document.documentElement.lang") == "en"
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    assert page.get_by_role("heading", level=1).count() == 1
    assert screen.failing("table", "e.caption?.textContent.trim()") == []
    assert screen.failing("th", "e.scope") == []
    assert screen.failing("section", "document.getElementById(e.getAttribute('aria-labelledby'))?.textContent") == []
    assert screen.failing("svg", "e.getAttribute('role') === 'img' || e.closest('[aria-hidden=true]')") == []
    assert screen.failing("input", "e.labels.length") == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    for name in ("Requests", "Latency", "Cache", "Backends", "GPU workers", "Busiest routes"):
        assert page.get_by_role("region", name=name, exact=True).count() == 1, name


def test_wide_tables_stay_tables_on_a_phone(server: StatusServer, screens: Callable[..., Screen]) -> None:
    page = screens(server.url, viewport=PHONE).page
    table = page.get_by_role("table", name="Backends, those in trouble first")
    assert table.get_by_role("row").count() == 3
    assert table.get_by_role("columnheader", name="Latency").count() == 1
    assert table.get_by_role("cell", name="1.20 ms").count() == 2


def test_everything_is_reached_by_the_keyboard(server: StatusServer, screens: Callable[..., Screen]) -> None:
    server.data = many()
    screen = screens(server.url)
    server.token = "t"
    screen.page.clock.run_for(2000)
    until(screen.is_away, what="the banner")
    reached = []
    for _ in range(8):
        screen.page.keyboard.press("Tab")
        focused = screen.page.evaluate(FOCUSED)
        if focused[1] == "none":
            break
        assert focused[1:] == ["solid", "2px"], f"the focus on {focused[0]} can't be seen"
        reached.append(focused[0])
    assert reached == [
        "token",
        "Use this token",
        "now",
        "Backends, those in trouble first, scrolls",
        "GPU workers by region, scrolls",
        "Requests by route, most first, scrolls",
    ]


def test_nothing_moves_for_whoever_asked_for_that(url: str, screens: Callable[..., Screen]) -> None:
    calm = screens(url, reduced_motion="reduce")
    assert calm.failing("*", "getComputedStyle(e).transitionDuration === '0s'") == []
    usual = screens(url)
    assert usual.failing("*", "getComputedStyle(e).transitionDuration === '0s'") != []


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.innerHTML = 'x'",
        "document.body.setAttribute('onclick', 'document.title = 1')",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))",
    ],
)
def test_the_policy_lets_no_text_become_code(attempt: str, url: str, screens: Callable[..., Screen]) -> None:
    screen = screens(url)
    assert (
        screen.page.evaluate(f"() => {{ try {{ {attempt}; return 'done'; }} catch (e) {{ return 'refused'; }} }}")
        == "refused"
    )
    assert screen.page.title() != "1"
    refused = [one for one in screen.errors if "Trusted" in one]
    screen.errors = [one for one in screen.errors if one not in refused]
