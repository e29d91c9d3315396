"""The two places where requests are refused, without a server: who is let in, who waits for a refusal, what is told."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, cast

import orjson
import pytest

from fastgw.errors import SERVICE_UNAVAILABLE, GatewayError
from fastgw.forwarding.lag import TICK_S
from fastgw.forwarding.shed import QUIET_TICKS, REFUSALS_PER_TICK, Shed
from tests.pure.asgi import accepted, exchange
from tests.pure.loop import in_loop

BACKEND = cast("Any", object())


def name(_fields: Any) -> bytes:
    return b"r-1"


def request(target: bytes = b"/api/v1/queue/stats") -> Any:
    x = accepted(exchange(target=target))
    x.attempts = 1
    return x


def full(shed: Shed) -> None:
    """As if the backends had been found to be full."""
    shed.limit.value = 2.0
    shed.limit.waiting = 2
    shed.limit._refusal_at = shed.limit._last_answer = 1e9


@in_loop
async def test_nothing_is_refused_without_a_reason() -> None:
    shed = Shed(name)
    for _ in range(1000):
        x = request()
        assert shed.door() == ""
        assert shed.gate(x) is None
        shed.enter(x)
        assert x.among == 1
        shed.answered(x, BACKEND, 200, 0.001)
        shed.leave(x)
    assert shed.limit.waiting == 0
    assert shed.told()["refused"] == {"lag": 0, "backend": 0}
    shed.close()


@in_loop
async def test_who_waits_is_counted_once_and_until_its_head_or_its_end() -> None:
    shed = Shed(name)
    failed, answered = request(), request()
    shed.enter(failed)
    shed.enter(answered)
    assert (failed.among, answered.among, shed.limit.waiting) == (1, 2, 2)
    shed.answered(answered, BACKEND, 200, 0.001)
    shed.leave(answered)
    assert shed.limit.waiting == 1
    shed.leave(failed)
    shed.leave(failed)
    assert shed.limit.waiting == 0
    shed.close()


@pytest.mark.parametrize("target", [b"/api/v1/jobs/sync?timeout=60", b"/api/v1/workers/w-1/next-job"])
@in_loop
async def test_what_waits_by_design_does_not_count(target: bytes) -> None:
    shed = Shed(name)
    x = request(target)
    shed.enter(x)
    shed.answered(x, BACKEND, 200, 30.0)
    shed.leave(x)
    assert shed.limit.waiting == 0
    assert not shed.limit._kinds
    shed.close()


@in_loop
async def test_paths_that_differ_by_an_id_are_one_kind_and_failures_are_none() -> None:
    shed = Shed(name)
    for target in (b"/api/v1/jobs/3f2a-01", b"/api/v1/jobs/9c", b"/api/v1/workers/17/config", b"/regions"):
        x = request(target)
        shed.enter(x)
        shed.answered(x, BACKEND, 200, 0.1)
    assert len(shed.limit._kinds) == 3
    for status, attempts in ((404, 1), (503, 1), (200, 2)):
        x = request(b"/other-%d" % status)
        x.attempts = attempts
        shed.enter(x)
        shed.answered(x, BACKEND, status, 0.1)
    assert len(shed.limit._kinds) == 3
    assert shed.limit.waiting == 0
    shed.close()


@in_loop
async def test_the_first_refusals_are_at_once_and_the_others_wait_for_their_turn() -> None:
    shed = Shed(name)
    shed.door()
    full(shed)
    waits = []
    for number in range(REFUSALS_PER_TICK + 5):
        x = request()
        if number < REFUSALS_PER_TICK:
            with pytest.raises(GatewayError) as refused:
                shed.gate(x)
            assert refused.value.kind is SERVICE_UNAVAILABLE
            assert refused.value.retry_after_s == 1
        else:
            wait = shed.gate(x)
            assert inspect.iscoroutine(wait)
            waits.append(asyncio.create_task(wait))
        assert x.shed == "backend"
    await asyncio.sleep(0)
    assert not any(task.done() for task in waits)
    async with asyncio.timeout(10 * TICK_S):
        ended = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(one) for one in ended} == {GatewayError}
    assert shed.told()["refused"]["backend"] == REFUSALS_PER_TICK + 5
    shed.close()


@in_loop
async def test_the_door_refuses_when_the_process_is_late() -> None:
    shed = Shed(name)
    assert shed.door() == ""
    shed.lag.left = 1
    assert shed.door() == ""
    assert shed.door() == "lag"
    shed.close()


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("must_close", [False, True])
@in_loop
async def test_who_is_turned_away_is_told_when_to_come_again(kind: str, must_close: bool) -> None:
    shed = Shed(name)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await shed.turn_away({"type": kind, "headers": [], "method": "GET"}, send, "lag", must_close=must_close)
    start, end = sent
    assert start["type"].endswith("http.response.start")
    assert start["type"].startswith(kind)
    assert start["status"] == 503
    fields = dict(start["headers"])
    assert fields[b"retry-after"] == b"1"
    assert fields[b"x-request-id"] == b"r-1"
    assert int(fields[b"content-length"]) == len(end["body"])
    assert (b"connection" in fields) is must_close
    error = orjson.loads(end["body"])["error"]
    assert error["code"] == "SERVICE_UNAVAILABLE"
    assert error["requestId"] == "r-1"
    assert error["retryAfter"] == 1
    assert shed.told()["refused"] == {"lag": 1, "backend": 0}
    shed.close()


@in_loop
async def test_those_turned_away_beyond_a_part_wait_for_their_turn() -> None:
    shed = Shed(name)
    shed._turns = 0
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    waits = [
        asyncio.create_task(
            shed.turn_away({"type": "http", "headers": [], "method": "HEAD"}, send, "lag", must_close=False)
        )
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    assert not sent
    shed.close()
    await asyncio.gather(*waits)
    assert [message["body"] for message in sent if "body" in message] == [b""] * 3


@in_loop
async def test_the_timer_rests_when_nothing_comes_and_wakes_with_the_next_request() -> None:
    shed = Shed(name)
    assert shed._timer is None
    for _ in range(3):
        assert shed.door() == ""
    assert shed._timer is not None
    async with asyncio.timeout(3 * QUIET_TICKS * TICK_S):
        while shed._timer is not None:
            await asyncio.sleep(TICK_S)
    assert shed.door() == ""
    assert shed._timer is not None
    shed.close()


@in_loop
async def test_closing_answers_who_is_kept_waiting() -> None:
    shed = Shed(name)
    full(shed)
    shed._turns = 0
    waits = [asyncio.create_task(cast("Any", shed.gate(request()))) for _ in range(3)]
    await asyncio.sleep(0)
    shed.close()
    assert {type(one) for one in await asyncio.gather(*waits, return_exceptions=True)} == {GatewayError}


@in_loop
@pytest.mark.parametrize(("kind", "is_readable"), [("http", True), ("websocket", False)])
async def test_a_page_of_another_origin_can_read_the_refusal(kind: str, is_readable: bool) -> None:
    allow = (b"access-control-allow-origin", b"*")
    shed = Shed(name, lambda headers: [allow] if (b"origin", b"https://app.test") in headers else [])
    x = exchange((b"host", b"gw"), (b"origin", b"https://app.test"), type=kind)
    await shed.turn_away(x.scope, x.send, "lag", must_close=False)
    assert (allow in x.send.__self__.sent[0]["headers"]) is is_readable  # type: ignore[attr-defined]
    shed.close()
