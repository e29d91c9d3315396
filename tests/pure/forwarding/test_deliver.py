"""Deliver over a recording transport: what is written, what is answered, what happens when nobody is there any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fastgw.errors import BAD_GATEWAY, GatewayError
from fastgw.exchange import End, Exchange
from fastgw.forwarding.deliver import Deliver, Limits
from fastgw.forwarding.disconnect import TICK_SECONDS, Watch
from fastgw.routing.backend import Backend
from fastgw.routing.choose import Choose
from fastgw.upstream.pool import Pool
from tests.pure.asgi import HOST, Client, accepted, exchange, piece
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import HandLoop, turns

if TYPE_CHECKING:
    from collections.abc import Coroutine

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Rig:
    """One backend, by hand."""

    def __init__(self, size: int = 4) -> None:
        self.pool = Pool("backend", 8000, size=size)
        self.loop = HandLoop()
        self.pool._loop = self.loop  # type: ignore[assignment]
        self.watch = Watch()
        choose = Choose([Backend("http://backend:8000", b"backend:8000", self.pool)])
        self.deliver = Deliver(choose, self.watch, Limits(5, 5, 1000))

    async def close(self) -> None:
        self.watch.close()
        await self.pool.close()

    def start(self, x: Exchange) -> asyncio.Task[None]:
        coroutine: Coroutine[Any, Any, None] = self.deliver(x)
        return asyncio.get_running_loop().create_task(coroutine)


@in_loop
async def test_a_plain_get() -> None:
    rig, client = Rig(), Client()
    x = accepted(exchange(client=client))
    task = rig.start(x)
    await turns()
    (link,) = rig.loop.links
    assert len(link.transport.writes) == 1
    link.connection.data_received(OK)
    await task
    assert (client.status, client.body, len(client.sent), x.end) == (200, b"ok", 2, End.COMPLETE)
    assert (len(rig.watch), rig.pool.active) == (0, 0)
    await rig.close()


@pytest.mark.parametrize(
    ("method", "fields", "events", "framing"),
    [
        ("POST", [HOST, (b"content-length", b"3")], [piece(b"abc", more=True)], b"content-length: 3"),
        ("POST", [HOST, (b"transfer-encoding", b"chunked")], [piece(b"abc")], b"content-length: 3"),
        ("POST", [HOST, (b"transfer-encoding", b"chunked")], [piece(b"abc", more=True)], b"transfer-encoding: chunked"),
        ("POST", [HOST, (b"content-length", b"0")], [], b"content-length: 0"),
        ("GET", [HOST, (b"content-length", b"0")], [], b""),
        ("GET", [HOST], [], b""),
    ],
    ids=["length", "chunked_but_whole", "chunked", "post_without_body", "get_with_zero", "get"],
)
@in_loop
async def test_the_framing_that_the_backend_is_told(
    method: str, fields: list[tuple[bytes, bytes]], events: list[Any], framing: bytes
) -> None:
    rig = Rig()
    client = Client(*events)
    x = accepted(exchange(*fields, method=method, client=client))
    task = rig.start(x)
    await turns()
    head, _, _ = rig.loop.links[0].transport.writes[0].partition(b"\r\n\r\n")
    lines = [one for one in head.split(b"\r\n") if one.startswith((b"content-length", b"transfer-encoding"))]
    assert lines == ([framing] if framing else [])
    rig.loop.links[0].connection.data_received(OK)
    await task
    assert client.status == 200
    await rig.close()


@in_loop
async def test_a_large_response_in_one_piece_does_not_spoil_the_next() -> None:
    rig = Rig()
    for _ in range(2):
        client = Client()
        task = rig.start(accepted(exchange(client=client)))
        await turns()
        (link,) = rig.loop.links
        assert link.transport.reading
        link.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000))
        await task
        assert len(client.body) == 200_000
    await rig.close()


@in_loop
async def test_a_client_that_left_while_its_request_queued_costs_the_backend_nothing() -> None:
    """No GPU works for nobody: what waits for a connection is not sent when the client is gone."""
    rig = Rig(size=1)
    holder = await rig.pool.acquire(1)
    client = Client(piece(b"abc"))
    x = accepted(exchange(HOST, (b"content-length", b"3"), method="POST", client=client))
    task = rig.start(x)
    client.leave()
    await asyncio.sleep(4 * TICK_SECONDS)
    assert x.client_gone
    holder.send_request(b"GET", b"GET / HTTP/1.1\r\n\r\n")
    holder.data_received(OK)
    rig.pool.release(holder)
    await turns(20)
    sent = [write for link in rig.loop.links for write in link.transport.writes if write.startswith(b"POST")]
    assert sent == []
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert x.end is End.CLIENT_GONE
    await rig.close()


@in_loop
async def test_a_slow_post_that_queued_still_gets_its_head_before_its_body() -> None:
    rig = Rig(size=1)
    holder = await rig.pool.acquire(1)
    client = Client(piece(b"abc"))
    task = rig.start(accepted(exchange(HOST, (b"content-length", b"3"), method="POST", client=client)))
    await asyncio.sleep(4 * TICK_SECONDS)
    rig.pool.release(holder)
    await turns(20)
    connection = rig.loop.links[-1].connection
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(4 * TICK_SECONDS)
    assert client.sent, "the head waits for the body though the request is a slow one"
    connection.data_received(b"ok")
    await task
    await rig.close()


@pytest.mark.parametrize(("target", "again"), [(b"/api/v1/queue/stats", True), (b"/api/v1/workers/w/next-job", False)])
@in_loop
async def test_lost_on_a_reused_connection(target: bytes, again: bool) -> None:
    rig = Rig()
    task = rig.start(accepted(exchange()))
    await turns()
    rig.loop.links[0].connection.data_received(OK)
    await task
    client = Client()
    x = accepted(exchange(client=client, target=target))
    task = rig.start(x)
    await turns()
    rig.loop.links[0].connection.connection_lost(None)
    await turns(20)
    assert len(rig.loop.links) == (2 if again else 1)
    if again:
        rig.loop.links[1].connection.data_received(OK)
        await task
        assert (client.status, x.attempts) == (200, 2)
    else:
        with pytest.raises(GatewayError) as failed:
            await task
        assert failed.value.kind is BAD_GATEWAY
        assert x.end is End.BROKE_BEFORE_HEAD
    assert len(rig.watch) == 0
    await rig.close()
