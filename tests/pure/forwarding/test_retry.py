"""May it be sent again?"""

from __future__ import annotations

import pytest

from fastgw.forwarding.retry import MAX_ATTEMPTS, is_known_safe, may_retry
from fastgw.upstream.errors import (
    Aborted,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    PoolTimeout,
    ProtocolFault,
    ReadTimeout,
    UpstreamError,
)
from tests.pure.asgi import exchange

SAFE, JOB = b"/api/v1/queue/stats", b"/api/v1/workers/w1/next-job"
LOST_REUSED = ConnectionLost("", sent=9, reused=True)


@pytest.mark.parametrize(
    ("method", "target", "safe"),
    [
        ("GET", SAFE, True),
        ("HEAD", SAFE, True),
        ("GET", SAFE + b"?a=b", True),
        ("GET", b"/api/v1/jobs/42", True),
        ("GET", b"/api/v1/workers", True),
        ("GET", b"/health", True),
        ("POST", SAFE, False),
        ("DELETE", b"/api/v1/jobs/42", False),
        ("GET", JOB, False),
        ("GET", b"/api/v1/workers/w1/next-job/", False),
        ("GET", b"/api/v1/workers/w1/config/../next-job", False),
        ("GET", b"/api/v1/jobs/1/../../workers/w1/next-job", False),
        ("GET", b"/anything", False),
        ("GET", b"/health\n", False),
        ("OPTIONS", SAFE, False),
    ],
)
def test_only_what_is_known_is_safe(method: str, target: bytes, safe: bool) -> None:
    assert is_known_safe(exchange(method=method, target=target)) is safe


@pytest.mark.parametrize(
    ("method", "target", "error", "left", "again"),
    [
        ("POST", b"/api/v1/jobs", ConnectFailed(""), 1, True),
        ("POST", b"/api/v1/jobs", ConnectTimeout(""), 1, True),
        ("POST", b"/api/v1/jobs", PoolTimeout(""), 1, True),
        ("POST", b"/api/v1/jobs", ConnectFailed(""), 0, False),
        ("GET", SAFE, ConnectFailed(""), 0, False),
        ("POST", b"/api/v1/jobs", ConnectionLost("", sent=0, reused=True), 0, True),
        ("POST", b"/api/v1/jobs", LOST_REUSED, 1, False),
        ("GET", JOB, LOST_REUSED, 1, False),
        ("GET", SAFE, LOST_REUSED, 0, True),
        ("GET", SAFE, ConnectionLost("", sent=9), 1, False),
        ("GET", SAFE, ReadTimeout("", sent=9, reused=True), 1, False),
        ("GET", SAFE, ProtocolFault("", sent=9, reused=True), 1, False),
        ("GET", SAFE, Aborted("", sent=9, reused=True), 1, False),
    ],
    ids=[
        "refused",
        "connect_timeout",
        "pool_full",
        "refused_no_other",
        "safe_refused_no_other",
        "closed_before_it_was_sent",
        "post_lost",
        "next_job_lost",
        "safe_lost_on_reused",
        "safe_lost_on_new",
        "safe_timed_out",
        "safe_malformed",
        "safe_given_up",
    ],
)
def test_the_table(method: str, target: bytes, error: UpstreamError, left: int, again: bool) -> None:
    x = exchange(method=method, target=target)
    x.attempts = 1
    assert may_retry(x, error, left) is again


@pytest.mark.parametrize("why", ["client_gone", "head_sent", "too_often", "has_body"])
def test_never(why: str) -> None:
    x = exchange()
    x.attempts = MAX_ATTEMPTS if why == "too_often" else 1
    x.client_gone = why == "client_gone"
    x.head_sent = why == "head_sent"
    x.body_length = 3 if why == "has_body" else 0
    assert not may_retry(x, LOST_REUSED, 3)
    if why != "has_body":
        assert not may_retry(x, ConnectFailed(""), 3)
