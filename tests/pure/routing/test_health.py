"""Active checks over a transport in memory: verdicts, when to ask, who asks, who is told."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from fastgw.routing import health
from fastgw.routing.backend import Backend
from fastgw.routing.findings import Finding, Findings
from fastgw.routing.health import CHECK_TIMEOUT_S, MAX_PAGE, MAX_PROBLEM, RECHECK_S, TICK_S, HealthChecks

INTERVAL_S = 10.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(health, "monotonic", clock)
    return clock


async def ok():
    yield b"{}"


class Fleet:
    """Checks of some backends, as of one process, and what the backends say."""

    def __init__(
        self,
        clock: Clock,
        count: int = 1,
        findings: Findings | None = None,
        path: str = "/health",
        preflight_path: str = "",
    ) -> None:
        self.clock = clock
        self.backends = [Backend(f"http://b{n}", b"", None) for n in range(count)]  # type: ignore[arg-type]
        self.says: dict[str, object] = {}
        self.asked: list[str] = []
        self.told: list[tuple[Backend, bool, float]] = []
        self.checks = HealthChecks(
            lambda: self.backends, path, None, INTERVAL_S, findings or Findings(), preflight_path
        )
        self.preflights: list[httpx.Request] = []
        self.cors: object = httpx.Response(405)
        self.checks._client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.checks.tell = lambda *told: self.told.append(told)
        self.checks._spread = lambda _low, _high: 1.0

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "OPTIONS":
            self.preflights.append(request)
            if isinstance(self.cors, Exception):
                raise self.cors
            assert isinstance(self.cors, httpx.Response)
            return self.cors
        self.asked.append(request.url.host)
        said = self.says.get(request.url.host, 200)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, httpx.Response):
            return said
        if said == "nothing":
            await asyncio.sleep(60)
        return httpx.Response(said, content=ok())

    async def tick(self, after_s: float = 0.0) -> None:
        """Time passes, and the periodic job runs; what it began is done and heard."""
        self.clock.now += after_s
        await self.checks.run()
        while self.checks._asking:
            await asyncio.sleep(0)
        await self.checks.run()


def drive(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 10))


def test_all_are_asked_at_the_start_and_told_what_was_found(clock):
    async def scenario():
        fleet = Fleet(clock, 3)
        fleet.says["b1"] = 503
        await fleet.tick()
        assert sorted(fleet.asked) == ["b0", "b1", "b2"]
        assert [b.is_healthy for b in fleet.backends] == [True, False, True]
        assert [b.problem for b in fleet.backends] == ["", "status 503", ""]
        assert fleet.backends[0].latency_ms >= 0
        assert [(b.url, ok, at) for b, ok, at in fleet.told] == [(f"http://b{n}", n != 1, clock.now) for n in range(3)]

    drive(scenario())


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (204, True), (301, True), (404, True), (500, False)])
def test_below_500_is_an_answer(clock, status, is_healthy):
    async def scenario():
        fleet = Fleet(clock)
        fleet.says["b0"] = status
        await fleet.tick()
        assert fleet.backends[0].is_healthy is is_healthy

    drive(scenario())


def test_a_well_one_is_asked_once_an_interval(clock):
    async def scenario():
        fleet = Fleet(clock)
        await fleet.tick()
        for _ in range(252):
            await fleet.tick(0.125)
        assert len(fleet.asked) == 1 + 3
        assert len(fleet.told) == 1 + 3, "and each finding is told once"

    drive(scenario())


def test_refusal_is_believed_at_once_and_the_return_seen_soon(clock, caplog):
    async def scenario():
        fleet = Fleet(clock)
        await fleet.tick()
        fleet.says["b0"] = httpx.ConnectError("refused")
        await fleet.tick(INTERVAL_S)
        assert (fleet.backends[0].is_healthy, fleet.backends[0].problem) == (False, "refused")
        await fleet.tick(RECHECK_S)
        assert len(fleet.asked) == 3
        fleet.says["b0"] = 200
        await fleet.tick(RECHECK_S)
        assert fleet.backends[0].is_healthy is True

    caplog.set_level(logging.INFO)
    drive(scenario())
    told = [record.getMessage() for record in caplog.records if record.name == "fastgw.health"]
    assert told == ["backend http://b0 is unhealthy: refused", "backend http://b0 is healthy again"]


@pytest.mark.parametrize("said", [500, httpx.ReadTimeout(""), httpx.RemoteProtocolError("garbage"), ValueError("odd")])
def test_anything_else_is_believed_when_it_is_found_twice(clock, said, caplog):
    async def scenario():
        fleet = Fleet(clock)
        await fleet.tick()
        fleet.says["b0"] = said
        await fleet.tick(INTERVAL_S)
        assert fleet.backends[0].is_healthy is True
        assert fleet.backends[0].problem
        assert caplog.messages == []
        await fleet.tick(RECHECK_S)
        assert fleet.backends[0].is_healthy is False

    drive(scenario())


def test_one_hiccup_is_forgotten(clock):
    async def scenario():
        fleet = Fleet(clock)
        await fleet.tick()
        for _ in range(3):
            fleet.says["b0"] = 500
            await fleet.tick(INTERVAL_S)
            fleet.says["b0"] = 200
            await fleet.tick(RECHECK_S)
            assert (fleet.backends[0].is_healthy, fleet.backends[0].problem) == (True, "")

    drive(scenario())


def test_a_page_that_takes_too_long_is_given_up(clock, monkeypatch):
    async def scenario():
        monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.01)
        fleet = Fleet(clock)
        fleet.says["b0"] = "nothing"
        await fleet.tick()
        assert fleet.backends[0].problem == "no answer within 0.01 s"

    drive(scenario())


def test_a_page_without_end_is_read_to_its_bound(clock):
    async def endless():
        while True:
            sizes.append(1024)
            yield b"x" * 1024

    async def scenario():
        fleet = Fleet(clock)
        fleet.says["b0"] = httpx.Response(200, content=endless())
        await fleet.tick()
        assert fleet.backends[0].is_healthy is True
        assert sum(sizes) <= MAX_PAGE + 2048

    sizes: list[int] = []
    drive(scenario())


def test_a_long_problem_is_cut(clock):
    async def scenario():
        fleet = Fleet(clock)
        fleet.says["b0"] = httpx.ConnectError("x" * 5000)
        await fleet.tick()
        assert len(fleet.backends[0].problem) == MAX_PROBLEM

    drive(scenario())


def test_a_slow_one_keeps_nobody_waiting_and_is_asked_once_at_a_time(clock):
    async def scenario():
        fleet = Fleet(clock, 2)
        fleet.says["b0"] = "nothing"
        await fleet.checks.run()
        for _ in range(20):
            await asyncio.sleep(0)
        clock.now += INTERVAL_S
        await fleet.checks.run()
        await asyncio.sleep(0)
        assert fleet.backends[1].is_healthy is True
        assert fleet.asked.count("b0") == 1
        await fleet.checks.close()

    drive(scenario())


# -- processes ----------------------------------------------------------------------------------------


class Shared:
    """The page as another process sees it, in one process: the claim is told."""

    def __init__(self, page: Findings, *, is_ours: bool) -> None:
        self.page, self.is_ours = page, is_ours
        self._version = 0

    def claim(self) -> bool:
        return self.is_ours

    def give_up(self) -> None:
        self.is_ours = False

    def write(self, findings: list[Finding]) -> bool:
        return self.page.write(findings)

    def read(self) -> list[Finding]:
        self.page._version, kept = self._version, self.page._version
        found = self.page.read()
        self._version, self.page._version = self.page._version, kept
        return found

    def close(self) -> None:
        pass


def two(clock: Clock, count: int = 2) -> tuple[Fleet, Fleet]:
    """Two processes of a host; the first asks."""
    page = Findings()
    return Fleet(clock, count, Shared(page, is_ours=True)), Fleet(clock, count, Shared(page, is_ours=False))


def test_one_asks_and_both_know(clock):
    async def scenario():
        first, second = two(clock)
        first.says["b1"] = httpx.ConnectError("refused")
        for _ in range(30):
            await first.tick(RECHECK_S / 2)
            await second.tick(RECHECK_S / 2)
        assert second.asked == []
        for fleet in (first, second):
            assert [b.is_healthy for b in fleet.backends] == [True, False]
            assert fleet.backends[0].latency_ms is not None
            assert fleet.backends[1].problem == "refused"
        assert len(second.told) >= 10

    drive(scenario())


def test_the_successor_goes_on_where_the_other_was(clock, caplog):
    async def scenario():
        first, second = two(clock)
        first.says["b1"] = httpx.ConnectError("refused")
        await first.tick()
        await second.tick()
        first.checks._findings.is_ours, second.checks._findings.is_ours = False, True
        caplog.clear()
        second.says["b1"] = httpx.ConnectError("refused")
        await second.tick(RECHECK_S)
        assert second.asked == ["b1"], "the well one is not due yet"
        assert caplog.messages == [], "that it is unhealthy is no news"
        await second.tick(INTERVAL_S - RECHECK_S)
        assert second.asked.count("b0") == 1

    drive(scenario())


def test_who_leaves_gives_up_and_asks_no_more(clock):
    async def scenario():
        first, _ = two(clock)
        await first.tick()
        first.checks.is_leaving = lambda: True
        await first.tick(INTERVAL_S)
        assert len(first.asked) == 2
        assert not first.checks._findings.is_ours

    drive(scenario())


def test_who_leaves_ends_what_it_asks_before_another_may(clock):
    async def scenario():
        first, _ = two(clock)
        first.says["b0"] = "nothing"
        await first.checks.run()
        for _ in range(20):
            await asyncio.sleep(0)
        first.checks.is_leaving = lambda: True
        await first.checks.run()
        assert first.checks._findings.is_ours
        for task in first.checks._asking.values():
            task.cancel()
        await first.tick()
        assert not first.checks._findings.is_ours

    drive(scenario())


def test_what_the_other_forgets_is_asked_for_in_the_end(clock):
    """A frozen process keeps its claim, and one with older settings asks other backends."""

    async def scenario():
        first, second = two(clock)
        await first.tick()
        await second.tick()
        patience_s = 2 * INTERVAL_S + 2 * CHECK_TIMEOUT_S
        await second.tick(INTERVAL_S + patience_s - 0.1)
        assert second.asked == []
        await second.tick(0.1)
        assert sorted(second.asked) == ["b0", "b1"]
        assert second.backends[0].is_healthy is True
        assert all(f.asked_at < clock.now for f in Shared(second.checks._findings.page, is_ours=False).read())

    drive(scenario())


def test_a_backend_that_comes_at_run_time_is_asked_by_the_asker_alone(clock):
    async def scenario():
        first, second = two(clock)
        for fleet in (second, first):
            await fleet.tick(100.0 if fleet is first else 0.0)
        new = Backend("http://new", b"", None)
        first.backends.append(new)
        await first.tick(0.1)
        await second.tick()
        second.backends.append(Backend("http://new", b"", None))
        await second.tick(0.1)
        assert second.asked == []
        assert second.backends[2].is_healthy is True, "found before it was ours, and not forgotten"

    drive(scenario())


def test_one_that_goes_is_forgotten(clock):
    async def scenario():
        fleet = Fleet(clock, 3)
        await fleet.tick()
        del fleet.backends[1:]
        await fleet.tick(INTERVAL_S)
        await fleet.tick(INTERVAL_S)
        assert set(fleet.checks._known) == {"http://b0/health"}
        assert len(fleet.checks._heard) == len(fleet.checks._first_seen) == 1

    drive(scenario())


def test_findings_of_another_health_page_are_not_ours(clock):
    async def scenario():
        page = Findings()
        old = Fleet(clock, 1, Shared(page, is_ours=True), path="/old")
        new = Fleet(clock, 1, Shared(page, is_ours=False), path="/new")
        old.says["b0"] = 500
        await old.tick()
        await new.tick()
        assert new.backends[0].is_healthy is None

    drive(scenario())


def test_more_than_fits_is_said_and_each_asks_for_itself(clock, caplog, monkeypatch):
    async def scenario():
        first, second = two(clock)
        monkeypatch.setattr(first.checks._findings.page, "write", lambda _: False)
        await first.tick()
        assert first.backends[0].is_healthy is True
        await second.tick()
        await second.tick(2 * INTERVAL_S + 2 * CHECK_TIMEOUT_S)
        assert second.backends[0].is_healthy is True

    drive(scenario())
    assert any("too many backends" in message for message in caplog.messages)


@pytest.mark.parametrize(("interval_s", "tick_s"), [(10.0, TICK_S), (0.1, 0.05)])
def test_ticks_are_shorter_than_the_interval(interval_s, tick_s):
    async def scenario():
        checks = HealthChecks(list, "/health", None, interval_s, Findings())
        assert checks.tick_s == tick_s
        await checks.close()

    drive(scenario())


@pytest.mark.parametrize(
    ("answer", "has_cors"),
    [
        (httpx.Response(405, headers={"Allow": "GET"}), False),
        (httpx.Response(200, headers={"Allow": "GET, POST, OPTIONS"}), False),
        (httpx.Response(400, headers={"Access-Control-Allow-Methods": "GET"}), True),
        (httpx.Response(204, headers={"Access-Control-Allow-Origin": "*"}), True),
        (httpx.Response(503), None),
        (httpx.ReadError("gone"), None),
    ],
    ids=["no_options", "options", "another_origin", "any_origin", "ill", "lost"],
)
def test_a_preflight_shows_whether_it_has_a_cors_policy(clock, answer, has_cors):
    async def scenario():
        fleet = Fleet(clock, preflight_path="/api/v1/jobs")
        fleet.cors = answer
        await fleet.tick()
        (backend,) = fleet.backends
        assert (backend.is_healthy, backend.has_cors) == (True, has_cors)
        (asked,) = fleet.preflights
        assert asked.url.path == "/api/v1/jobs"
        assert {"origin", "access-control-request-method"} <= set(asked.headers)
        fleet.cors = httpx.Response(503)
        await fleet.tick(INTERVAL_S)
        assert backend.has_cors is has_cors, "what is known stays known"

    drive(scenario())


def test_what_is_ill_is_sent_no_preflight_and_nobody_is_where_cors_is_off(clock):
    async def scenario():
        ill = Fleet(clock, preflight_path="/api/v1/jobs")
        ill.says["b0"] = httpx.ConnectError("refused")
        off = Fleet(clock)
        for fleet in (ill, off):
            await fleet.tick()
            assert fleet.preflights == []
            assert fleet.backends[0].has_cors is None

    drive(scenario())
