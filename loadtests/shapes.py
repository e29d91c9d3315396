"""How the number of users changes: LOADTEST_SHAPE is steps, spike or soak; without it, Locust's own -u and -r hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from locust import LoadTestShape

if TYPE_CHECKING:
    from collections.abc import Sequence

USERS = int(os.environ.get("LOADTEST_USERS", "50"))
SECONDS = float(os.environ.get("LOADTEST_SECONDS", "120"))


class Planned(LoadTestShape):
    """Follows `plan`: (share of the time until which, share of the users)."""

    abstract = True
    plan: ClassVar[Sequence[tuple[float, float]]] = ()

    def tick(self) -> tuple[int, float] | None:
        """See LoadTestShape: users and spawn rate; None at the end."""
        now = self.get_run_time() / SECONDS  # type: ignore[no-untyped-call]
        for until, share in self.plan:
            if now < until:
                users = max(1, round(USERS * share))
                return users, max(1.0, users / 2)
        return None


class Steps(Planned):
    """A fifth more each fifth of the time: where does it bend?"""

    plan: ClassVar[Sequence[tuple[float, float]]] = tuple((number / 5, number / 5) for number in range(1, 6))


class Spike(Planned):
    """A tenth, all at once, a tenth again: does it recover?"""

    plan: ClassVar[Sequence[tuple[float, float]]] = ((0.4, 0.1), (0.6, 1.0), (1.0, 0.1))


class Soak(Planned):
    """Half of the users for all of the time: does anything grow?"""

    plan: ClassVar[Sequence[tuple[float, float]]] = ((1.0, 0.5),)


SHAPES = {"steps": Steps, "spike": Spike, "soak": Soak}


def chosen() -> type[Planned] | None:
    """By LOADTEST_SHAPE."""
    name = os.environ.get("LOADTEST_SHAPE", "")
    if name and name not in SHAPES:
        raise SystemExit(f"LOADTEST_SHAPE is {name!r}; it is one of {', '.join(SHAPES)}, or empty")
    return SHAPES.get(name)
