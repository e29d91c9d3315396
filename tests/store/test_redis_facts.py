"""What `fastgw check` learns from each kind of Redis: one server, Sentinel, a Cluster."""

from __future__ import annotations

import asyncio

import pytest

from fastgw.cutover.redis_facts import RedisFacts, gather
from fastgw.store.keys import Keys
from tests.support.valkey import Cluster, SentinelSet, Valkey


def ask(url: str) -> RedisFacts:
    return asyncio.run(gather(url, None, None, Keys()))


@pytest.mark.parametrize("kind", ["valkey", "sentinels", "cluster"])
def test_a_good_one_lets_all_pass_and_keeps_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    server: Valkey | SentinelSet | Cluster = request.getfixturevalue(kind)
    for number in range(20):
        server.admin.set(f"worker:w{number}:status", "idle")
    server.admin.zadd("gateway:ratelimit:203.0.113.7", {b"1": 1, b"2": 2})
    server.admin.zadd("gateway:ratelimit:key:ops", {b"1": 1})
    facts = ask(server.url)
    assert facts.problem == facts.refused == ""
    assert facts.denied_commands == facts.denied_keys == []
    assert (facts.workers, facts.windows, facts.is_complete) == (20, {"203.0.113.7": 2}, True)
    assert not list(server.admin.scan_iter("gateway:check:*"))


def test_many_keys_of_others_are_told_by_kind(valkey: Valkey) -> None:
    pipeline = valkey.admin.pipeline()
    for number in range(3000):
        pipeline.set(f"session:{number:032x}", 1)
    pipeline.set("gateway:workers", "[]")
    pipeline.execute()
    facts = ask(valkey.url)
    assert facts.others == [("session:*", 3000)]
    assert facts.elsewhere is None


def test_looking_through_the_keys_ends_in_time_and_says_so(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    valkey.admin.execute_command("DEBUG", "POPULATE", 5000, "others")
    monkeypatch.setattr("fastgw.cutover.redis_facts.SCAN_S", 0.0)
    facts = ask(valkey.url)
    assert not facts.is_complete
    assert 0 < facts.others[0][1] < 5000


def test_a_replica_is_known_by_what_it_refuses(sentinels: SentinelSet) -> None:
    replica = next(one for one in sentinels.servers if one is not sentinels.master())
    assert "replica" in ask(replica.url).refused


def test_a_server_that_hangs_is_told(valkey: Valkey) -> None:
    valkey.freeze()
    facts = ask(valkey.url)
    valkey.thaw()
    assert facts.kind == "down"
    assert "no answer within" in facts.problem
