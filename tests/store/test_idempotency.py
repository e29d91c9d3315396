"""Claims on a real Redis, as the user that the gateway has there: one wins, outcomes stay, leases end."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from fastgw.errors import GatewayError
from fastgw.idempotency import ledger
from fastgw.idempotency.claim import CLAIM, MAX_KEYED_BODY, Claim
from fastgw.idempotency.fingerprint import record_name
from fastgw.idempotency.ledger import LEASE_MS
from fastgw.idempotency.record import MAX_BODY_BYTES, MAX_RECORD_BYTES
from fastgw.store.hot import Store
from fastgw.store.keys import Keys
from fastgw.store.topology import Topology
from tests.pure.asgi import HOST, Client, accepted, exchange, piece
from tests.pure.loop import in_loop
from tests.support.ports import RefusingPort

TTL_S = 3600
KEY = b"8e03978e-40d5-43dd-bc93-6894a57f9324"
NAME = f"gateway:idempotency:{record_name(b'', KEY).decode()}"
PRINT = b"a" * 64
OTHER_PRINT = b"b" * 64


@asynccontextmanager
async def opened(url: str):
    store = Store(Keys(), Topology(url))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def door(store: Store, holder: bytes = b"c0ffee", ttl_s: int = TTL_S) -> Claim:
    return Claim(store, holder, lambda _noted: b"", ttl_s)


def submission(body: bytes = b'{"type":"llm"}', key: bytes = KEY, *fields: tuple[bytes, bytes], target=b"/api/v1/jobs"):
    length = (b"content-length", b"%d" % len(body))
    client = Client(piece(body, more=True))
    some = [HOST, length, (b"idempotency-key", key), *fields]
    return accepted(exchange(*some, method="POST", target=target, client=client), max_body_bytes=10**8)


async def passes(claim: Claim, x) -> bool:
    """Whether it goes on to a backend."""
    waiting = claim(x)
    assert waiting is not None
    return await waiting is None


async def refused(claim: Claim, x):
    answer = await claim(x)
    assert answer is not None
    return answer


def code(answer) -> str:
    return json.loads(answer.body)["error"]["code"]


def complete(x, status: int = 201, body: bytes = b'{"job_id":"1"}', *fields: tuple[bytes, bytes]) -> None:
    """What deliver does with a whole response."""
    x.was_sent = True
    x.fetch.on_head(x, status, [(b"content-type", b"application/json"), *fields])
    x.fetch.piece(body)
    x.fetch.end(x)
    x.fetch.broken()


async def turns(condition, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def written(valkey, name: str = NAME) -> dict[str, object]:
    return json.loads(valkey.admin.get(name))


# -- races --------------------------------------------------------------------------------------------


@in_loop
async def test_of_many_that_claim_at_once_exactly_one_wins(valkey):
    async with opened(valkey.url) as one, opened(valkey.url) as two:
        doors = [door(one, b"a"), door(two, b"b"), door(one, b"c")]
        for number in range(20):
            key = b"race-%d" % number
            xs = [(doors[n % 3], submission(key=key)) for n in range(60)]
            answers = await asyncio.gather(*[claim(x) for claim, x in xs])
            assert answers.count(None) == 1
            assert {code(answer) for answer in answers if answer is not None} == {"IDEMPOTENCY_IN_PROGRESS"}
        assert len(valkey.admin.keys("gateway:idempotency:*")) == 20
        assert valkey.admin.execute_command("ACL LOG") == []


@in_loop
async def test_claims_on_a_cluster(cluster):
    async with opened(cluster.url) as one, opened(cluster.url) as two:
        ours, theirs = door(one, b"a"), door(two, b"b")
        for number in range(30):
            key = b"spread-%d" % number
            mine = submission(key=key)
            answers = await asyncio.gather(ours(mine), theirs(submission(key=key)))
            assert sorted(answer is None for answer in answers) == [False, True]
        await ours.renew()
        await theirs.renew()
        x = submission(key=b"done")
        assert await passes(ours, x)
        complete(x)
        await turns(lambda: ours._ledger.unconfirmed == 0)
        answer = await refused(theirs, submission(key=b"done"))
        assert (answer.status, answer.body) == (201, b'{"job_id":"1"}')


# -- what is told -------------------------------------------------------------------------------------


@in_loop
async def test_the_answer_is_replayed_to_the_same_request_and_to_no_other(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        x = submission()
        assert await passes(claim, x)
        assert x.body == b'{"type":"llm"}'
        complete(x, 201, b'{"job_id":"\xc3\xbc"}', (b"x-mine", b"caf\xe9"), (b"set-cookie", b"a=1"))
        answer = await refused(door(store, b"other"), submission())
        assert (answer.status, answer.body) == (201, b'{"job_id":"\xc3\xbc"}')
        fields = dict(answer.fields)
        assert fields[b"idempotency-replayed"] == b"true"
        assert fields[b"x-mine"] == b"caf\xe9"
        assert fields[b"content-length"] == b"15"
        assert b"set-cookie" not in fields
        for other in (
            submission(b'{"type": "llm"}'),
            submission(target=b"/api/v1/jobs?x=1"),
            submission(b'{"type":"llm"}', KEY, (b"content-type", b"text/plain")),
        ):
            answer = await refused(claim, other)
            assert (answer.status, code(answer)) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert code(await refused(claim, submission(key=b'"%b"' % KEY, body=b"x"))) == "IDEMPOTENCY_KEY_REUSED"


@in_loop
async def test_nothing_of_key_and_request_stands_in_redis(valkey):
    async with opened(valkey.url) as store:
        with valkey.monitor() as seen:
            claim = door(store)
            x = submission(b'{"secret":"body"}')
            assert await passes(claim, x)
            await claim.renew()
            complete(x)
            await turns(lambda: written(valkey)["state"] == "done")
        told = b" ".join(argument for call in seen.calls for argument in call.args)
        assert KEY not in told
        assert b"secret" not in told


@in_loop
async def test_records_end_after_the_ttl(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        x = submission()
        assert await passes(claim, x)
        assert 0 <= TTL_S * 1000 + LEASE_MS - valkey.admin.pttl(NAME) < 5000
        complete(x)
        await turns(lambda: written(valkey)["state"] == "done")
        assert 0 <= TTL_S * 1000 - valkey.admin.pttl(NAME) < 5000
        short = door(store, b"short", ttl_s=1)
        x = submission(key=b"short")
        assert await passes(short, x)
        complete(x)
        assert (await refused(short, submission(key=b"short"))).status == 201
        await asyncio.sleep(1.1)
        assert await passes(short, submission(b"another", b"short"))


@in_loop
async def test_a_request_of_which_nothing_was_sent_gives_its_claim_back(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        for way in ("rescue", "broken"):
            x = submission()
            assert await passes(claim, x)
            if way == "rescue":
                assert x.fetch.rescue(x) is None
            x.fetch.broken()
            await turns(lambda: valkey.admin.exists(NAME) == 0)
        assert claim._ledger.held == 0


@in_loop
async def test_a_request_that_was_sent_and_not_answered_is_unknown_for_ever(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        x = submission()
        assert await passes(claim, x)
        x.was_sent = True
        x.fetch.on_head(x, 200, [])
        x.fetch.piece(b"half")
        x.fetch.broken()
        for _ in range(3):
            answer = await refused(claim, submission())
            assert (answer.status, code(answer)) == (409, "IDEMPOTENCY_OUTCOME_UNKNOWN")
        assert code(await refused(claim, submission(b"other"))) == "IDEMPOTENCY_KEY_REUSED"
        assert valkey.admin.pttl(NAME) > 0


@in_loop
async def test_an_answer_too_large_is_not_kept_and_said_to_be(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        for number, size in enumerate((MAX_BODY_BYTES, MAX_BODY_BYTES + 1)):
            x = submission(key=b"large-%d" % number)
            assert await passes(claim, x)
            complete(x, 200, b'"' * size)
            answer = await refused(claim, submission(key=b"large-%d" % number))
            if number == 0:
                assert (answer.status, len(answer.body)) == (200, size)
            else:
                assert (answer.status, code(answer)) == (409, "IDEMPOTENCY_ANSWER_NOT_KEPT")
                assert "200" in json.loads(answer.body)["error"]["message"]


# -- leases -------------------------------------------------------------------------------------------


async def ask(store: Store, holder: bytes, lease_ms: int, fingerprint: bytes = PRINT, not_after: bytes = b"9" * 16):
    key = store.keys.idempotency(b"f" * 32)
    return await store.run(CLAIM, (key,), not_after, fingerprint, holder, lease_ms, TTL_S * 1000, MAX_RECORD_BYTES)


@in_loop
async def test_a_claim_whose_holder_is_silent_becomes_unknown_and_comes_back_with_it(valkey, monkeypatch):
    async with opened(valkey.url) as store:
        assert (await ask(store, b"a.1", 60))[0] == b"claimed"
        verdict, elapsed = await ask(store, b"b.1", 60)
        assert (verdict, elapsed < 1000) == (b"running", True)
        await asyncio.sleep(0.08)
        assert await ask(store, b"b.1", 60) == [b"unknown"]
        assert await ask(store, b"b.1", 60, OTHER_PRINT) == [b"reused"]
        one = ledger.Ledger(store, TTL_S)
        held = ledger.Held(store.keys.idempotency(b"f" * 32), PRINT, b"a.1", 1)
        one.hold(held)
        await one.renew()  # it was only slow
        assert (await ask(store, b"b.1", 60))[0] == b"running"
        one.settle(held, b"")
        assert (await ask(store, b"b.1", 60))[0] == b"claimed"


@in_loop
async def test_running_claims_are_renewed_and_made_anew_if_redis_lost_them(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        xs = [submission(key=b"many-%d" % number) for number in range(600)]
        for start in range(0, 600, 20):  # few at a time: on a busy machine a hundred take longer than Redis may
            assert set(await asyncio.gather(*[claim(x) for x in xs[start : start + 20]])) == {None}
        name = f"gateway:idempotency:{record_name(b'', b'many-7').decode()}"
        before = written(valkey, name)
        await asyncio.sleep(0.01)
        await claim.renew()
        after = written(valkey, name)
        assert after["until"] > before["until"]
        assert after["since"] == before["since"]
        valkey.flush()
        for _ in range(20):  # a renewal that Redis has not done in time on a busy machine is done by the next
            await claim.renew()
            if valkey.admin.dbsize() == 600:
                break
            await asyncio.sleep(0.1)  # the connection was given up, perhaps
        assert valkey.admin.dbsize() == 600
        assert code(await refused(door(store, b"b"), submission(key=b"many-7"))) == "IDEMPOTENCY_IN_PROGRESS"
        for x in xs:
            complete(x)
        await claim.renew()
        assert written(valkey, name)["state"] == "done"


@in_loop
async def test_a_renewal_that_comes_too_late_loses_nothing(valkey, monkeypatch):
    async with opened(valkey.url) as store:
        claim = door(store)
        assert await passes(claim, submission())
        before = written(valkey)
        monkeypatch.setattr(store, "not_after", lambda _key: b"1")
        await claim.renew()
        assert written(valkey) == before
        assert claim._ledger.held == 1


@in_loop
async def test_who_lost_its_key_to_another_does_not_take_it_back(valkey):
    async with opened(valkey.url) as store:
        ours, theirs = door(store, b"a"), door(store, b"b")
        x, y = submission(), submission()
        assert await passes(ours, x)
        valkey.admin.delete(NAME)
        assert await passes(theirs, y)
        await ours.renew()
        assert ours._ledger.held == 0
        complete(x, 201, b"ours")
        complete(y, 201, b"theirs")
        assert (await refused(ours, submission())).body == b"theirs"


@in_loop
async def test_a_call_that_comes_too_late_does_nothing(valkey):
    async with opened(valkey.url) as store:
        assert await ask(store, b"a.1", 1000, not_after=b"1") == [b"late"]
        assert valkey.admin.dbsize() == 0


# -- what others wrote --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"not JSON",
        b"[]",
        b'{"state":"done"}',
        b'{"state":"running","holder":"a.1","print":"%b","since":1,"until":"x"}' % PRINT,
        b'{"state":"done","holder":"a.1","print":"%b","status":200,"fields":[["a","b\\r\\nc: d"]],"body":""}' % PRINT,
        b"\xff" * 5000,
        7,
    ],
)
def test_what_others_wrote_is_never_believed_nor_run_over(valkey, foreign):
    @in_loop
    async def body() -> None:
        async with opened(valkey.url) as store:
            claim = door(store)
            x = submission()
            assert await passes(claim, x)
            name = next(iter(valkey.admin.keys("gateway:idempotency:*")))
            own = written(valkey, name)["print"].encode()
            valkey.admin.delete(name)
            if foreign == 7:
                valkey.admin.rpush(name, "x")
            else:
                valkey.admin.set(name, foreign.replace(PRINT, own))
            answer = await refused(claim, submission())
            assert code(answer) == "IDEMPOTENCY_OUTCOME_UNKNOWN"
            assert valkey.admin.pttl(name) > 0 or foreign in {b"", 7}
            if foreign in {b"not JSON", 7, b""}:
                complete(x)  # who holds the claim puts the truth there
                assert (await refused(claim, submission())).status == 201

    body()


@in_loop
async def test_a_huge_value_is_not_fetched(valkey):
    async with opened(valkey.url) as store:
        valkey.admin.set(NAME, b'{"state":"done","holder":"a.1","print":"%b"' % PRINT + b" " * MAX_RECORD_BYTES)
        key = store.keys.idempotency(record_name(b"", KEY))
        reply = await store.run(CLAIM, (key,), b"9" * 16, PRINT, b"b.1", 1000, 1000, MAX_RECORD_BYTES)
        assert reply == [b"unknown"]


# -- Redis away ---------------------------------------------------------------------------------------


@in_loop
async def test_without_redis_it_is_refused():
    refusing = RefusingPort()
    try:
        async with opened(f"redis://127.0.0.1:{refusing.port}") as store:
            claim = door(store)
            with pytest.raises(GatewayError) as raised:
                await claim(submission())
            assert raised.value.kind.code == "SERVICE_UNAVAILABLE"
            assert claim.told()["state"] == "degraded"
    finally:
        refusing.close()


@in_loop
async def test_a_claim_that_was_not_confirmed_is_given_back(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        valkey.freeze()
        with pytest.raises(GatewayError):
            await claim(submission())
        valkey.thaw()
        await turns(lambda: store.is_up)
        await claim.renew()
        await turns(lambda: claim._ledger.unconfirmed == 0)
        assert valkey.admin.exists(NAME) == 0
        assert await passes(claim, submission())


@in_loop
async def test_an_outcome_that_redis_did_not_take_is_written_when_it_is_back(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        x = submission()
        assert await passes(claim, x)
        valkey.restart()
        complete(x)
        await turns(lambda: claim._ledger.unconfirmed == 1)
        await turns(lambda: store.is_up)
        await claim.renew()
        await turns(lambda: claim._ledger.unconfirmed == 0)
        assert (await refused(claim, submission())).status == 201


@in_loop
async def test_full_memory_refuses_claims_and_keeps_outcomes_back(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        x = submission()
        assert await passes(claim, x)
        valkey.config(maxmemory=1, maxmemory_policy="noeviction")
        with pytest.raises(GatewayError):
            await claim(submission(key=b"another"))
        complete(x)
        await turns(lambda: claim._ledger.unconfirmed == 1)
        valkey.config(maxmemory=0)
        await claim.renew()
        await turns(lambda: claim._ledger.unconfirmed == 0)
        assert (await refused(claim, submission())).status == 201


@in_loop
async def test_outcomes_that_wait_are_bounded(valkey, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_UNCONFIRMED", 2)
    monkeypatch.setattr(ledger, "MAX_UNCONFIRMED_BYTES", 1000)
    async with opened(valkey.url) as store:
        claim = door(store)
        xs = [submission(key=b"wait-%d" % number) for number in range(3)]
        for x in xs:
            assert await passes(claim, x)
        valkey.stop()
        await turns(lambda: not store.is_up)
        for x in xs:
            complete(x, 200, b"x" * 600)
        assert claim._ledger.unconfirmed == 2
        valkey.start()
        await turns(lambda: store.is_up)
        await claim.close()
        assert (await refused(claim, submission(key=b"wait-0"))).body == b"x" * 600
        assert code(await refused(claim, submission(key=b"wait-1"))) == "IDEMPOTENCY_ANSWER_NOT_KEPT"
        assert await passes(claim, submission(key=b"wait-2")), "its record went with that Redis"


@in_loop
async def test_many_outcomes_are_written_again_a_few_at_a_time(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        xs = [submission(key=b"again-%d" % number) for number in range(40)]
        for x in xs:
            assert await passes(claim, x)
        valkey.restart()
        for x in xs:
            complete(x, 200, b"x" * 300_000)
        await turns(lambda: claim._ledger.unconfirmed == 40)
        await turns(lambda: store.is_up)
        while claim._ledger.unconfirmed:
            await claim.renew()
        assert claim._ledger._unconfirmed_bytes == 0
        for number in range(40):
            assert len((await refused(claim, submission(key=b"again-%d" % number))).body) == 300_000


# -- the body -----------------------------------------------------------------------------------------


@in_loop
async def test_a_body_over_the_bound_is_refused_before_redis_is_asked(valkey):
    async with opened(valkey.url) as store:
        claim = door(store)
        client = Client(*[piece(b"x" * 65536, more=True)] * 17)
        chunked = [HOST, (b"transfer-encoding", b"chunked"), (b"idempotency-key", KEY)]
        streamed = accepted(exchange(*chunked, method="POST", client=client), max_body_bytes=10**8)
        for x in (submission(b"x" * (MAX_KEYED_BODY + 1)), streamed):
            with pytest.raises(GatewayError) as raised:
                await claim(x)
            assert raised.value.kind.status == 413
        assert valkey.admin.dbsize() == 0
        assert await passes(claim, submission(b"x" * MAX_KEYED_BODY))
