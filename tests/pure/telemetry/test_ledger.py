"""Figures in shared memory: what is added is read, whatever becomes of who added it."""

from __future__ import annotations

import os
import signal

import pytest

from fastgw.telemetry import families
from fastgw.telemetry.exposition import Total, expose
from fastgw.telemetry.families import BOUNDS
from fastgw.telemetry.ledger import SHEET_BYTES, SPARE, Ledger

ROUTE = ("GET", "/x", "200")


def in_child(work) -> int:
    """Run in a forked process that then waits; returns its id."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        work()
        os.write(done, b"1")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(done)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def counted(ledger: Ledger) -> float:
    return Total(ledger).of(families.REQUESTS)[ROUTE][0]


def test_what_a_killed_process_counted_is_kept_and_gone_on_with() -> None:
    ledger = Ledger(1)

    def count() -> None:
        sheet = ledger.claim()
        cells = sheet.series(families.REQUESTS, *ROUTE).cells
        for _ in range(1000):
            cells[0] += 1
        sheet.series(families.ACTIVE).cells[0] = 7
        sheet.series(families.PROCESSES).cells[0] = 1

    first, second = in_child(count), in_child(count)
    total = Total(ledger)
    assert counted(ledger) == 2000
    assert (total.sum_of(families.ACTIVE), total.sum_of(families.PROCESSES)) == (14, 2)
    kill(first)
    assert counted(ledger) == 2000
    assert Total(ledger).sum_of(families.PROCESSES) == 1, "a gauge is of the living"
    third = in_child(count)
    assert counted(ledger) == 3000
    assert Total(ledger).sum_of(families.ACTIVE) == 14
    assert sum(1 for _ in ledger.read()) == 2, "the dead one's sheet is used again"
    kill(second)
    kill(third)
    assert counted(ledger) == 3000
    assert Total(ledger).sum_of(families.ACTIVE) == 0


def test_many_reloads_need_no_more_sheets() -> None:
    ledger = Ledger(1)
    for _ in range(10):
        kill(in_child(lambda: ledger.claim().series(families.RETRIES)))
    assert sum(1 for _ in ledger.read()) == 1


def test_a_series_for_which_there_is_no_room_is_counted_and_harmless() -> None:
    ledger = Ledger(1)
    sheet = ledger.claim()
    for number in range(SHEET_BYTES // 100):
        sheet.series(families.PROXY_ERRORS, f"10.0.0.{number}:8000", "x" * 50).cells[0] += 1
    total = Total(ledger)
    kept = len(total.of(families.PROXY_ERRORS))
    assert 4000 < kept < SHEET_BYTES // 100
    assert total.sum_of(families.SERIES_DROPPED) == SHEET_BYTES // 100 - kept
    sheet.series(families.DURATION, "/new").cells[-1] += 1.0
    assert Total(ledger).of(families.DURATION) == {}


def test_gauges_are_joined_as_their_kind_says() -> None:
    ledger = Ledger(2)

    def tell(up: float, in_flight: float, online: float) -> None:
        sheet = ledger.claim()
        sheet.series(families.BACKEND_UP, "b").cells[0] = up
        sheet.series(families.BACKEND_IN_FLIGHT, "b").cells[0] = in_flight
        sheet.series(families.WORKERS_ONLINE, "asia-east").cells[0] = online

    pids = in_child(lambda: tell(1, 2, 5)), in_child(lambda: tell(0, 3, 4))
    total = Total(ledger)
    assert total.of(families.BACKEND_UP)[("b",)] == [0]
    assert total.of(families.BACKEND_IN_FLIGHT)[("b",)] == [5]
    assert total.of(families.WORKERS_ONLINE)[("asia-east",)] == [5]
    for pid in pids:
        kill(pid)


@pytest.mark.parametrize(("accept", "has_exemplar"), [("text/plain", False), ("application/openmetrics-text", True)])
def test_histograms_are_cumulative_and_have_exemplars_for_who_asks(accept: str, has_exemplar: bool) -> None:
    ledger = Ledger(1)
    sheet = ledger.claim()
    series = sheet.series(families.DURATION, '/a"\\\n')
    series.cells[0] += 2
    series.cells[3] += 1
    series.cells[len(BOUNDS)] += 1
    series.cells[-1] += 100.5
    sheet.note_exemplar(series, 3, 0.0015, 1700000000.0, b"ab" * 16)
    text = expose(ledger, accept)[0].decode()
    lines = [line for line in text.splitlines() if line.startswith("gateway_request_duration_seconds")]
    assert 'le="0.00025"' in lines[0]
    assert lines[0].endswith(" 2.0")
    assert lines[-2].endswith(" 4.0") or lines[-2].endswith(" 100.5")
    assert 'route="/a\\"\\\\\\n"' in lines[0]
    assert any('le="+Inf"' in line and "} 4.0" in line for line in lines)
    assert ('# {trace_id="' + "ab" * 16 + '"} 0.0015' in text) is has_exemplar


def test_old_workers_that_linger_over_several_reloads_leave_a_sheet_for_the_next() -> None:
    ledger = Ledger(1)
    pids = [
        in_child(lambda: ledger.claim().series(families.REQUESTS, *ROUTE).cells.__setitem__(0, 1.0))
        for _ in range(SPARE)
    ]
    assert counted(ledger) == SPARE
    for pid in pids:
        kill(pid)
