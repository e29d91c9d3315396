"""Budgets become a verdict, and the verdict an exit status."""

from __future__ import annotations

import json
from math import nan

import pytest

from bench.report.verdict import Status, sentence, status, table
from tests.pure.bench.made import answer, budget
from tests.pure.bench.made import table as figures


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (budget(1.0), "met"),
        (budget(1.01), "MISSED"),
        (budget(0.9, reach=(0.8, 1.0)), "met"),
        (budget(0.9, reach=(0.8, 1.1)), "met, by the median only"),
        (budget(1.1, reach=(1.01, 1.3)), "MISSED"),
        (budget(1.1, reach=(1.0, 1.3)), "missed, by the median only"),
        (budget(2000, 2000, at_most=False), "met"),
        (budget(1999, 2000, at_most=False), "MISSED"),
        (budget(2000, 2000, at_most=False, reach=(1999, 2000)), "met, by the median only"),
        (budget(1999, 2000, at_most=False, reach=(1990, 2000)), "missed, by the median only"),
        (budget(nan), "MISSED"),
        (budget(nan, at_most=False), "MISSED"),
    ],
)
def test_a_budget_is_judged_by_its_median_and_says_where_rounds_disagree(one, said) -> None:
    assert one.verdict == said
    assert one.is_met == (said.startswith("met"))


def test_one_table_holds_every_budget_of_the_run() -> None:
    found = table([answer(budget(0.5, reach=(0.4, 0.6))), answer(), answer(budget(2.0), question="other_cost")])
    assert found.rows == (
        ("CPU as a share of a peer's", "0.500 [0.400..0.600]", "at most 1", "met"),
        ("CPU as a share of a peer's", "2", "at most 1", "MISSED"),
    )
    assert found.notes == ("no budget was judged for some_cost",)


def test_remarks_on_single_samples_are_told_beside_the_verdict() -> None:
    disturbed = answer(budget(0.5), tables=(figures("round 1: others took the core"),))
    assert table([disturbed]).notes == ("remarks that speak against figures, below the tables of: some_cost 1",)


@pytest.mark.parametrize(
    ("budgets", "left_out", "judged", "expected"),
    [
        ((budget(0.9), budget(1.0)), [], True, Status.MET),
        ((budget(0.9), budget(1.1)), [], True, Status.MISSED),
        ((budget(0.9, reach=(0.5, 2.0)),), [], True, Status.MET),
        ((budget(1.1, reach=(0.5, 2.0)),), [], True, Status.MISSED),
        ((budget(1.1),), [], False, Status.MET),
        ((), [], True, Status.MET),
        ((budget(0.9),), ["envoy"], True, Status.MET),
        ((budget(0.9),), ["fastgw"], True, Status.UNMEASURED),
        ((budget(1.1),), ["fastgw_chain"], True, Status.UNMEASURED),
        ((), ["fastgw_three"], False, Status.UNMEASURED),
    ],
)
def test_the_exit_status_follows(budgets, left_out, judged, expected) -> None:
    assert status([answer(*budgets)], left_out, judged=judged) == expected


def test_the_numbers_of_the_statuses_are_promised() -> None:
    assert [(one.name, one.value) for one in Status] == [
        ("MET", 0),
        ("MISSED", 1),
        ("USED_WRONGLY", 2),
        ("UNMEASURED", 3),
    ]


def test_the_sentence_counts() -> None:
    assert sentence([answer(budget(0.5), budget(0.5))]) == "2 of 2 budgets met"
    assert sentence([answer(budget(0.5), budget(1.5, reach=(0.9, 2)))]) == (
        "1 of 2 budgets met, 1 missed; 1 by the median only"
    )
    assert sentence([answer()]) == "No budget was judged"


def test_a_budget_as_json_has_its_verdict_and_its_spread_and_no_nan() -> None:
    kept = budget(0.9, reach=(0.8, 1.1)).as_json()
    assert kept["verdict"] == "met, by the median only"
    assert kept["met"] is True
    assert kept["spread"] == {"median": 0.9, "low": 0.8, "high": 1.1}
    assert json.loads(json.dumps(budget(nan).as_json(), allow_nan=False))["value"] is None
