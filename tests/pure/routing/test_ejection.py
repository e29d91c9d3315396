"""The record of one backend, with simulated time."""

from __future__ import annotations

import math
from itertools import product

import pytest

from fastgw.routing.ejection import (
    FIRST_BACKOFF_S,
    FIRST_SHARE,
    GOOD_SPELL_S,
    LAST_BACKOFF_S,
    MOVES,
    PATIENCE,
    PROBE_LAPSES_S,
    RISK_AFTER_S,
    SHOWN_BY_CHECK,
    SLOW_START_S,
    WORDS,
    Ejection,
    Outcome,
    State,
)

ANSWERED = Outcome.ANSWERED
REFUSED = Outcome.CONNECT_FAILED
FAILURES = sorted(PATIENCE)


def ejected(reason: Outcome = REFUSED, now: float = 0.0) -> Ejection:
    record = Ejection("b")
    record.is_in_use = False  # as the panel would say
    for _ in range(PATIENCE[reason]):
        record.note(reason, now)
    assert record.state is State.EJECTED
    return record


def probed(reason: Outcome = REFUSED, now: float = 10.0) -> Ejection:
    record = ejected(reason)
    assert record.turn(now)
    assert record.picked(now)
    return record


def returning(now: float = 10.0) -> Ejection:
    record = probed(now=now)
    assert record.note(ANSWERED, now)
    assert record.state is State.RETURNING
    return record


# -- ejection ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", FAILURES)
def test_a_run_of_one_kind_ejects_at_its_threshold_and_not_before(reason):
    record = Ejection("b")
    for number in range(1, PATIENCE[reason]):
        assert not record.note(reason, float(number))
        assert record.state is State.SERVING
    assert record.note(reason, 9.0)
    assert (record.state, record.reason, record.run) == (State.EJECTED, reason, PATIENCE[reason])
    assert not record.is_available(9.0)
    assert record.due == 9.0 + FIRST_BACKOFF_S


@pytest.mark.parametrize("reason", FAILURES)
def test_an_answer_ends_a_run(reason):
    record = Ejection("b")
    for number in range(10 * PATIENCE[reason]):
        assert not record.note(ANSWERED if number % PATIENCE[reason] == 0 else reason, float(number))
    assert record.state is State.SERVING


def test_kinds_are_counted_each_for_itself():
    record = Ejection("b")
    for number, outcome in enumerate([REFUSED, Outcome.TIMED_OUT, Outcome.TIMED_OUT, Outcome.BROKEN, Outcome.BROKEN]):
        assert not record.note(outcome, float(number))
    assert record.note(REFUSED, 5.0)


def test_a_server_error_is_an_answer_to_all_but_its_own_run():
    record = Ejection("b")
    for number in range(PATIENCE[Outcome.SERVER_ERROR] - 1):
        assert not record.note(Outcome.TIMED_OUT, float(number))
        assert not record.note(Outcome.SERVER_ERROR, float(number))
    assert record.note(Outcome.SERVER_ERROR, 9.0)
    assert record.reason is Outcome.SERVER_ERROR


def test_a_client_that_left_counts_for_nothing():
    record = Ejection("b")
    record.note(REFUSED, 0.0)
    for _ in range(100):
        assert not record.note(Outcome.CLIENT_GONE, 0.0)
    assert (record.state, record.failures) == (State.SERVING, 1)
    assert record.note(REFUSED, 0.0), "nor does it end a run"


def test_quiet_is_who_has_nothing_noted():
    record = Ejection("b")
    assert record.is_quiet
    record.note(REFUSED, 0.0)
    assert not record.is_quiet
    record.note(ANSWERED, 0.0)
    assert record.is_quiet


def test_what_ends_while_ejected_changes_nothing():
    record = ejected(now=0.0)
    until = record.until
    for outcome in [*FAILURES, ANSWERED, Outcome.CLIENT_GONE]:
        assert not record.note(outcome, 0.5)
    assert (record.state, record.until, record.ejections) == (State.EJECTED, until, 1)


# -- back-off ---------------------------------------------------------------------------------------------


def test_the_back_off_doubles_to_its_bound_while_probes_fail():
    record, now, waits = Ejection("b"), 0.0, []
    record.note(REFUSED, now)
    record.note(REFUSED, now)
    for _ in range(9):
        waits.append(record.due - now)
        assert not record.turn(math.nextafter(record.due, 0))
        now = record.due
        assert record.turn(now)
        assert record.picked(now)
        now += 0.25
        assert record.note(REFUSED, now)
    assert waits == [1, 2, 4, 8, 16, 32, LAST_BACKOFF_S, LAST_BACKOFF_S, LAST_BACKOFF_S]
    assert record.ejections == 1, "failed probes are no ejections"


def test_a_soon_repeated_ejection_goes_on_where_the_back_off_was():
    record = returning(now=10.0)
    record.note(REFUSED, 12.0)
    assert record.until - 12.0 == 2 * FIRST_BACKOFF_S
    assert record.ejections == 2


@pytest.mark.parametrize(("spell_s", "wait_s"), [(GOOD_SPELL_S - 1, 2 * FIRST_BACKOFF_S), (GOOD_SPELL_S, 1.0)])
def test_a_good_spell_starts_the_back_off_anew(spell_s, wait_s):
    record = returning(now=10.0)
    assert record.turn(10.0 + SLOW_START_S)
    now = 10.0 + spell_s
    record.note(REFUSED, now)
    record.note(REFUSED, now)
    assert record.until - now == wait_s


def test_an_hour_of_failed_probes_is_no_good_spell():
    record, now = ejected(), 0.0
    while now < 3600:
        now = record.due
        record.turn(now)
        record.picked(now)
        record.note(REFUSED, now)
    assert record.until - now == LAST_BACKOFF_S


# -- half open --------------------------------------------------------------------------------------------


def test_after_the_back_off_one_request_at_a_time_may_try():
    record = ejected()
    assert not record.is_available(0.99)
    assert record.is_available(1.0), "before anybody turned it"
    assert record.turn(1.0)
    assert (record.state, record.is_half_open, record.is_available(1.0)) == (State.PROBING, True, True)
    assert record.picked(1.0)
    assert not record.is_available(1.1)


@pytest.mark.parametrize("outcome", FAILURES)
def test_a_failed_probe_ejects_again_whatever_failed(outcome):
    record = probed(now=10.0)
    assert record.note(outcome, 10.5)
    assert (record.state, record.reason, record.until) == (State.EJECTED, outcome, 12.5)


def test_an_answered_probe_brings_it_back():
    record = probed(now=10.0)
    assert record.note(ANSWERED, 10.5)
    assert (record.state, record.since) == (State.RETURNING, 10.5)
    assert record.is_available(10.5)


def test_a_probe_whose_client_left_lets_another_try():
    record = probed(now=10.0)
    assert record.note(Outcome.CLIENT_GONE, 10.5)
    assert (record.state, record.is_available(10.5)) == (State.PROBING, True)
    assert not record.note(Outcome.CLIENT_GONE, 10.5)


def test_a_probe_that_takes_long_lets_another_try_and_still_counts():
    record = probed(now=10.0)
    assert record.due == 10.0 + PROBE_LAPSES_S
    assert record.turn(record.due)
    assert record.is_available(20.0)
    assert record.due == math.inf
    assert record.note(Outcome.TIMED_OUT, 25.0)
    assert record.state is State.EJECTED


def test_a_failure_from_before_is_no_failed_probe():
    record = ejected()
    record.turn(1.0)
    assert not record.note(Outcome.TIMED_OUT, 1.1)
    assert record.state is State.PROBING


def test_only_what_can_be_sent_again_is_a_probe_at_first():
    record = ejected()
    record.turn(1.0)
    assert not record.may_risk(1.0 + RISK_AFTER_S - 0.1)
    assert record.may_risk(1.0 + RISK_AFTER_S)
    assert Ejection().may_risk(0.0)
    assert returning().may_risk(10.0)


def test_picking_a_serving_one_is_no_probe():
    assert not Ejection("b").picked(0.0)


# -- slow start -------------------------------------------------------------------------------------------


def test_the_share_grows_to_the_whole():
    record = returning(now=100.0)
    shares = [record.share(100.0 + s) for s in range(13)]
    assert shares[0] == FIRST_SHARE
    assert shares[5] == 0.5
    assert shares[10:] == [1.0, 1.0, 1.0]
    assert shares == sorted(shares)
    assert record.turn(100.0 + SLOW_START_S)
    assert (record.state, record.is_quiet, record.due) == (State.SERVING, True, math.inf)
    assert record.share(0.0) == 1.0


def test_a_returning_one_is_given_half_the_patience():
    record = returning()
    assert record.note(REFUSED, 11.0)
    assert record.state is State.EJECTED
    record = returning()
    assert [record.note(Outcome.SERVER_ERROR, 11.0) for _ in range(3)] == [False, False, True]


def test_failures_noted_while_returning_stay_noted():
    record = returning(now=10.0)
    record.note(Outcome.TIMED_OUT, 19.0)
    assert record.turn(20.0)
    assert not record.is_quiet
    assert [record.note(Outcome.TIMED_OUT, 20.0) for _ in range(2)] == [False, True]


def test_a_share_is_never_nothing():
    """A weight of nothing would never be chosen, also when there is no other."""
    for record in (Ejection(), ejected(), probed(), returning()):
        assert 0 < record.share(10.0) <= 1


def test_a_new_one_among_others_starts_slowly():
    record = Ejection("b")
    record.welcome(5.0)
    assert (record.state, record.share(5.0), record.is_available(5.0)) == (State.RETURNING, FIRST_SHARE, True)
    record = ejected()
    record.welcome(5.0)
    assert record.state is State.EJECTED


# -- active checks ----------------------------------------------------------------------------------------


def test_an_unhealthy_one_is_not_available_and_comes_back_slowly():
    record = Ejection("b")
    assert record.check(is_healthy=False, now=1.0)
    assert not record.check(is_healthy=False, now=2.0)
    assert (record.state, record.is_available(2.0)) == (State.SERVING, False)
    assert record.check(is_healthy=True, now=3.0)
    assert (record.state, record.since, record.is_available(3.0)) == (State.RETURNING, 3.0, True)
    assert not record.check(is_healthy=True, now=4.0)


def test_slow_start_begins_again_when_it_was_unhealthy_meanwhile():
    record = returning(now=10.0)
    record.check(is_healthy=False, now=12.0)
    record.check(is_healthy=True, now=18.0)
    assert (record.state, record.share(18.0), record.due) == (State.RETURNING, FIRST_SHARE, 28.0)


@pytest.mark.parametrize("reason", FAILURES)
def test_a_healthy_check_has_an_ejected_one_tried_at_once_if_it_shows_the_cure(reason):
    record = ejected(reason, now=0.0)
    changed = record.check(is_healthy=True, now=0.5, asked_at=0.2)
    assert changed == (reason in SHOWN_BY_CHECK)
    assert record.state is (State.PROBING if changed else State.EJECTED)


def test_a_check_begun_before_the_ejection_shows_nothing():
    record = ejected(now=5.0)
    assert not record.check(is_healthy=True, now=5.1, asked_at=4.9)
    assert record.state is State.EJECTED


def test_checks_bring_it_back_where_nobody_comes_to_try():
    record = ejected(now=0.0)
    record.check(is_healthy=True, now=0.5, asked_at=0.4)
    assert record.check(is_healthy=True, now=10.5, asked_at=10.4)
    assert record.state is State.RETURNING


def test_once_tried_the_probe_decides_and_not_a_check():
    record = probed(Outcome.TIMED_OUT, now=10.0)
    assert not record.check(is_healthy=True, now=11.0)
    record.turn(10.0 + PROBE_LAPSES_S)
    assert not record.check(is_healthy=True, now=25.0)
    assert record.state is State.PROBING


def test_server_errors_are_not_cured_by_a_health_page():
    record = ejected(Outcome.SERVER_ERROR)
    record.turn(1.0)
    assert not record.check(is_healthy=True, now=2.0)
    assert record.state is State.PROBING


def test_an_ejected_one_that_is_unhealthy_too_needs_both():
    record = ejected(now=0.0)
    record.check(is_healthy=False, now=0.5)
    record.turn(1.0)
    assert not record.is_available(1.0)
    assert record.check(is_healthy=True, now=2.0, asked_at=1.9)
    assert record.is_available(2.0)


# -- the table --------------------------------------------------------------------------------------------


def test_moves_are_those_of_the_table():
    made = {
        State.SERVING: Ejection,
        State.EJECTED: ejected,
        State.PROBING: probed,
        State.RETURNING: returning,
    }
    for before, after in product(State, State):
        record = made[before]()
        if after in MOVES[before]:
            record._move_to(after, 20.0, math.inf)
            assert record.state is after
        else:
            with pytest.raises(RuntimeError, match=f"from {before.name} to {after.name}"):
                record._move_to(after, 20.0, math.inf)


def test_every_failure_has_its_words_and_every_state_its_moves():
    assert set(WORDS) == set(PATIENCE) == set(Outcome) - {ANSWERED, Outcome.CLIENT_GONE}
    assert set(MOVES) == set(State)
    assert not ANSWERED, "note() takes the false one for an answer"


def test_repr_says_where_it_stands():
    assert repr(Ejection("http://b:1")) == "<Ejection http://b:1 SERVING ejections=0>"
    record = ejected(Outcome.TIMED_OUT)
    record.is_unhealthy = True
    assert repr(record) == "<Ejection b EJECTED, unhealthy, requests timed out ejections=1>"


def test_its_complaint_is_why_it_is_left_out():
    assert Ejection().complaint == ""
    assert ejected(Outcome.TIMED_OUT).complaint == "ejected: requests timed out"
    assert probed().complaint == "probing: connections failed"
    assert returning().complaint == ""
