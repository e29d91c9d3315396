"""The rule over all backends, with simulated time."""

from __future__ import annotations

import logging
import math
from itertools import pairwise, product
from random import Random

import pytest

from fastgw.routing.ejection import PATIENCE, SLOW_START_S, Ejection, Outcome, State
from fastgw.routing.panel import SEVERITY, Panel

ANSWERED = Outcome.ANSWERED
REFUSED = Outcome.CONNECT_FAILED


def panel(count: int) -> tuple[Panel, list[Ejection]]:
    records = [Ejection(f"http://b{n}") for n in range(count)]
    return Panel(records), records


def eject(over: Panel, record: Ejection, reason: Outcome = REFUSED, now: float = 0.0) -> bool:
    return [over.note(record, reason, now) for _ in range(PATIENCE[reason])][-1]


def used(records: list[Ejection]) -> list[bool]:
    return [record.is_in_use for record in records]


# -- half of them at most -----------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "most"), [(2, 1), (3, 1), (4, 2), (5, 2), (10, 5)])
def test_never_more_than_half_are_left_out(count, most):
    over, records = panel(count)
    for number, record in enumerate(records, 1):
        assert eject(over, record)
        assert used(records).count(False) == min(number, most)
    assert all(record.state is State.EJECTED for record in records)


def test_one_alone_is_not_judged():
    over, records = panel(1)
    assert not eject(over, records[0])
    assert (records[0].state, records[0].is_quiet, records[0].is_in_use) == (State.SERVING, True, True)
    assert over.take_changes() == []


@pytest.mark.parametrize(("bad", "worse"), [*pairwise(SEVERITY)])
def test_the_least_bad_stay(bad, worse):
    for first, second in ((bad, worse), (worse, bad)):
        over, records = panel(2)
        eject(over, records[0], first)
        eject(over, records[1], second)
        assert used(records) == [first is bad, second is bad]


def test_of_equals_the_one_that_failed_less_often_stays():
    over, records = panel(2)
    eject(over, records[0])
    over.turn(1.0)
    over.picked(records[0], 1.0)
    over.note(records[0], REFUSED, 1.0)
    eject(over, records[1], now=1.5)
    assert used(records) == [False, True]


def test_a_spared_one_is_asked_little_and_comes_back_with_its_first_answer():
    over, records = panel(2)
    eject(over, records[0])
    eject(over, records[1], Outcome.SERVER_ERROR)
    assert records[1].share(0.5) == pytest.approx(0.1)
    assert over.note(records[1], ANSWERED, 0.5)
    assert records[1].state is State.RETURNING
    assert not over.note(records[0], ANSWERED, 0.5), "an answer from before, as nobody asks it now"


def test_when_one_returns_a_spared_one_may_go():
    over, records = panel(3)
    eject(over, records[0], now=0.0)
    eject(over, records[1], Outcome.TIMED_OUT, now=0.5)
    assert used(records) == [False, True, True]
    over.turn(1.0)
    assert records[0].state is State.PROBING
    assert used(records) == [True, False, True]


def test_a_probe_under_way_counts_as_out():
    over, records = panel(2)
    eject(over, records[0])
    over.turn(1.0)
    over.picked(records[0], 1.0)
    assert used(records) == [False, True]
    eject(over, records[1], now=1.5)
    assert used(records) == [True, False], "the one that is being tried is nearer to its return"


# -- with active checks -------------------------------------------------------------------------------


def test_the_unhealthy_are_out_however_many():
    over, records = panel(3)
    over.check(records[0], False, 1.0)
    over.check(records[1], False, 1.0)
    assert used(records) == [False, False, True]
    assert not over.is_panicking


def test_failures_take_nobody_out_where_checks_have_taken_half():
    over, records = panel(4)
    over.check(records[0], False, 1.0)
    eject(over, records[1], now=1.0)
    assert used(records) == [False, False, True, True]
    over.check(records[2], False, 1.0)
    assert used(records) == [False, True, False, True]


def test_if_all_are_unhealthy_none_is_believed_to_be():
    over, records = panel(3)
    for record in records:
        over.check(record, False, 1.0)
    assert used(records) == [True, True, True]
    assert over.is_panicking
    eject(over, records[0], now=1.0)
    assert used(records) == [False, True, True], "failures still count"
    over.check(records[2], True, 2.0)
    assert not over.is_panicking
    assert used(records) == [False, False, True]


def test_panic_is_told_once_at_its_begin_and_at_its_end():
    over, records = panel(2)
    over.check(records[0], False, 1.0)
    over.check(records[1], False, 1.0)
    over.check(records[1], False, 2.0)
    [(level, line)] = over.take_changes()
    assert (level, line) == (logging.WARNING, "all backends fail their checks: all are asked nevertheless")
    over.check(records[1], True, 3.0)
    assert "not all backends fail" in over.take_changes()[0][1]


def test_one_alone_that_is_unhealthy_is_asked_and_no_words_are_made():
    over, records = panel(1)
    over.check(records[0], False, 1.0)
    assert used(records) == [True]
    assert over.take_changes() == []


# -- time ---------------------------------------------------------------------------------------------


def test_calm_and_due():
    over, records = panel(2)
    assert (over.is_calm, over.due) == (True, math.inf)
    eject(over, records[0], now=5.0)
    assert (over.is_calm, over.due) == (False, 6.0)
    assert not over.turn(5.9)
    assert over.turn(6.0)
    assert over.due == math.inf
    over.picked(records[0], 6.0)
    over.note(records[0], ANSWERED, 6.5)
    assert over.due == 6.5 + SLOW_START_S
    assert over.turn(6.5 + SLOW_START_S)
    assert (over.is_calm, over.due) == (True, math.inf)


def test_a_failure_below_the_threshold_leaves_all_calm():
    over, records = panel(2)
    assert not over.note(records[0], REFUSED, 0.0)
    assert over.is_calm


def test_one_turn_turns_all_that_are_due():
    over, records = panel(4)
    eject(over, records[0], now=0.0)
    eject(over, records[1], now=0.5)
    over.turn(2.0)
    assert [record.state for record in records[:2]] == [State.PROBING, State.PROBING]


def test_where_nobody_asks_the_checks_tell_the_time():
    over, records = panel(2)
    eject(over, records[0], now=0.0)
    assert over.check(records[1], True, 1.5, 1.4)
    assert records[0].state is State.PROBING
    assert over.check(records[0], True, 1.6, 1.4)
    assert records[0].state is State.RETURNING
    assert over.check(records[1], True, 12.0, 11.9)
    assert over.is_calm


# -- other backends -----------------------------------------------------------------------------------


def test_those_kept_keep_what_is_known_and_new_ones_start_slowly():
    over, records = panel(3)
    eject(over, records[0])
    new = Ejection("http://new")
    over.replace([records[0], records[1], new], 0.5)
    assert (records[0].state, new.state) == (State.EJECTED, State.RETURNING)
    assert used([records[0], records[1], new]) == [False, True, True]


def test_all_new_ones_serve_at_once():
    over, _ = panel(2)
    new = [Ejection(), Ejection()]
    over.replace(new, 0.5)
    assert [record.state for record in new] == [State.SERVING, State.SERVING]


def test_fewer_backends_may_bring_one_back_into_use():
    over, records = panel(3)
    eject(over, records[0])
    over.replace(records[:1], 0.5)
    assert used(records[:1]) == [True]


def test_no_backends_at_all():
    over = Panel()
    over.replace([], 0.0)
    assert (over.is_calm, over.due, over.is_panicking) == (True, math.inf, False)


# -- what is told -------------------------------------------------------------------------------------


def test_each_change_is_told_once():
    over, records = panel(2)
    eject(over, records[0], Outcome.TIMED_OUT)
    over.turn(1.0)
    over.picked(records[0], 1.0)
    over.note(records[0], Outcome.SERVER_ERROR, 1.5)
    over.turn(3.5)
    over.picked(records[0], 3.5)
    over.note(records[0], ANSWERED, 4.0)
    over.turn(14.0)
    told = over.take_changes()
    assert [line for _, line in told] == [
        "backend http://b0 is ejected for 1 s: 3 requests timed out in a row",
        "backend http://b0 may be tried by one request at a time",
        "backend http://b0 is ejected for 2 s: it was tried, and answers were server errors",
        "backend http://b0 may be tried by one request at a time",
        "backend http://b0 is back: its share grows to the whole within 10 s",
        "backend http://b0 has its whole share",
    ]
    assert [level for level, _ in told] == [logging.WARNING] + [logging.INFO] * 5
    assert over.take_changes() == []


def test_a_spared_one_is_told_to_be_asked_now_and_then():
    over, records = panel(2)
    eject(over, records[0])
    eject(over, records[1], Outcome.SERVER_ERROR)
    assert "asked now and then" in over.take_changes()[1][1]


def test_repr():
    over, records = panel(3)
    eject(over, records[0])
    assert repr(over) == "<Panel 2 of 3 in use>"


# -- whatever happens ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "seed"), [*product([1, 2, 3, 4, 7], range(4))])
def test_somebody_is_always_in_use_and_no_failure_takes_out_more_than_half(count, seed):
    """3,000 random events; after each: the rule holds, what is due is in the future, calm is true."""
    random = Random(seed)
    over, records = panel(count)
    now = 0.0
    for _ in range(3000):
        record = random.choice(records)
        now += random.choice([0.0, 0.01, 0.3, 2.0])
        event = random.random()
        if now >= over.due:
            over.turn(now)
        if event < 0.8:
            if record.is_in_use and record.is_half_open:
                over.picked(record, now)
            over.note(record, random.choice(list(Outcome)), now)
        else:
            over.check(record, random.random() < 0.6, now, now - random.random())
        unhealthy = [r for r in records if r.is_unhealthy]
        out_for_failures = [r for r in records if not r.is_in_use and not r.is_unhealthy]
        assert any(used(records))
        assert len(out_for_failures) <= count // 2
        if len(unhealthy) < count:
            assert not any(r.is_in_use for r in unhealthy)
            assert over.is_panicking is False
        assert over.due > now
        assert over.is_calm == all(r.state is State.SERVING and not r.is_unhealthy for r in records)
        assert all(r.is_in_use for r in records) or not over.is_calm
    assert len(over.take_changes()) < 6000


def test_after_any_trouble_quiet_times_bring_all_back():
    for seed in range(20):
        random = Random(seed)
        over, records = panel(3)
        now = 0.0
        for _ in range(300):
            now += random.random()
            over.turn(now)
            record = random.choice(records)
            if record.is_in_use:
                over.picked(record, now)
                over.note(record, random.choice(list(Outcome)), now)
        end = now + 100
        while now < end:
            now += 0.5
            over.turn(now)
            for record in records:
                if record.is_in_use:
                    over.picked(record, now)
                    over.note(record, ANSWERED, now)
        assert over.is_calm, (seed, records)
