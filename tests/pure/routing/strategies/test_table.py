"""Every strategy that the setting knows is there, and every one that is there can be set."""

from __future__ import annotations

import pytest

from fastgw.routing.choose import Choose
from fastgw.routing.regions import load
from fastgw.routing.strategies import STRATEGIES, Means
from fastgw.settings.model import RouterStrategy
from tests.pure.asgi import exchange
from tests.pure.routing.support import backends

MEANS = Means(load(), "X-Session-ID")


def test_the_names_are_those_of_the_setting() -> None:
    assert set(STRATEGIES) == {strategy.value for strategy in RouterStrategy}


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_asks_who_it_may(name: str) -> None:
    a, b, c = backends("abc")
    choose = Choose([a, b, c], STRATEGIES[name](MEANS))
    for number in range(50):
        x = exchange((b"x-session-id", b"%d" % number), (b"cf-ipcountry", b"DE"))
        first = choose(x, set())
        assert choose(x, {first}) is not first
