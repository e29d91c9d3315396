"""Flights: who waits goes on, with the entry or without; what is not storable is remembered for a while."""

from __future__ import annotations

import asyncio

from fastgw.cache.coalesce import Flights, Verdict
from fastgw.cache.local import Copy
from tests.pure.cache.test_local import entry
from tests.pure.loop import in_loop


@in_loop
async def test_all_who_wait_get_the_entry() -> None:
    flights = Flights()
    flight = flights.begin(b"a")
    waiting = [asyncio.create_task(flight.wait(5)) for _ in range(3)]
    await asyncio.sleep(0)
    copy = Copy(entry())
    flights.end(b"a", flight, copy)
    assert await asyncio.gather(*waiting) == [copy] * 3
    assert len(flights) == 0


@in_loop
async def test_the_first_outcome_counts() -> None:
    flights = Flights()
    flight = flights.begin(b"a")
    flights.end(b"a", flight, Verdict.PASS)
    flights.end(b"a", flight, Verdict.RETRY)
    assert await flight.wait(1) is Verdict.PASS


@in_loop
async def test_a_late_end_does_not_end_the_next_flight() -> None:
    flights = Flights()
    first = flights.begin(b"a")
    flights.end(b"a", first, Verdict.RETRY)
    second = flights.begin(b"a")
    flights.end(b"a", first, Verdict.RETRY)
    assert flights.get(b"a") is second


@in_loop
async def test_waiting_is_bounded_and_hurts_nobody_else() -> None:
    flights = Flights()
    flight = flights.begin(b"a")
    assert await flight.wait(0.01) is Verdict.PASS
    other = asyncio.create_task(flight.wait(5))
    await asyncio.sleep(0)
    flights.end(b"a", flight, Verdict.RETRY)
    assert await other is Verdict.RETRY


@in_loop
async def test_one_who_leaves_does_not_end_the_flight() -> None:
    flights = Flights()
    flight = flights.begin(b"a")
    leaver = asyncio.create_task(flight.wait(5))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert not flight.future.cancelled()


@in_loop
async def test_who_comes_after_a_change_does_not_wait_for_what_was_asked_before() -> None:
    flights = Flights()
    old = flights.begin(b"{a}scope")
    other = flights.begin(b"{b}")
    flights.forget(b"{a}")
    assert flights.get(b"{a}scope") is None
    assert flights.get(b"{b}") is other
    new = flights.begin(b"{a}scope")
    flights.end(b"{a}scope", old, Verdict.RETRY)
    assert flights.get(b"{a}scope") is new
