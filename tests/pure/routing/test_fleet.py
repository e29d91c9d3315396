"""From settings to backends and back: what a change at run time keeps, and what it makes anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastgw.routing.fleet import NAMES_EVERY_S, Fleet
from fastgw.routing.strategies.region_affinity import RegionAffinity
from fastgw.routing.strategies.round_robin import RoundRobin
from fastgw.routing.strategies.sticky import Sticky
from fastgw.settings.load import load
from fastgw.settings.model import Settings
from tests.pure.asgi import exchange
from tests.pure.loop import in_loop


def settings(**values: str) -> Settings:
    return load(values, None).settings


@in_loop
async def test_backends_are_what_the_settings_say() -> None:
    fleet = Fleet(settings(FASTAPI_URL="http://a:1;region=oceania;weight=3,http://[::1]:2", FASTAPI_POOL_SIZE="7"))
    a, b = fleet.backends
    assert (a.url, a.authority, a.region, a.weight, a.pool.size) == ("http://a:1", b"a:1", "oceania", 3, 7)
    assert (b.url, b.authority, b.region, b.weight) == ("http://[::1]:2", b"[::1]:2", None, 1)
    assert (a.pool.tls, b.pool.tls) == (None, None)
    assert repr(fleet) == "<Fleet <Choose RoundRobin 2 of 2 backends>>"
    await fleet.close()


@in_loop
async def test_authorities_are_loaded_for_the_first_https_backend_and_checked_from_the_start() -> None:
    fleet = Fleet(settings(FASTAPI_URL="http://a:1"))
    loaded = []
    fleet.tls.load_default_certs = lambda: loaded.append(1)  # type: ignore[assignment, misc]
    fleet.use(settings(FASTAPI_URL="https://a:1,http://b:1"))
    assert [one.pool.tls for one in fleet.backends] == [fleet.tls, None]
    assert loaded
    assert fleet.tls.check_hostname
    assert fleet.tls.verify_mode.name == "CERT_REQUIRED"
    await fleet.close()


@in_loop
async def test_a_change_is_seen_by_who_holds_the_list_and_keeps_what_stays() -> None:
    fleet = Fleet(settings(FASTAPI_URL="http://a:1,http://b:1"))
    held, b = fleet.backends, fleet.backends[1]
    strategy = fleet.choose._strategy
    fleet.use(settings(FASTAPI_URL="http://a:1,http://b:1", FASTAPI_TIMEOUT="5"))
    assert fleet.choose._strategy is strategy
    fleet.use(settings(FASTAPI_URL="http://b:1,http://c:1"))
    assert [one.url for one in held] == ["http://b:1", "http://c:1"]
    assert held[0] is b
    assert fleet.choose(exchange(), {b}) is held[1]
    await fleet.close()


@in_loop
async def test_the_strategy_changes() -> None:
    fleet = Fleet(settings())
    assert isinstance(fleet.choose._strategy, RoundRobin)
    fleet.use(settings(ROUTER_STRATEGY="sticky"))
    assert isinstance(fleet.choose._strategy, Sticky)
    fleet.use(settings(ROUTER_STRATEGY="region-affinity"))
    assert isinstance(fleet.choose._strategy, RegionAffinity)
    await fleet.close()


def test_backends_of_no_known_region_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    @in_loop
    async def made(**values: str) -> None:
        await Fleet(settings(FASTAPI_URL="http://a:1;region=atlantis,http://b:1;region=oceania", **values)).close()

    made()
    assert caplog.messages == []
    made(ROUTER_STRATEGY="region-affinity")
    assert caplog.messages == ["backend http://a:1 is in no known region: it counts as the most distant"]


def test_a_file_of_regions_that_broke_since_the_start_is_an_error_in_the_log_and_no_end(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "regions.json"
    file.write_text("{}")

    @in_loop
    async def made() -> None:
        fleet = Fleet(settings(ROUTER_STRATEGY="region-affinity", REGIONS_FILE=str(file)))
        assert fleet.choose._strategy._regions.names  # type: ignore[attr-defined]
        await fleet.close()

    with caplog.at_level(logging.ERROR):
        made()
    assert "regions is missing or empty" in caplog.messages[0]


@in_loop
async def test_names_are_looked_up_often_enough() -> None:
    fleet = Fleet(settings())
    assert [name for name, _, _ in fleet.jobs] == ["backend checks", "backends that left", "backends' names"]
    assert NAMES_EVERY_S * 1.1 <= 30
    await fleet.close()
