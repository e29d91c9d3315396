"""The tree of upstream errors: every failure is one of it, and says what was sent."""

from __future__ import annotations

import pytest

from fastgw.upstream import errors

TREE = [
    errors.PoolTimeout,
    errors.ConnectFailed,
    errors.ConnectTimeout,
    errors.ReadTimeout,
    errors.ConnectionLost,
    errors.ProtocolFault,
    errors.Aborted,
]


@pytest.mark.parametrize("kind", TREE, ids=[kind.__name__ for kind in TREE])
def test_each_is_an_upstream_error_with_its_facts(kind: type[errors.UpstreamError]) -> None:
    error = kind("why", sent=3, reused=True)
    assert isinstance(error, errors.UpstreamError)
    assert (str(error), error.reason, error.sent, error.reused) == ("why", "why", 3, True)
    assert (kind("why").sent, kind("why").reused) == (0, False)


def test_the_list_above_is_all() -> None:
    named = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.UpstreamError)}
    assert named - {errors.UpstreamError} == set(TREE)
