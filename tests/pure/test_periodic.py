"""Periodic: runs at once and again, survives failures, ends when it is told to."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fastgw.periodic import Periodic
from tests.pure.loop import in_loop
from tests.pure.upstream.transport import turns


class Job:
    def __init__(self, fails: bool = False) -> None:
        self.runs = 0
        self.fails = fails
        self.enough = asyncio.Event()

    async def __call__(self) -> None:
        self.runs += 1
        if self.runs == 3:
            self.enough.set()
        if self.fails:
            raise RuntimeError("no luck")


@in_loop
async def test_it_runs_at_once_and_then_at_the_interval() -> None:
    job = Job()
    periodic = Periodic("job", job, 60)
    periodic.start()
    await turns()
    assert job.runs == 1
    await periodic.close()
    quick = Periodic("job", job, 0.001)
    quick.start()
    await job.enough.wait()
    await quick.close()
    runs = job.runs
    await asyncio.sleep(0.01)
    assert job.runs == runs


@in_loop
async def test_a_failure_is_logged_and_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    job = Job(fails=True)
    with caplog.at_level(logging.ERROR, "fastgw.periodic"):
        periodic = Periodic("the job", job, 0.001)
        periodic.start()
        await job.enough.wait()
        await periodic.close()
    assert "the periodic job the job failed" in caplog.text


@in_loop
async def test_close_ends_a_run_that_hangs() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    periodic = Periodic("hang", hang, 1)
    periodic.start()
    await turns()
    await periodic.close()


@in_loop
async def test_close_before_start() -> None:
    await Periodic("never", Job(), 1).close()
