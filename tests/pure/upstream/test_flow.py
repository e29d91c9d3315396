"""Flow: pausing and resuming is idempotent, and nobody waits for a lost connection."""

from __future__ import annotations

import asyncio

from fastgw.upstream.flow import HIGH_WATER, LOW_WATER, WRITE_HIGH_WATER, Flow
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import RecordingTransport, turns


class Counting(RecordingTransport):
    calls = 0

    def pause_reading(self) -> None:
        self.calls += 1
        super().pause_reading()

    def resume_reading(self) -> None:
        self.calls += 1
        super().resume_reading()


@in_loop
async def test_reading_is_paused_and_resumed_once() -> None:
    transport = Counting(asyncio.Protocol())
    flow = Flow(transport)
    flow.resume_reading()
    assert transport.calls == 0
    flow.pause_reading()
    flow.pause_reading()
    assert (transport.calls, transport.reading, flow.reading_paused) == (1, False, True)
    flow.resume_reading()
    flow.resume_reading()
    assert (transport.calls, transport.reading, flow.reading_paused) == (2, True, False)


@in_loop
async def test_drain_waits_only_while_writing_is_paused() -> None:
    flow = Flow(RecordingTransport(asyncio.Protocol()))
    await flow.drain()
    flow.pause_writing()
    drained = asyncio.ensure_future(flow.drain())
    await turns()
    assert not drained.done()
    flow.resume_writing()
    await drained
    flow.resume_writing()
    assert not flow.writing_paused


@in_loop
async def test_a_drain_that_was_given_up_does_not_disturb_the_resume() -> None:
    flow = Flow(RecordingTransport(asyncio.Protocol()))
    flow.pause_writing()
    drained = asyncio.ensure_future(flow.drain())
    await turns()
    drained.cancel()
    await turns()
    flow.resume_writing()
    assert drained.cancelled()


@in_loop
async def test_the_marks() -> None:
    transport = RecordingTransport(asyncio.Protocol())
    Flow(transport)
    assert transport.high == WRITE_HIGH_WATER
    assert LOW_WATER * 4 <= HIGH_WATER
