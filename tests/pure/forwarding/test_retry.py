"""May it be sent again? The whole table."""

from __future__ import annotations

import itertools

import pytest

from fastgw.errors import REQUEST_TIMEOUT, GatewayError
from fastgw.forwarding.budget import Budget
from fastgw.forwarding.failures import GivenUp
from fastgw.forwarding.retry import LEAST_TRY_S, MAX_ATTEMPTS, Chances, Verdict, is_known_safe, may_retry
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

NO, AGAIN, ELSEWHERE = Verdict.NO, Verdict.AGAIN, Verdict.ELSEWHERE
SAFE, JOB = b"/api/v1/queue/stats", b"/api/v1/workers/w1/next-job"
NOW = 100.0
UNSAFE = [
    ("POST", b"/api/v1/jobs"),
    ("POST", SAFE),
    ("PUT", b"/api/v1/workers/w1/config"),
    ("DELETE", b"/api/v1/jobs/1"),
    ("GET", JOB),
    ("GET", b"/unknown"),
]


def closed_before_it_was_sent() -> UpstreamError:
    return ConnectionLost("", sent=0, reused=True)


def lost_on_a_kept_alive_one() -> UpstreamError:
    return ConnectionLost("", sent=9, reused=True)


def lost_in_its_head() -> UpstreamError:
    error = ConnectionLost("", sent=9, reused=True)
    error.answered = True
    return error


def lost_on_a_new_one() -> UpstreamError:
    return ConnectionLost("", sent=9)


def silent() -> UpstreamError:
    return ReadTimeout("", sent=9, reused=True)


def garbage() -> UpstreamError:
    return ProtocolFault("", sent=9, reused=True)


UNREACHED = [lambda: ConnectFailed(""), lambda: ConnectTimeout(""), lambda: PoolTimeout("")]
SENT = [lost_on_a_kept_alive_one, lost_in_its_head, lost_on_a_new_one, silent, garbage]


def verdict(method: str, target: bytes, error: UpstreamError, others: int = 1, **facts: object) -> Verdict:
    x = exchange(method=method, target=target)
    x.attempts = int(str(facts.get("attempts", 1)))
    x.head_sent, x.client_gone = bool(facts.get("head_sent")), bool(facts.get("client_gone"))
    chances = Chances(others, float(str(facts.get("left_s", 5.0))), bool(facts.get("at_hand", True)))
    budget = facts.get("budget", Budget())
    assert isinstance(budget, Budget)
    return may_retry(x, error, chances, budget, NOW)


def spent() -> Budget:
    budget = Budget()
    while budget.take(NOW):
        pass
    return budget


@pytest.mark.parametrize(
    ("method", "target", "safe"),
    [
        ("GET", SAFE, True),
        ("HEAD", SAFE, True),
        ("GET", SAFE + b"?a=b", True),
        ("GET", b"/api/v1/jobs/42", True),
        ("GET", b"/api/v1/jobs/stats/queue", True),
        ("GET", b"/api/v1/workers", True),
        ("GET", b"/api/v1/workers/w1/config", True),
        ("GET", b"/health", True),
        ("POST", SAFE, False),
        ("DELETE", b"/api/v1/jobs/42", False),
        ("GET", JOB, False),
        ("GET", b"/api/v1/workers/w1/next-job/", False),
        ("GET", b"/api/v1/workers/w1/config/../next-job", False),
        ("GET", b"/api/v1/jobs/1/../../workers/w1/next-job", False),
        ("GET", b"/anything", False),
        ("GET", b"/health\n", False),
        ("GET", b"/api/v1/jobs/1/events", False),
        ("OPTIONS", SAFE, False),
    ],
)
def test_only_what_is_known_is_safe(method: str, target: bytes, safe: bool) -> None:
    assert is_known_safe(exchange(method=method, target=target)) is safe


@pytest.mark.parametrize("error", UNREACHED)
@pytest.mark.parametrize(("method", "target"), [("GET", SAFE), *UNSAFE])
@pytest.mark.parametrize("at_hand", [True, False])
def test_what_reached_nobody_goes_to_another(error: object, method: str, target: bytes, at_hand: bool) -> None:
    """Always: whatever the request, and without asking the budget."""
    assert callable(error)
    assert verdict(method, target, error(), 1, at_hand=at_hand, budget=spent()) is ELSEWHERE
    assert verdict(method, target, error(), 0, at_hand=at_hand) is NO


@pytest.mark.parametrize(("method", "target"), [("GET", SAFE), *UNSAFE])
@pytest.mark.parametrize("others", [0, 1])
def test_a_connection_found_closed_is_no_fault_of_the_backend(method: str, target: bytes, others: int) -> None:
    assert verdict(method, target, closed_before_it_was_sent(), others, budget=spent()) is AGAIN


@pytest.mark.parametrize(
    ("error", "with_others", "alone"),
    [
        (lost_on_a_kept_alive_one, ELSEWHERE, AGAIN),
        (lost_in_its_head, ELSEWHERE, NO),
        (lost_on_a_new_one, ELSEWHERE, NO),
        (silent, ELSEWHERE, NO),
        (garbage, ELSEWHERE, NO),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_safe_request_that_was_sent(error: object, with_others: Verdict, alone: Verdict, method: str) -> None:
    assert callable(error)
    assert verdict(method, SAFE, error(), 1) is with_others
    assert verdict(method, SAFE, error(), 0) is alone
    for others in (0, 1):
        assert verdict(method, SAFE, error(), others, budget=spent()) is NO
        assert verdict(method, SAFE, error(), others, at_hand=False) is NO


@pytest.mark.parametrize(("error", "request_", "others"), [*itertools.product(SENT, UNSAFE, [0, 1, 5])])
def test_what_may_have_run_is_never_sent_again(error: object, request_: tuple[str, bytes], others: int) -> None:
    assert callable(error)
    budget = Budget()
    assert verdict(*request_, error(), others, budget=budget) is NO
    assert (budget.spent, budget.refused) == (0, 0)


@pytest.mark.parametrize("error", [*UNREACHED, closed_before_it_was_sent, *SENT])
@pytest.mark.parametrize(
    "facts",
    [{"client_gone": True}, {"head_sent": True}, {"attempts": MAX_ATTEMPTS}, {"left_s": LEAST_TRY_S / 2}],
    ids=["client_gone", "head_sent", "too_often", "too_late"],
)
def test_never(error: object, facts: dict[str, object]) -> None:
    assert callable(error)
    budget = Budget()
    assert verdict("GET", SAFE, error(), 3, budget=budget, **facts) is NO
    assert (budget.spent, budget.refused) == (0, 0)


@pytest.mark.parametrize("sent", [0, 9])
def test_what_this_side_gave_up_is_not_tried_again(sent: int) -> None:
    assert verdict("GET", SAFE, Aborted("", sent=sent, reused=True)) is NO
    given_up = GivenUp(GatewayError(REQUEST_TIMEOUT))
    given_up.sent = sent
    assert verdict("GET", SAFE, given_up) is NO
