"""The fingerprint holds together what compares, and nothing else."""

from __future__ import annotations

import pytest

from bench.report.machine import machine
from tests.pure.bench.made import ENVIRONMENT


def test_the_label_says_it_for_people() -> None:
    found = machine(ENVIRONMENT)
    assert found.label == "Example CPU, 2 cores, 24 GiB, Linux 6.18, Python 3.11.7"
    assert found.as_json() == {"id": found.id, "label": found.label}
    assert len(found.id) == 8


@pytest.mark.parametrize(
    "other",
    [{"memory_gib": 23.6}, {"memory_gib": 24.0}, {"kernel": "6.18.1"}, {"load_average": 5.0}, {"commit": "ffff"}],
)
def test_what_changes_between_boots_and_runs_is_the_same_machine(other) -> None:
    assert machine(ENVIRONMENT | other) == machine(ENVIRONMENT)


@pytest.mark.parametrize(
    "other",
    [{"cpu": "Other CPU"}, {"cores": 4}, {"memory_gib": 15.5}, {"kernel": "6.17.44"}, {"python": "3.12.1"}],
)
def test_what_changes_figures_is_another_machine(other) -> None:
    assert machine(ENVIRONMENT | other) != machine(ENVIRONMENT)


@pytest.mark.parametrize(("gib", "shown"), [(0.9, 1), (1.9, 2), (3.8, 4), (7.7, 8), (15.5, 16), (62.7, 64)])
def test_memory_is_rounded_up_to_what_is_built_in(gib, shown) -> None:
    assert f" {shown} GiB" in machine(ENVIRONMENT | {"memory_gib": gib}).label
