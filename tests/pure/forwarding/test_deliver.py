"""Deliver over a recording transport: what is written, what is answered, what happens when nobody is there any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from fastgw.errors import BAD_GATEWAY, GATEWAY_TIMEOUT, SERVICE_UNAVAILABLE, GatewayError
from fastgw.exchange import End, Exchange
from fastgw.forwarding.budget import RETRIES_AT_LEAST
from fastgw.forwarding.deliver import Deliver, Limits
from fastgw.forwarding.disconnect import TICK_SECONDS, Watch
from fastgw.routing.backend import Backend
from fastgw.routing.ejection import Outcome
from fastgw.upstream.pool import Pool
from tests.pure.asgi import HOST, Client, accepted, exchange, piece
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import HandLoop, turns

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fastgw.forwarding.leases import Leases
    from fastgw.forwarding.shed import Shed
    from fastgw.routing.choose import Choose

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class InOrder:
    """routing's Choose, by hand: the first that was not tried; what is reported is kept."""

    def __init__(self, *backends: Backend) -> None:
        self.backends = backends
        self.out: set[Backend] = set()
        self.reports: list[tuple[Backend, Outcome]] = []

    def __call__(self, x: Exchange, tried: set[Backend]) -> Backend:
        available = [one for one in self.backends if one not in self.out]
        if not available:
            raise GatewayError(SERVICE_UNAVAILABLE, "no backend is available", retry_after_s=3)
        return next((one for one in available if one not in tried), available[0])

    def left(self, x: Exchange | None, tried: set[Backend]) -> int:
        return len([one for one in self.backends if one not in tried and one not in self.out])

    def report(self, backend: Backend, outcome: Outcome, head_s: float = 0.0) -> None:
        assert (head_s > 0) is (outcome in {Outcome.ANSWERED, Outcome.SERVER_ERROR})
        self.reports.append((backend, outcome))


class Rig:
    """Backends, by hand. Connections to all of them are `loop.links`, in the order in which they were opened."""

    def __init__(self, size: int = 4, backends: int = 1, timeout_s: float = 5) -> None:
        self.loop = HandLoop()
        self.backends = [self._backend(number, size) for number in range(backends)]
        self.pool = self.backends[0].pool
        self.watch = Watch()
        self.choose = InOrder(*self.backends)
        self.deliver = Deliver(cast("Choose", self.choose), self.watch, Limits(timeout_s, 5, 1000))

    def _backend(self, number: int, size: int) -> Backend:
        pool = Pool(f"backend{number}", 8000, size=size)
        pool._loop = self.loop  # type: ignore[assignment]
        return Backend(f"http://backend{number}:8000", b"backend%d:8000" % number, pool)

    @property
    def outcomes(self) -> list[tuple[int, Outcome]]:
        return [(self.backends.index(backend), outcome) for backend, outcome in self.choose.reports]

    async def close(self) -> None:
        assert [backend.in_flight for backend in self.backends] == [0] * len(self.backends)
        assert len(self.watch) == 0
        self.watch.close()
        for backend in self.backends:
            await backend.pool.close()

    def start(self, x: Exchange) -> asyncio.Task[None]:
        coroutine: Coroutine[Any, Any, None] = self.deliver(x)
        return asyncio.get_running_loop().create_task(coroutine)

    async def warm(self, number: int = 0) -> None:
        """Leave an idle connection to that backend, and no report."""
        self.choose.out = {one for one in self.backends if one is not self.backends[number]}
        before = len(self.loop.links)
        task = self.start(accepted(exchange()))
        await turns()
        self.loop.links[before].connection.data_received(OK)
        await task
        self.choose.out = set()
        self.choose.reports.clear()


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


def job(*events: Any, length: bytes = b"2") -> tuple[Exchange, Client]:
    """A submission: the request that must never run twice."""
    client = Client(*events)
    fields = (HOST, (b"content-length", length))
    return accepted(exchange(*fields, method="POST", target=b"/api/v1/jobs", client=client)), client


async def refuse(rig: Rig, number: int = -1) -> None:
    rig.loop.links[number].refused(ConnectionRefusedError())
    await turns(20)


async def answer(rig: Rig, response: bytes = OK, number: int = -1) -> None:
    rig.loop.links[number].connection.data_received(response)
    await turns(20)


@in_loop
async def test_who_refuses_is_passed_over_by_any_request() -> None:
    rig = Rig(backends=3)
    rig.loop.at_once = False
    x, client = job(piece(b"{}"))
    task = rig.start(x)
    await turns()
    assert [backend.in_flight for backend in rig.backends] == [1, 0, 0]
    await refuse(rig)
    assert [backend.in_flight for backend in rig.backends] == [0, 1, 0]
    assert not x.was_sent
    await refuse(rig)
    rig.loop.links[2].made()
    await turns()
    assert x.was_sent
    await answer(rig)
    await task
    assert (client.status, client.fields[b"x-gateway-attempts"]) == (200, b"3")
    assert rig.loop.links[2].transport.writes[0].endswith(b"\r\n\r\n{}")
    failed = Outcome.CONNECT_FAILED
    assert rig.outcomes == [(0, failed), (1, failed), (2, Outcome.ANSWERED)]
    await rig.close()


@in_loop
async def test_all_refuse() -> None:
    rig = Rig(backends=2)
    rig.loop.at_once = False
    x = accepted(exchange())
    task = rig.start(x)
    await turns()
    await refuse(rig)
    await refuse(rig)
    with pytest.raises(GatewayError) as failed:
        await task
    assert (failed.value.kind, x.attempts, x.was_sent, x.end) == (BAD_GATEWAY, 2, False, End.BROKE_BEFORE_HEAD)
    await rig.close()


@in_loop
async def test_no_backend_is_available() -> None:
    rig = Rig(backends=2)
    rig.choose.out = set(rig.backends)
    x = accepted(exchange())
    with pytest.raises(GatewayError) as failed:
        await rig.start(x)
    assert (failed.value.kind, failed.value.retry_after_s, x.attempts) == (SERVICE_UNAVAILABLE, 3, 0)
    await rig.close()


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        (lambda link: link.connection.connection_lost(None), Outcome.BROKEN),
        (lambda link: link.connection.connection_lost(ConnectionResetError()), Outcome.BROKEN),
        (lambda link: link.connection.data_received(b"SSH-2.0-OpenSSH_9.6\r\n"), Outcome.BROKEN),
        (
            lambda link: link.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n"),
            Outcome.BROKEN,
        ),
        (
            lambda link: (link.connection.data_received(b"HTTP/1.1 20"), link.connection.connection_lost(None)),
            Outcome.BROKEN,
        ),
        (
            lambda link: (
                link.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
                link.connection.connection_lost(None),
            ),
            Outcome.BROKEN,
        ),
        (lambda link: link.connection.expire(), Outcome.TIMED_OUT),
    ],
    ids=["closed", "reset", "garbage", "two_lengths", "half_a_head", "head_alone", "silent"],
)
@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("is_safe", [True, False])
@in_loop
async def test_a_backend_that_fails_after_it_was_sent_the_request(
    trouble: Any, outcome: Outcome, is_warm: bool, is_safe: bool
) -> None:
    """Before the client was given a head: what is safe goes to the other backend, what may have run does not."""
    rig = Rig(backends=2)
    if is_warm:
        await rig.warm()
    client = Client(piece(b"{}"))
    x = accepted(exchange(client=client)) if is_safe else job(piece(b"{}"))[0]
    task = rig.start(x)
    await turns()
    assert x.was_sent
    trouble(rig.loop.links[0])
    await turns(20)
    assert rig.outcomes == [(0, outcome)]
    if is_safe:
        await answer(rig, number=1)
        await task
        assert (client.status, client.fields[b"x-gateway-attempts"], rig.deliver.budget.spent) == (200, b"2", 1)
    else:
        with pytest.raises(GatewayError) as failed:
            await task
        assert failed.value.kind in {BAD_GATEWAY, GATEWAY_TIMEOUT}
        assert (x.attempts, len(rig.loop.links), rig.deliver.budget.spent) == (1, 1, 0)
    await rig.close()


@in_loop
async def test_the_deadline_is_one_over_all_tries() -> None:
    """A safe request gives each backend half of what is left, the last one all of it."""
    rig = Rig(backends=3, timeout_s=8)
    x = accepted(exchange())
    task = rig.start(x)
    given = []
    for number in range(3):
        await turns(20)
        connection = rig.loop.links[number].connection
        given.append(connection.deadline - asyncio.get_running_loop().time())
        connection.expire()
    with pytest.raises(GatewayError) as failed:
        await task
    assert failed.value.kind is GATEWAY_TIMEOUT
    assert given == pytest.approx([4, 4, 8], abs=0.3)  # no time passes here: half, half again, all that is left
    assert x.upstream_s < 1
    await rig.close()


@pytest.mark.parametrize(("is_safe", "backends", "share"), [(True, 1, 1), (False, 2, 1), (True, 2, 0.5)])
@in_loop
async def test_who_has_no_second_try_has_all_the_time(is_safe: bool, backends: int, share: float) -> None:
    rig = Rig(backends=backends, timeout_s=8)
    x = accepted(exchange()) if is_safe else job(piece(b"{}"))[0]
    task = rig.start(x)
    await turns()
    given = rig.loop.links[0].connection.deadline - asyncio.get_running_loop().time()
    assert given == pytest.approx(8 * share, abs=0.3)
    await answer(rig)
    await task
    await rig.close()


@in_loop
async def test_what_comes_too_late_is_not_sent() -> None:
    """Connecting took all the time there was: a job that nobody waits for is not begun."""
    rig = Rig(timeout_s=0.05)
    rig.loop.at_once = False
    x, _ = job(piece(b"{}"))
    task = rig.start(x)
    await asyncio.sleep(0.06)
    link = rig.loop.links[0].made()
    with pytest.raises(GatewayError) as failed:
        await task
    assert (failed.value.kind, x.was_sent, link.transport.writes) == (GATEWAY_TIMEOUT, False, [])
    await rig.close()


@in_loop
async def test_a_body_that_was_read_before_is_sent_in_one_write_and_not_received() -> None:
    rig, client = Rig(), Client()
    x = accepted(
        exchange(HOST, (b"transfer-encoding", b"chunked"), method="POST", target=b"/api/v1/jobs", client=client)
    )
    x.body = b'{"type":"llm"}'
    task = rig.start(x)
    await turns()
    (write,) = rig.loop.links[0].transport.writes
    assert b"content-length: 14\r\n" in write
    assert write.endswith(b'\r\n\r\n{"type":"llm"}')
    assert (client.waiting, x.body_read) == (0, True)
    await answer(rig)
    await task
    assert client.status == 200
    await rig.close()


@in_loop
async def test_a_body_whose_rest_is_still_to_come_goes_to_the_next_as_long_as_nothing_was_sent() -> None:
    rig = Rig(backends=2)
    rig.loop.at_once = False
    x, client = job(piece(b"ab", more=True), length=b"4")
    task = rig.start(x)
    await turns()
    await refuse(rig)
    link = rig.loop.links[1].made()
    await turns()
    client.say(piece(b"cd"))
    await turns()
    assert b"".join(link.transport.writes).endswith(b"\r\n\r\nabcd")
    await answer(rig)
    await task
    assert client.status == 200
    await rig.close()


@in_loop
async def test_a_safe_request_whose_body_was_streamed_is_not_sent_again() -> None:
    rig = Rig(backends=2)
    client = Client(piece(b"ab", more=True))
    x = accepted(exchange(HOST, (b"content-length", b"4"), client=client))
    task = rig.start(x)
    await turns()
    client.say(piece(b"cd"))
    await turns()
    rig.loop.links[0].connection.connection_lost(None)
    with pytest.raises(GatewayError):
        await task
    assert (x.attempts, len(rig.loop.links)) == (1, 1)
    await rig.close()


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (OK, Outcome.ANSWERED),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", Outcome.ANSWERED),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Outcome.SERVER_ERROR),
    ],
)
@in_loop
async def test_what_an_answer_says_of_the_backend(response: bytes, outcome: Outcome) -> None:
    """Its status goes to the client as it is: an answer is never asked for again."""
    rig, client = Rig(backends=2), Client()
    task = rig.start(accepted(exchange(client=client)))
    await turns()
    await answer(rig, response)
    await task
    assert rig.outcomes == [(0, outcome)]
    assert client.fields[b"x-gateway-attempts"] == b"1"
    await rig.close()


@in_loop
async def test_a_body_that_breaks_off_is_told_and_not_asked_for_again() -> None:
    rig, client = Rig(backends=2), Client()
    x = accepted(exchange(client=client))
    task = rig.start(x)
    await turns()
    await answer(rig, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
    assert client.status == 200
    assert rig.outcomes == []
    rig.loop.links[0].connection.connection_lost(None)
    await task
    assert (x.end, rig.outcomes) == (End.BROKE_IN_BODY, [(0, Outcome.BROKEN_IN_BODY)])
    await rig.close()


@in_loop
async def test_an_event_stream_is_an_answer_as_soon_as_it_begins() -> None:
    rig, client = Rig(), Client()
    x = accepted(exchange(client=client, target=b"/api/v1/jobs/1/events"))
    task = rig.start(x)
    await turns()
    await answer(rig, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    assert rig.outcomes == [(0, Outcome.ANSWERED)]
    assert rig.backends[0].in_flight == 1
    rig.loop.links[0].connection.eof_received()
    await task
    assert (x.end, rig.outcomes) == (End.COMPLETE, [(0, Outcome.ANSWERED)])
    await rig.close()


@in_loop
async def test_a_client_that_leaves_says_nothing_of_the_backend() -> None:
    rig, client = Rig(backends=2), Client()
    x = accepted(exchange(client=client))
    task = rig.start(x)
    client.leave()
    await asyncio.sleep(4 * TICK_SECONDS)
    await task
    assert (x.end, rig.outcomes, x.attempts) == (End.CLIENT_GONE, [(0, Outcome.CLIENT_GONE)], 1)
    await rig.close()


@in_loop
async def test_a_delivery_that_is_cancelled_leaves_no_count() -> None:
    rig = Rig()
    task = rig.start(accepted(exchange()))
    await turns()
    assert rig.backends[0].in_flight == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await rig.close()


@in_loop
async def test_retries_end_with_the_budget() -> None:
    rig = Rig(backends=2)
    failed = 0
    for _ in range(2 * RETRIES_AT_LEAST):
        task = rig.start(accepted(exchange()))
        await turns()
        rig.loop.links[-1].connection.connection_lost(None)
        await turns(20)
        if task.done():
            failed += 1
            assert isinstance(task.exception(), GatewayError)
        else:
            await answer(rig, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await task
    assert 0 < failed < RETRIES_AT_LEAST
    assert rig.deliver.budget.refused == failed
    await rig.close()


class Places:
    """The leases of backends, by hand."""

    def __init__(self, *full: Backend) -> None:
        self.full = full
        self.held = 0

    async def for_identity(self, x: Exchange) -> None:
        return None

    async def for_backend(self, x: Exchange, backend: Backend) -> str:
        if backend in self.full:
            raise GatewayError(SERVICE_UNAVAILABLE, "9 requests are in flight already", retry_after_s=7)
        self.held += 1
        return backend.url

    def release(self, lease: str | None) -> None:
        self.held -= lease is not None


@in_loop
async def test_a_backend_without_a_place_is_passed_over() -> None:
    rig = Rig(backends=2)
    places = Places(rig.backends[0])
    rig.deliver = Deliver(cast("Choose", rig.choose), rig.watch, Limits(5, 5, 1000), cast("Leases", places))
    x, client = job(piece(b"{}"))
    task = rig.start(x)
    await turns()
    assert places.held == 1
    await answer(rig)
    await task
    assert (client.status, x.attempts, places.held) == (200, 2, 0)
    assert rig.outcomes == [(0, Outcome.CLIENT_GONE), (1, Outcome.ANSWERED)]
    await rig.close()


@in_loop
async def test_no_backend_has_a_place() -> None:
    rig = Rig(backends=2)
    places = Places(*rig.backends)
    rig.deliver = Deliver(cast("Choose", rig.choose), rig.watch, Limits(5, 5, 1000), cast("Leases", places))
    x = accepted(exchange())
    with pytest.raises(GatewayError) as failed:
        await rig.start(x)
    assert (failed.value.kind, failed.value.retry_after_s, x.attempts, x.was_sent) == (SERVICE_UNAVAILABLE, 7, 2, False)
    await rig.close()


class Told:
    """Overload's part, by hand."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def enter(self, x: Exchange) -> None:
        self.told.append("enter")

    def answered(self, x: Exchange, backend: Backend, status: int, took_s: float) -> None:
        assert took_s > 0
        self.told.append(f"{backend.url} {status}")

    def leave(self, x: Exchange) -> None:
        self.told.append("leave")


@pytest.mark.parametrize("is_answered", [True, False])
@in_loop
async def test_overload_is_told_who_waits_and_what_was_answered(is_answered: bool) -> None:
    rig, told = Rig(), Told()
    rig.deliver = Deliver(cast("Choose", rig.choose), rig.watch, Limits(5, 5, 1000), shed=cast("Shed", told))
    task = rig.start(accepted(exchange()))
    await turns()
    assert told.told == ["enter"]
    if is_answered:
        await answer(rig)
    else:
        rig.loop.links[0].connection.connection_lost(None)
    await asyncio.gather(task, return_exceptions=True)
    assert told.told == ["enter", *(["http://backend0:8000 200"] if is_answered else []), "leave"]
    await rig.close()
