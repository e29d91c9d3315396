"""Backends come, go, hang and lie under load: clients see no error that could be avoided, and no job runs twice.

FASTGW_CHAOS_SECONDS: how long the mix goes on; 60 where there is time.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.backends import Member
from tests.chaos.traffic import Traffic
from tests.support.processes import Gateway
from tests.support.raw_client import request
from tests.support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = float(os.environ.get("FASTGW_CHAOS_SECONDS", "10"))
CHECKS_MS = 500
SETTINGS = {
    "FASTAPI_TIMEOUT": 3000,
    "FASTAPI_CONNECT_TIMEOUT": 500,
    "ROUTER_HEALTH_CHECK_INTERVAL": CHECKS_MS,
    "GATEWAY_WORKERS": 2,
    "SHUTDOWN_GRACE_SECONDS": 10,
}
TROUBLE_S = 2.0
"""How long a trouble lasts: longer than checks and ejection take to see it."""

FROZEN_S = 4.0
"""How long a freeze lasts: longer than FASTAPI_TIMEOUT, so that what was sent meanwhile has an unknown fate."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 180)]

TROUBLES = {
    "killed": Member.kill,
    "frozen": Member.freeze,
    "lying": Member.lie,
    "slowed": lambda member: member.slow(0.3),
    "restarted": lambda member: (member.end(), member.start()),
}

STEPS = (
    ("killed",),
    ("frozen",),
    ("lying", "slowed"),
    ("killed", "frozen"),
    ("restarted",),
    ("lying",),
    ("slowed",),
    ("frozen", "lying"),
)
"""Who is in trouble at the same time: at least one backend is always well."""


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    all_of_them = [Member(tmp_path, name) for name in "abc"]
    with ThreadPoolExecutor(3) as side_by_side:
        list(side_by_side.map(Member.start, all_of_them))
    yield all_of_them
    for member in all_of_them:
        member.close()


@pytest.fixture
def gateway(members: list[Member]) -> Iterator[Gateway]:
    with Gateway(",".join(member.url for member in members), **SETTINGS) as one:
        yield one


def seen_as_well(gateway: Gateway, member: Member) -> bool:
    """Whether checks find it so, and requests go to it. Each worker has its own opinion: asked some times."""
    for _ in range(6):
        shown = request(gateway.port, "/gateway/health/detailed").json["backends"]
        state = next(one for one in shown if one["url"] == member.url)
        if state["status"] != "healthy" or not state.get("in_use", True):
            return False
    return True


def heal(gateway: Gateway, *members: Member) -> None:
    for member in members:
        member.heal()
    for member in members:
        until(lambda member=member: seen_as_well(gateway, member), 15, f"{member.url} is back")


def submissions(members: list[Member]) -> Counter[str]:
    """How often each client id was submitted, over all backends and their lives."""
    ledger = members[0].ledger
    return Counter(ledger.read_text().split()) if ledger.exists() else Counter()


def judge(traffic: Traffic, members: list[Member], record: Any) -> None:
    """What must hold whatever happened."""
    ran = submissions(members)
    plain, keyed = Counter(map(str, traffic.plain.values())), Counter(traffic.keyed.values())
    for name, figure in {
        "safe": dict(traffic.safe),
        "slowest safe s": round(traffic.slowest_safe_s, 2),
        "plain": dict(plain),
        "keyed": dict(keyed),
        "streams": dict(traffic.streams),
        "attempts": dict(traffic.attempts),
        "submissions": ran.total(),
    }.items():
        record(name, str(figure))
        print(f"{name}: {figure}")
    assert traffic.safe_failures == []
    assert [one for one, times in ran.items() if times > 1] == [], "submitted twice"
    assert [one for one, status in traffic.plain.items() if status == 200 and ran[one] != 1] == []
    assert keyed["given up"] == 0
    assert [one for one, fate in traffic.keyed.items() if fate == "done" and ran[one] != 1] == []
    assert set(ran) <= set(traffic.plain) | set(traffic.keyed)
    assert traffic.safe[200] > 20
    assert traffic.plain
    assert traffic.keyed


def test_backends_that_are_killed_frozen_slowed_restarted_and_lie(
    members: list[Member], gateway: Gateway, record_property: Any
) -> None:
    """One or two at a time: as long as one is well, safe requests are answered."""
    for member in members:
        until(lambda member=member: seen_as_well(gateway, member), 10, "the first checks")
    end = time.monotonic() + SECONDS
    done: list[str] = []
    with Traffic(gateway.port) as traffic:
        for turn, kinds in enumerate(itertools.cycle(STEPS)):
            if time.monotonic() > end:
                break
            troubled = [members[(turn + number) % 3] for number in range(len(kinds))]
            for kind, member in zip(kinds, troubled, strict=True):
                TROUBLES[kind](member)
            time.sleep(FROZEN_S if "frozen" in kinds else TROUBLE_S)
            heal(gateway, *troubled)
            done.append(" and ".join(kinds))
    record_property("troubles", ", ".join(done))
    print(f"troubles: {done}")
    judge(traffic, members, record_property)


def test_the_gateway_and_every_backend_are_restarted_under_load(
    members: list[Member], gateway: Gateway, record_property: Any
) -> None:
    """A deployment: what is under way is finished, and no request fails."""
    for member in members:
        until(lambda member=member: seen_as_well(gateway, member), 10, "the first checks")
    with Traffic(gateway.port) as traffic:
        before = {worker.pid for worker in gateway.workers()}
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.log.count(" serves\n") >= 4, 20, "both workers are replaced")
        for member in members:
            member.end()
            heal(gateway, member)
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.log.count(" serves\n") >= 6, 20, "both workers are replaced")
        time.sleep(1)
    until(lambda: not before & {worker.pid for worker in gateway.workers()}, 20, "the first workers have ended")
    judge(traffic, members, record_property)
    assert set(traffic.plain.values()) == {200}
    assert set(traffic.keyed.values()) == {"done"}
