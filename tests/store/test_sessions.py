"""auth/session.lua and auth/sessions.py on a real Redis, as the user that the gateway has there."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest

from fastgw.auth import sessions
from fastgw.auth.sessions import KEY, MAX_FLUSH, MAX_WORKERS, TOKEN, Sessions
from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.topology import Topology
from tests.pure.loop import in_loop

D = bytes(range(32))
NAME = f"gateway:session:{D.hex()}"
IDENTITY = f"token:{D.hex()[:12]}"
HOUR_MS = 3_600_000


@asynccontextmanager
async def opened(url: str):
    store = Store(Keys(), Topology(url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def written(valkey, name: str = NAME) -> dict[str, object]:
    return json.loads(valkey.admin.get(name))


def use(some: Sessions, session: sessions.Session, times: int) -> None:
    for _ in range(times):
        some.count(session)


@in_loop
async def test_a_configured_credential_leaves_a_session(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        use(some, some.configured(TOKEN, D, IDENTITY), 3)
        await some.flush()
        content = written(valkey)
        assert content.keys() == {"type", "identity", "first_seen", "last_seen", "requests"}
        assert (content["type"], content["identity"], content["requests"]) == ("token", IDENTITY, 3)
        assert abs(content["first_seen"] - time.time()) < 5
        assert HOUR_MS - 5000 < valkey.admin.pttl(NAME) <= HOUR_MS


@in_loop
async def test_the_counts_of_all_processes_add_up(valkey, monkeypatch):
    monkeypatch.setattr(sessions, "FLUSH_S", 0.0)
    async with opened(valkey.url) as store:
        ours, theirs = Sessions(store, names_worker=False), Sessions(store, names_worker=False)
        for some in (ours, theirs):
            one = some.configured(KEY, D, "key:ops")
            for _ in range(3):
                use(some, one, 2)
                await some.flush()
        assert written(valkey)["requests"] == 12
        await ours.flush()
        assert written(valkey)["requests"] == 12, "what was told is not told again"


@in_loop
async def test_what_was_used_waits_for_its_turn_and_what_is_new_does_not(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        one = some.configured(TOKEN, D, IDENTITY)
        use(some, one, 1)
        await some.flush()
        use(some, one, 1)
        await some.flush()
        assert (written(valkey)["requests"], one.pending) == (1, 1)


@in_loop
async def test_at_the_end_all_is_written(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        one = some.configured(TOKEN, D, IDENTITY)
        use(some, one, 1)
        await some.flush()
        use(some, one, 1)
        for number in range(MAX_FLUSH + 10):
            some.count(some.configured(TOKEN, number.to_bytes(32, "big"), "x"))
        await some.close()
        assert written(valkey)["requests"] == 2
        assert valkey.admin.dbsize() == MAX_FLUSH + 11


@in_loop
async def test_a_flush_is_bounded_and_the_next_one_goes_on(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        for number in range(MAX_FLUSH + 10):
            some.count(some.configured(TOKEN, number.to_bytes(32, "big"), "x"))
        await some.flush()
        assert valkey.admin.dbsize() == MAX_FLUSH
        await some.flush()
        assert valkey.admin.dbsize() == MAX_FLUSH + 10


@pytest.mark.parametrize(
    "foreign",
    [b"", b"not JSON", b"[]", b"null", b"7", b'"text"', b"\xff\x00", b"[" * 2000, b'{"requests": 1e999}', b"{}"],
)
@pytest.mark.parametrize("names_worker", [False, True])
def test_what_others_wrote_is_replaced_and_not_believed(valkey, foreign, names_worker):
    valkey.admin.set(NAME, foreign)

    @in_loop
    async def body() -> None:
        async with opened(valkey.url) as store:
            some = Sessions(store, names_worker=names_worker)
            assert await some.recall(D) is None
            if names_worker:
                await some.remember(D, "w-1", None)
                assert written(valkey)["workers"] == ["w-1"]
            else:
                use(some, some.configured(TOKEN, D, IDENTITY), 1)
                await some.flush()
                assert written(valkey)["requests"] == 1
            assert valkey.admin.pttl(NAME) > 0

    body()


@in_loop
async def test_a_key_of_another_type_is_replaced(valkey):
    valkey.admin.rpush(NAME, "x")
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=True)
        assert await some.recall(D) is None
        await some.remember(D, "w-1", None)
        assert written(valkey)["identity"] == "worker:w-1"


@in_loop
async def test_numbers_that_others_wrote_do_not_spoil_the_count(valkey):
    content = {"type": "token", "identity": IDENTITY, "first_seen": -5, "requests": 1e300}
    valkey.admin.set(NAME, json.dumps(content))
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        use(some, some.configured(TOKEN, D, IDENTITY), 2)
        await some.flush()
        assert written(valkey)["requests"] == 2
        assert written(valkey)["first_seen"] > 1e9


@in_loop
async def test_a_yes_is_known_to_all_processes_at_once(valkey):
    async with opened(valkey.url) as store:
        ours, theirs = Sessions(store, names_worker=True), Sessions(store, names_worker=True)
        one = await ours.remember(D, "w-1", None)
        other = await theirs.recall(D)
        assert other is not None
        assert (other.identity, other.workers) == (one.identity, one.workers) == ("worker:w-1", ("w-1",))
        await theirs.remember(D, "w-2", other)
        again = await ours.recall(D)
        assert again is one
        assert (again.identity, again.workers) == ("worker:w-1", ("w-1", "w-2"))


@in_loop
async def test_a_yes_lasts_an_hour_whatever_comes_after_it(valkey, monkeypatch):
    monkeypatch.setattr(sessions, "FLUSH_S", 0.0)
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=True)
        one = await some.remember(D, "w-1", None)
        valkey.admin.pexpire(NAME, 60_000)
        await some.remember(D, "w-2", one)
        use(some, one, 5)
        await some.flush()
        assert written(valkey)["requests"] == 5
        assert 0 < valkey.admin.pttl(NAME) <= 60_000
        valkey.admin.persist(NAME)
        use(some, one, 5)
        await some.flush()
        assert 0 < valkey.admin.pttl(NAME) <= HOUR_MS, "one that lost its end gets another"


@in_loop
async def test_a_verified_session_that_was_deleted_stays_deleted_and_is_good_no_more(valkey, monkeypatch):
    monkeypatch.setattr(sessions, "FLUSH_S", 0.0)
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=True)
        one = await some.remember(D, "w-1", None)
        use(some, one, 1)
        valkey.admin.delete(NAME)
        await some.flush()
        assert valkey.admin.get(NAME) is None
        assert one.good_until == 0.0
        assert await some.recall(D) is None


@in_loop
async def test_a_session_of_a_configured_token_is_no_yes(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        use(some, some.configured(TOKEN, D, IDENTITY), 1)
        await some.flush()
        assert await Sessions(store, names_worker=False).recall(D) is None


@in_loop
async def test_the_workers_of_a_token_are_bounded_and_the_first_stays(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=True)
        one = await some.remember(D, "w-0", None)
        for number in range(1, MAX_WORKERS + 5):
            one = await some.remember(D, f"w-{number}", one)
        await some.remember(D, "w-60", one)
        workers = written(valkey)["workers"]
        assert len(workers) == MAX_WORKERS
        assert workers[0] == "w-0"
        assert workers[-1] == f"w-{MAX_WORKERS + 4}"
        assert (await some.recall(D)).workers == tuple(workers)


@in_loop
async def test_another_worker_after_the_session_was_lost_begins_a_new_one(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=True)
        one = await some.remember(D, "w-1", None)
        valkey.admin.delete(NAME)
        two = await some.remember(D, "w-2", one)
        assert (two.identity, two.workers) == ("worker:w-2", ("w-2",))


@in_loop
async def test_counts_are_kept_while_redis_refuses_and_given_up_when_their_fate_is_unknown(valkey):
    async with opened(valkey.url) as store:
        some = Sessions(store, names_worker=False)
        one = some.configured(TOKEN, D, IDENTITY)
        use(some, one, 3)
        valkey.config(maxmemory=1, maxmemory_policy="noeviction")
        await some.flush()
        assert one.pending == 3
        valkey.config(maxmemory=0)
        valkey.freeze()
        await some.flush()
        valkey.thaw()
        assert one.pending == 0
        async with asyncio.timeout(5):
            while not store.is_up:
                await asyncio.sleep(0.01)
        use(some, one, 1)
        await some.flush()
        assert written(valkey)["requests"] in {1, 4}


@in_loop
async def test_sessions_on_a_cluster(cluster):
    async with opened(cluster.url) as store:
        some = Sessions(store, names_worker=True)
        for number in range(30):
            await some.remember(bytes([number]) * 32, "w-1", None)
        other = Sessions(store, names_worker=True)
        for number in range(30):
            assert (await other.recall(bytes([number]) * 32)).identity == "worker:w-1"
