"""The same value, the same backend; and only those move whose backend is away."""

from __future__ import annotations

from collections import Counter

import pytest

from fastgw.routing.backend import Backend
from fastgw.routing.strategies.sticky import MAX_REMEMBERED, MAX_REMEMBERED_BYTES, Sticky
from tests.pure.asgi import exchange
from tests.pure.routing.support import backends

VALUES = [b"session-%d" % number for number in range(3000)]


def homes(candidates: tuple[Backend, ...], strategy: Sticky | None = None) -> dict[bytes, str]:
    strategy = strategy or Sticky("X-Session-ID")
    return {value: strategy.choose(candidates, exchange((b"x-session-id", value))).url[-1] for value in VALUES}


def test_every_process_comes_to_the_same() -> None:
    assert homes(tuple(backends("abc"))) == homes(tuple(backends("abc")))


def test_known_places() -> None:
    """Processes of another version on the same fleet must agree: the hash must not change unnoticed."""
    found = homes(tuple(backends("abc")))
    assert [found[value] for value in VALUES[:10]] == list("cbabbbacac")


def test_values_are_spread_by_weight() -> None:
    counts = Counter(homes(tuple(backends("abc", 1, 2, 3))).values())
    assert [counts[name] for name in "abc"] == pytest.approx([500, 1000, 1500], rel=0.1)


def test_when_one_is_away_only_its_own_move_and_they_come_back() -> None:
    a, b, c = backends("abc")
    strategy = Sticky("X-Session-ID")
    before = homes((a, b, c), strategy)
    without = homes((a, c), strategy)
    assert {value for value in VALUES if without[value] != before[value]} == {v for v in VALUES if before[v] == "b"}
    moved = Counter(without[value] for value in VALUES if before[value] == "b")
    assert moved["a"] == pytest.approx(moved["c"], rel=0.2)
    assert homes((a, b, c), strategy) == before


def test_they_come_back_step_by_step_as_its_weight_grows() -> None:
    a, b, c = backends("abc")
    whole = homes((a, b, c))
    at_home = {value for value in VALUES if whole[value] == "b"}
    last: set[bytes] = set()
    for share in (0.1, 0.3, 0.6, 1.0):
        b.effective_weight = share
        found = homes((a, b, c))
        now = {value for value in VALUES if found[value] == "b"}
        assert last < now <= at_home
        last = now
    assert last == at_home


def test_without_the_field_each_in_turn() -> None:
    candidates = tuple(backends("abc"))
    strategy = Sticky("X-Session-ID")
    for x in (exchange(), exchange((b"x-session-id", b""))):
        assert {strategy.choose(candidates, x).url[-1] for _ in range(3)} == set("abc")


def test_any_field_can_be_the_one() -> None:
    candidates = tuple(backends("abc"))
    strategy = Sticky("X-User-ID")
    x = exchange((b"x-session-id", b"1"), (b"x-user-id", b"7"))
    assert len({strategy.choose(candidates, x) for _ in range(9)}) == 1


def test_what_strangers_send_does_not_fill_the_memory() -> None:
    candidates = tuple(backends("abc"))
    strategy = Sticky("X-Session-ID")
    for number in range(MAX_REMEMBERED + 10):
        strategy.choose(candidates, exchange((b"x-session-id", b"%d" % number)))
    assert len(strategy._known) <= MAX_REMEMBERED
    long = exchange((b"x-session-id", b"x" * (MAX_REMEMBERED_BYTES + 1)))
    assert strategy.choose(candidates, long) is strategy.choose(candidates, long)
    assert all(len(value) <= MAX_REMEMBERED_BYTES for value in strategy._known)
