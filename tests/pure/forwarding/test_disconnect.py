"""Watch: a departure is noticed, without a task for a fast request and with one only for a slow one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fastgw.errors import REQUEST_TIMEOUT
from fastgw.forwarding import disconnect
from fastgw.forwarding.disconnect import TICK_SECONDS, TICKS_PER_SECOND, Watch
from fastgw.forwarding.failures import GivenUp
from fastgw.upstream.errors import Aborted
from tests.pure.asgi import Client, exchange, piece
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import turns


class Held:
    """What an exchange holds of its backend: notes what it is told."""

    def __init__(self) -> None:
        self.nudges = 0
        self.aborted: Any = None

    def nudge(self) -> None:
        self.nudges += 1

    def abort(self, error: Any = None) -> None:
        self.aborted = error


def slow(client: Client, *, body_read: bool = True) -> Any:
    x = exchange(client=client)
    x.body_read = body_read
    x.connection = Held()
    return x


def tick(watch: Watch, times: int = 1) -> None:
    """Look `times` times, as the timer would."""
    for _ in range(times):
        if watch._timer is not None:
            watch._timer.cancel()
        watch._tick()


@in_loop
async def test_a_fast_request_costs_no_task() -> None:
    watch, client = Watch(), Client()
    before = len(asyncio.all_tasks())
    x = slow(client)
    watch.add(x)
    tick(watch)
    watch.discard(x)
    tick(watch, 3)
    assert (len(watch), client.waiting, len(asyncio.all_tasks())) == (0, 0, before)
    assert watch._timer is None, "armed only while there is something to look at"


@in_loop
async def test_one_timer_serves_all() -> None:
    watch = Watch()
    watch.add(slow(Client()))
    timer = watch._timer
    watch.add(slow(Client()))
    assert watch._timer is timer
    assert repr(watch) == "<Watch new=2 slow=0 watched=0>"
    watch.close()


@in_loop
async def test_a_departure_closes_the_backend_s_connection_in_two_ticks() -> None:
    watch, client = Watch(), Client()
    x = slow(client)
    watch.add(x)
    client.leave()
    async with asyncio.timeout(4 * TICK_SECONDS):
        while x.connection.aborted is None:
            await asyncio.sleep(0.001)
    assert isinstance(x.connection.aborted, Aborted)
    assert x.client_gone
    watch.discard(x)
    watch.close()


@in_loop
async def test_left_over_body_messages_are_no_departure() -> None:
    watch, client = Watch(), Client(piece(b""), piece(b""))
    x = slow(client)
    watch.add(x)
    tick(watch, 2)
    await turns()
    assert not x.client_gone
    client.leave()
    await turns()
    assert x.client_gone
    watch.discard(x)
    watch.close()


@in_loop
async def test_while_the_body_is_being_received_nobody_else_receives() -> None:
    watch, client = Watch(), Client()
    x = slow(client, body_read=False)
    watch.add(x)
    tick(watch, 4)
    await turns()
    assert client.waiting == 0
    x.body_read = True
    tick(watch)
    await turns()
    assert client.waiting == 1
    watch.discard(x)
    watch.close()


@in_loop
async def test_a_slow_request_is_nudged() -> None:
    watch = Watch()
    x = slow(Client())
    watch.add(x)
    tick(watch)
    assert x.connection.nudges == 0
    tick(watch)
    assert x.connection.nudges == 1
    watch.discard(x)
    watch.close()


@in_loop
async def test_a_request_that_is_tried_again_has_one_task_still() -> None:
    """deliver adds it at each try; two tasks in one `receive` would steal each other's message, and one would stay."""
    watch, client = Watch(), Client()
    x = slow(client)
    watch.add(x)
    tick(watch, 2)
    await turns()
    watch.add(x)
    tick(watch, 3)
    await turns()
    assert client.waiting == 1
    assert x.connection.nudges >= 2, "the second try's connection too is a slow one's"
    watch.discard(x)
    await turns()
    assert client.waiting == 0
    watch.close()


@in_loop
async def test_the_end_of_a_request_ends_its_task() -> None:
    watch, client = Watch(), Client()
    x = slow(client)
    watch.add(x)
    tick(watch, 2)
    await turns()
    assert client.waiting == 1
    watch.discard(x)
    watch.discard(x)
    await turns()
    assert (client.waiting, len(watch), x.watch) == (0, 0, None)
    watch.close()


@in_loop
async def test_close_ends_all_tasks() -> None:
    watch, client = Watch(), Client()
    watch.add(slow(client))
    tick(watch, 2)
    await turns()
    watch.close()
    await turns()
    assert (client.waiting, watch._timer) == (0, None)


@pytest.mark.parametrize("head_sent", [False, True])
@in_loop
async def test_a_client_that_stalls_is_given_up(head_sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[Any] = []
    monkeypatch.setattr(disconnect, "cut_off", cut.append)
    watch = Watch()
    x = slow(Client())
    x.head_sent = head_sent
    x.client_deadline = asyncio.get_running_loop().time() - 1
    watch.add(x)
    tick(watch, TICKS_PER_SECOND)
    assert x.client_stalled
    assert isinstance(x.connection.aborted, GivenUp)
    assert x.connection.aborted.error.kind is REQUEST_TIMEOUT
    assert cut == ([x.scope] if head_sent else [])
    watch.discard(x)
    watch.close()
