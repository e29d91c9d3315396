"""The nearest with room; the next region when the nearest is away or full."""

from __future__ import annotations

from collections import Counter

import pytest

from fastgw.exchange import Exchange
from fastgw.routing.backend import Backend
from fastgw.routing.regions import load, parse
from fastgw.routing.strategies.region_affinity import MAX_REMEMBERED, SATURATED, RegionAffinity
from tests.pure.asgi import exchange
from tests.pure.routing.support import backend

PLACES = {"w": "europe-west", "e": "europe-east", "n": "america-north", "o": "oceania"}
FULL = int(10 * SATURATED)  # of pools of ten


def fleet(names: str = "weno") -> tuple[Backend, ...]:
    return tuple(backend(name, PLACES.get(name)) for name in names)


def strategy() -> RegionAffinity:
    return RegionAffinity(load())


def asked(one: RegionAffinity, candidates: tuple[Backend, ...], x: Exchange, count: int = 12) -> Counter[str]:
    return Counter(one.choose(candidates, x).url[-1] for _ in range(count))


GERMAN = exchange((b"cf-ipcountry", b"DE"))


@pytest.mark.parametrize(
    ("field", "value", "nearest"),
    [
        (b"x-client-region", b"oceania", "o"),
        (b"x-client-region", b"Europe-East", "e"),
        (b"cf-ipcountry", b"CA", "n"),
        (b"x-amzn-region", b"eu-west-1", "w"),
        (b"x-client-region", b"asia-south", "e"),  # none of its own: the nearest by the table
        (b"x-client-region", b"america-south", "n"),
    ],
)
def test_the_nearest(field: bytes, value: bytes, nearest: str) -> None:
    assert asked(strategy(), fleet(), exchange((field, value))) == {nearest: 12}


def test_within_a_region_each_in_turn_by_weight() -> None:
    candidates = (backend("a", "europe-west", 2), backend("b", "europe-west"), backend("o", "oceania"))
    assert asked(strategy(), candidates, GERMAN) == {"a": 8, "b": 4}


def test_a_nearest_that_is_no_candidate_is_replaced_by_the_next_and_comes_back() -> None:
    one, (w, e, n, o) = strategy(), fleet()
    assert asked(one, (e, n, o), GERMAN) == {"e": 12}
    assert asked(one, (n, o), GERMAN) == {"n": 12}
    assert asked(one, (w, e, n, o), GERMAN) == {"w": 12}


def test_a_saturated_region_spills_over_to_the_next_and_takes_back() -> None:
    one, candidates = strategy(), fleet()
    w, e, _n, _o = candidates
    w.in_flight = FULL - 1
    assert asked(one, candidates, GERMAN) == {"w": 12}
    w.in_flight = FULL
    assert asked(one, candidates, GERMAN) == {"e": 12}
    e.in_flight = FULL
    assert asked(one, candidates, GERMAN) == {"n": 12}
    w.in_flight = 0
    assert asked(one, candidates, GERMAN) == {"w": 12}


def test_a_neighbour_in_the_same_region_takes_over_first() -> None:
    a, b, o = backend("a", "europe-west"), backend("b", "europe-west"), backend("o", "oceania")
    a.in_flight = FULL
    assert asked(strategy(), (a, b, o), GERMAN) == {"b": 12}


def test_when_all_are_saturated_the_least_loaded_is_asked() -> None:
    candidates = (backend("a", "europe-west"), backend("b", "oceania", size=100))
    candidates[0].in_flight, candidates[1].in_flight = 9, 85
    assert asked(strategy(), candidates, GERMAN, 1) == {"b": 1}


@pytest.mark.parametrize(
    "x", [exchange(), exchange((b"x-client-region", b"nowhere")), exchange((b"cf-ipcountry", b"XX"))]
)
def test_a_client_from_nowhere_takes_turns(x: Exchange) -> None:
    assert asked(strategy(), fleet(), x) == dict.fromkeys("weno", 3)


def test_backends_without_regions_take_turns() -> None:
    assert asked(strategy(), fleet("abc"), GERMAN) == dict.fromkeys("abc", 4)


def test_a_backend_without_a_region_is_the_last() -> None:
    o, a = backend("o", "oceania"), backend("a")
    assert asked(strategy(), (a, o), GERMAN) == {"o": 12}
    o.in_flight = FULL
    assert asked(strategy(), (a, o), GERMAN) == {"a": 12}


def test_codes_that_only_backends_have_match_literally() -> None:
    candidates = (backend("a", "us-west"), backend("b", "eu-central"))
    assert asked(strategy(), candidates, exchange((b"x-client-region", b"eu-central"))) == {"b": 12}


def test_regions_of_a_deployment() -> None:
    regions = parse(
        {
            "regions": {"us-west": "", "us-east": "", "eu-central": ""},
            "distances": {"us-west": {"us-east": 60, "eu-central": 140}, "us-east": {"eu-central": 80}},
            "networks": {"10.1.0.0/16": "us-east"},
        }
    )
    candidates = (backend("a", "us-west"), backend("b", "eu-central"))
    assert asked(RegionAffinity(regions), candidates, exchange(peer="10.1.2.3")) == {"a": 12}


def test_what_is_remembered_of_what_strangers_say_is_bounded() -> None:
    one, candidates = strategy(), fleet()
    for number in range(MAX_REMEMBERED + 10):
        one.choose(candidates, exchange((b"x-client-region", b"r%d" % number)))
    one.choose(candidates, exchange((b"cf-ipcountry", b"D" * 8000)))
    assert len(one._of_claims) <= MAX_REMEMBERED
    assert len(one._of_region) <= len(load().names) + 1
    assert all(len(value) < 100 for claims in one._of_claims for _, value in claims)
