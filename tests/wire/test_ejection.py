"""Backends that fail are left out, not asked meanwhile, and come back slowly: real uvicorns behind a real gateway."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from fastgw.routing.ejection import FIRST_BACKOFF_S, PATIENCE, Outcome
from tests.support.ports import free_port
from tests.support.processes import Gateway, Running, accepts
from tests.support.raw_client import request
from tests.support.wait import until

NEVER = 86_400_000
"""ms: no active check after the one at the start."""

SAFE = "/regions"


class Moody(Running):
    """A uvicorn with tests/support/moody_app.py, on a port of its own or a given one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        app = ["tests.support.moody_app:app", "--host", "127.0.0.1", "--port", str(self.port)]
        super().__init__([sys.executable, "-m", "uvicorn", *app, "--log-level", "warning"])
        self.url = f"http://127.0.0.1:{self.port}"
        until(lambda: accepts(self.port), 20, "uvicorn's start")

    def set(self, what: str) -> None:
        assert request(self.port, f"/_set?{what}").status == 200

    def asked(self) -> list[float]:
        return request(self.port, "/_asked").json["other"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def moody() -> Iterator[Callable[..., Moody]]:
    with ExitStack() as at_end:

        def start(port: int = 0) -> Moody:
            server = at_end.enter_context(Moody(port))
            at_end.callback(server.thaw)  # before its end, or it would not see the signal
            return server

        yield start


@pytest.fixture
def gateway_for() -> Iterator[Callable[..., Gateway]]:
    with ExitStack() as at_end:

        def start(*backends: Moody, **settings: object) -> Gateway:
            settings = {"ROUTER_HEALTH_CHECK_INTERVAL": NEVER, **settings}
            gateway = at_end.enter_context(Gateway(",".join(backend.url for backend in backends), **settings))
            until(lambda: all(b["status"] == "healthy" for b in shown(gateway)), 5, "the first checks")
            return gateway

        yield start


def shown(gateway: Gateway) -> list[dict[str, Any]]:
    return request(gateway.port, "/gateway/health/detailed").json["backends"]


def ask(gateway: Gateway, count: int, pause_s: float = 0.0) -> Counter[int]:
    statuses: Counter[int] = Counter()
    for _ in range(count):
        statuses[request(gateway.port, SAFE).status] += 1
        time.sleep(pause_s)
    return statuses


def state(gateway: Gateway, number: int = 0) -> str:
    return str(shown(gateway)[number]["state"])


def test_server_errors_in_a_row_eject_and_a_probe_brings_it_back_slowly(moody, gateway_for):
    bad, good = moody(), moody()
    gateway = gateway_for(bad, good)
    bad.set("status=500")
    patience = PATIENCE[Outcome.SERVER_ERROR]
    until(lambda: ask(gateway, 1) and state(gateway) == "ejected", 5, "the ejection")
    assert len(bad.asked()) == patience
    assert shown(gateway)[0]["problem"] == "ejected: answers were server errors"
    assert request(gateway.port, "/gateway/health").json["status"] == "degraded"

    since = time.monotonic()
    statuses = Counter()
    while time.monotonic() < since + FIRST_BACKOFF_S - 0.3:
        statuses += ask(gateway, 1)
    assert set(statuses) == {200}
    assert len(bad.asked()) == patience, "not asked while ejected"
    until(lambda: ask(gateway, 1) and len(bad.asked()) > patience, 3, "a probe")
    until(lambda: state(gateway) == "ejected", 1, "the probe's failure")
    assert ask(gateway, 30) == {200: 30}
    assert len(bad.asked()) == patience + 1, "one failed probe, and it is out again, for longer"

    bad.set("status=200")
    until(lambda: ask(gateway, 1) and state(gateway) == "returning", 5, "its return")
    before = len(bad.asked()), len(good.asked())
    assert set(ask(gateway, 100, 0.005)) == {200}
    got = len(bad.asked()) - before[0], len(good.asked()) - before[1]
    assert sum(got) == 100
    assert 1 <= got[0] <= 35, "it returns slowly"
    share = shown(gateway)[0]["share"]
    assert 0.1 <= share < 1
    until(lambda: shown(gateway)[0]["share"] > share, 3, "its share grows")
    assert gateway.log.count("is ejected for 1 s: 5 answers were server errors in a row") == 1
    assert gateway.log.count("is ejected for 2 s: it was tried") == 1
    assert gateway.log.count("is back:") == 1


def test_a_killed_backend_costs_no_request_and_returns(moody, gateway_for):
    victim, other = moody(), moody()
    gateway = gateway_for(victim, other)
    assert ask(gateway, 20) == {200: 20}
    victim.kill()
    assert ask(gateway, 50) == {200: 50}
    assert state(gateway) in ("ejected", "probing")
    assert shown(gateway)[0]["ejections"] == 1
    again = moody(victim.port)
    until(lambda: ask(gateway, 1) == {200: 1} and state(gateway) == "returning", 10, "its return")
    until(lambda: ask(gateway, 5) == {200: 5} and again.asked(), 5, "requests on it")


def test_a_frozen_backend_is_ejected_by_time_outs(moody, gateway_for):
    victim, other = moody(), moody()
    gateway = gateway_for(victim, other, FASTAPI_TIMEOUT=600)
    ask(gateway, 4)
    victim.freeze()
    until(lambda: ask(gateway, 1) == {200: 1} and state(gateway) == "ejected", 10, "the ejection")
    begun = time.monotonic()
    assert ask(gateway, 20) == {200: 20}
    assert time.monotonic() - begun < 1.0, "nobody waits for it any more, but for a probe"
    assert "requests timed out in a row" in gateway.log
    victim.thaw()
    until(lambda: ask(gateway, 1) == {200: 1} and state(gateway) == "returning", 10, "its return")


def test_checks_take_a_backend_out_before_requests_fail_and_bring_it_back(moody, gateway_for):
    sick, well = moody(), moody()
    gateway = gateway_for(sick, well, ROUTER_HEALTH_CHECK_INTERVAL=300)
    sick.set("health=503")
    until(lambda: not shown(gateway)[0]["in_use"], 5, "the checks' verdict")
    assert (shown(gateway)[0]["state"], shown(gateway)[0]["status"]) == ("serving", "unhealthy")
    count = len(sick.asked())
    assert ask(gateway, 40) == {200: 40}
    assert len(sick.asked()) == count
    sick.set("health=200")
    until(lambda: shown(gateway)[0]["in_use"], 5, "the checks' verdict")
    assert state(gateway) == "returning"
    until(lambda: ask(gateway, 5) and len(sick.asked()) > count, 5, "requests on it")


def test_checks_bring_an_ejected_backend_back_where_nobody_asks(moody, gateway_for):
    victim, other = moody(), moody()
    gateway = gateway_for(victim, other, ROUTER_HEALTH_CHECK_INTERVAL=300)
    victim.kill()
    until(lambda: ask(gateway, 2) == {200: 2} and shown(gateway)[0]["status"] == "unhealthy", 5, "both find out")
    assert shown(gateway)[0]["ejections"] == 1
    moody(victim.port)
    until(lambda: state(gateway) == "returning", 5, "its return")


def test_if_all_fail_half_of_them_are_asked_all_the_same(moody, gateway_for):
    one, two = moody(), moody()
    gateway = gateway_for(one, two)
    one.set("status=500")
    two.set("status=500")
    statuses = ask(gateway, 60)
    assert statuses == {500: 60}, "clients get what backends say, not a 503 of ours"
    assert [b["in_use"] for b in shown(gateway)].count(False) <= 1
    one.set("status=200")
    two.set("status=200")
    until(lambda: ask(gateway, 5) == {200: 5} and all(b["in_use"] for b in shown(gateway)), 10, "all are back")


def test_if_all_are_unhealthy_all_are_asked(moody, gateway_for):
    one, two = moody(), moody()
    gateway = gateway_for(one, two, ROUTER_HEALTH_CHECK_INTERVAL=300)
    one.set("health=503")
    two.set("health=503")
    until(lambda: request(gateway.port, "/gateway/health").status == 503, 5, "the verdict")
    assert ask(gateway, 20) == {200: 20}
    assert one.asked()
    assert two.asked()
    assert gateway.log.count("all backends fail their checks") == 1


def test_one_backend_alone_is_never_left_out(moody, gateway_for):
    only = moody()
    gateway = gateway_for(only)
    only.set("status=500")
    assert ask(gateway, 30) == {500: 30}
    assert len(only.asked()) == 30
    only.set("status=200")
    assert ask(gateway, 5) == {200: 5}
    assert "ejected" not in gateway.log
