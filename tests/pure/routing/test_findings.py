"""The page that processes share: what one writes another reads, whole or not at all."""

from __future__ import annotations

import os
import signal

import pytest

from fastgw.routing.findings import HEAD, SIZE, Finding, Findings


@pytest.fixture
def page():
    findings = Findings()
    yield findings
    findings.close()


def finding(number: int = 1, problem: str = "") -> Finding:
    return Finding(f"http://b{number}/health", 10.0, 20.0, 1.5, problem, not problem)


def in_a_child(what) -> int:
    """What the function returns in a forked process."""
    pid = os.fork()
    if pid == 0:
        os._exit(int(what()))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_unwritten_page_holds_nothing(page):
    assert page.read() == []


def test_what_is_written_is_read_once_by_each(page):
    written = [finding(1), finding(2, "status 503"), Finding("http://b3/é", 1.0, 2.0, None, "kaputt ☃", False)]
    assert page.write(written)
    assert page.read() == written
    assert page.read() == []
    assert page.write(written[:1])
    assert page.read() == written[:1]


def test_a_child_writes_and_the_parent_reads(page):
    assert in_a_child(lambda: page.write([finding(7)])) == 1
    assert page.read() == [finding(7)]


def test_what_does_not_fit_changes_nothing(page):
    page.write([finding(1)])
    assert not page.write([finding(n, "x" * 160) for n in range(SIZE // 160)])
    assert page.read() == [finding(1)]


def test_three_thousand_backends_fit(page):
    assert page.write([finding(n, "x" * 160) for n in range(3000)])
    assert len(page.read()) == 3000


@pytest.mark.parametrize("at", [0, 8, 12, HEAD.size, HEAD.size + 30])
def test_a_page_that_is_half_written_is_not_taken_and_the_next_whole_one_is(page, at):
    page.write([finding(1)])
    page._page[at] ^= 0x55
    assert page.read() == []
    page.write([finding(2)])
    assert page.read() == [finding(2)]


def test_nonsense_in_the_head_is_no_news(page):
    page._page[0 : HEAD.size] = b"\xff" * HEAD.size
    assert page.read() == []


def test_one_process_at_a_time_has_the_claim(page):
    assert page.claim()
    assert page.claim(), "who has it keeps it"
    assert in_a_child(page.claim) == 0
    page.give_up()
    assert in_a_child(page.claim) == 1
    assert page.claim(), "a process that ended has it no more"


def test_the_claim_of_a_killed_process_is_free(page):
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, b"1" if page.claim() else b"0")
        signal.pause()
    assert os.read(told, 1) == b"1"
    assert not page.claim()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert page.claim()
    os.close(told)
    os.close(tell)


def test_closing_gives_the_claim_up_and_may_be_done_twice(page):
    assert in_a_child(lambda: page.claim() and page.close() is None) == 1
    page.close()
    page.close()
