"""What clients are told about their window."""

from __future__ import annotations

import pytest

from fastgw.admission.rules import Limit
from fastgw.admission.window import limit_fields, seconds_of

NOW_US = 1_700_000_000_250_000


def test_both_families_of_fields() -> None:
    fields = dict(limit_fields(Limit("default", 100, 60_000), 1, 60_000_000, NOW_US))
    assert fields == {
        b"x-ratelimit-limit": b"100",
        b"x-ratelimit-remaining": b"99",
        b"x-ratelimit-reset": b"1700000061",
        b"ratelimit-policy": b'"default";q=100;w=60',
        b"ratelimit": b'"default";r=99;t=60',
    }


def test_remaining_is_never_negative() -> None:
    assert dict(limit_fields(Limit("path", 5, 1000), 9, 1, NOW_US))[b"x-ratelimit-remaining"] == b"0"


@pytest.mark.parametrize(("wait_us", "seconds"), [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (59_999_999, 60)])
def test_a_wait_is_rounded_up(wait_us, seconds) -> None:
    assert seconds_of(wait_us) == seconds
