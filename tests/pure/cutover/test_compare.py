"""What counts as a difference when the server itself moves, and what is sent how often."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from fastgw import errors
from fastgw.cutover import compare as module
from fastgw.cutover.compare import Comparison, Options, Outcome
from fastgw.cutover.differences import WHOLE, Answer
from fastgw.cutover.recordings import Request

PAGE = Request("GET", "/page")
JSON = ("content-type", "application/json")
OWN = ("x-gateway-version", "1")
Say = Callable[[int, Request], Answer]


def json(content: object, status: int = 200, *fields: tuple[str, str]) -> Answer:
    return Answer(status, (JSON, OWN, *fields), orjson.dumps(content), 0.001)


class Scripted:
    """A side that answers as `say` does, which is told how often it was asked."""

    def __init__(self, say: Say, log: list[str], name: str) -> None:
        self.say, self.log, self.name = say, log, name
        self.asked = 0
        self.fields: list[tuple[tuple[str, str], ...]] = []

    def ask(self, request: Request, *more: tuple[str, str]) -> Answer:
        self.asked += 1
        self.fields.append(more)
        self.log.append(self.name)
        return self.say(self.asked, request)

    def hidden(self, text: str) -> str:
        return text.replace("s3cret", "***")


def run(direct: Say, gateway: Say, samples: int = 8, requests: tuple[Request, ...] = (PAGE,)) -> Outcome:
    return comparison(direct, gateway, samples).run(list(requests), lambda *_: None)


def comparison(direct: Say, gateway: Say, samples: int = 8, **options: bool) -> Comparison:
    log: list[str] = []
    made = Comparison(
        Scripted(direct, log, "direct"),  # type: ignore[arg-type]
        Scripted(gateway, log, "gateway"),  # type: ignore[arg-type]
        Options(samples, **options),
    )
    made.log = log  # type: ignore[attr-defined]
    return made


def places(outcome: Outcome) -> list[tuple[str, str, int]]:
    return [(one.difference.kind, one.difference.where, one.times) for one in outcome.findings]


def test_the_same_answers() -> None:
    outcome = run(lambda *_: json(1), lambda *_: json(1))
    assert (outcome.asked, len(outcome.pairs), outcome.findings) == (8, 8, [])


def test_who_is_first_alternates() -> None:
    made = comparison(lambda *_: json(1), lambda *_: json(1), 4)
    made.run([PAGE], lambda *_: None)
    log = made.log  # type: ignore[attr-defined]
    assert log[2:] == ["direct", "gateway", "gateway", "direct"] * 2


def test_other_content_counts_each_time() -> None:
    assert places(run(lambda *_: json({"a": 1}), lambda *_: json({"a": 2}))) == [("body", "/a", 8)]


def test_what_the_server_changes_by_itself_does_not_count() -> None:
    outcome = run(lambda n, _: json({"a": 1, "n": n}), lambda n, _: json({"a": 1, "n": -n}))
    assert outcome.findings == []
    assert set(outcome.moving) == {("GET /page", "/n")}


def test_beside_what_moves_the_rest_counts() -> None:
    outcome = run(lambda n, _: json({"a": 1, "n": n}), lambda n, _: json({"a": 2, "n": -n}))
    assert places(outcome) == [("body", "/a", 8)]


def test_a_wrong_body_that_came_once_counts() -> None:
    """The server never said so: it is no change of its own, though it is gone when asked again."""
    outcome = run(lambda *_: json({"a": 1}), lambda n, _: json({"a": 2 if n == 4 else 1}))
    assert places(outcome) == [("body", "/a", 1)]


@pytest.mark.parametrize("at", range(2, 14))
def test_a_change_between_two_requests_does_not_count(at: int) -> None:
    """Whoever is first: the server's next answer, or its last one, is the gateway's."""
    clock = iter(range(1000))

    def say(*_: object) -> Answer:
        return json({"a": 1 if next(clock) < at else 2})

    assert run(say, say).findings == []


def test_what_the_server_has_moved_before_or_later_does_not_count() -> None:
    """A counter of a server with traffic: to 5 and back to 6 between two answers, and at rest when asked again."""
    served = {3: {"a": 1, "n": 7}}
    outcome = run(
        lambda n, _: json(served.get(n, {"a": 1, "n": 6})),
        lambda n, _: json({"a": 1, "n": 5 if n == 9 else 6}),
    )
    assert outcome.findings == []
    assert set(outcome.moving) == {("GET /page", "/n")}


def test_what_the_server_has_moved_is_no_excuse_for_the_rest() -> None:
    outcome = run(
        lambda n, _: json({"a": 1, "n": n // 4}),
        lambda n, _: json({"a": 2 if n == 6 else 1, "n": 3}),
    )
    assert places(outcome) == [("body", "/a", 1)]


def test_an_error_that_came_once_counts() -> None:
    outcome = run(lambda *_: json(1), lambda n, _: json(1) if n != 5 else Answer(0, error="ReadError: s3cret"))
    assert places(outcome) == [("error", "", 1)]
    assert outcome.findings[0].difference.gateway == "ReadError: ***"


def test_a_status_that_came_once_counts_unless_the_server_has_it_too() -> None:
    assert places(run(lambda *_: json(1), lambda n, _: json(1, 502 if n == 5 else 200))) == [("status", "", 1)]
    gone = run(lambda n, _: json(1, 404 if n > 4 else 200), lambda n, _: json(1, 404 if n > 3 else 200))
    assert gone.findings == []


def test_a_moving_status_elsewhere_is_no_excuse() -> None:
    outcome = run(lambda n, _: json(1, 200 + n % 2), lambda *_: json(1, 503))
    assert places(outcome) == [("status", "", 8)]


def test_what_is_unsafe_is_sent_once_and_not_asked_about_again() -> None:
    post = Request("POST", "/jobs", (), b"{}")
    sent: list[str] = []

    def say(_: int, request: Request) -> Answer:
        sent.append(request.method)
        return json(len(sent))

    outcome = run(say, say, 8, (PAGE, post))
    assert sent.count("POST") == 2
    assert ("body", WHOLE, 1) in places(outcome)


def test_the_gateways_limit_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    limited = json({"error": {"code": errors.RATE_LIMIT_EXCEEDED.code}}, 429, ("retry-after", "23"))
    outcome = run(lambda *_: json(1), lambda n, _: limited if n == 5 else json(1))
    assert (slept, outcome.waited_s, outcome.findings, outcome.asked) == ([23.0], 23.0, [], 8)


def test_a_limit_that_takes_too_long_ends_it() -> None:
    limited = json({"error": {"code": errors.RATE_LIMIT_EXCEEDED.code}}, 429, ("retry-after", "3600"))
    outcome = run(lambda *_: json(1), lambda *_: limited)
    assert "3600" in outcome.stopped
    assert outcome.asked == 0


def test_no_cache_is_asked_for_unless_the_cache_is_to_answer() -> None:
    for cached, fields in ((False, (module.NO_CACHE,)), (True, ())):
        made = comparison(lambda *_: json(1), lambda *_: json(1), 2, cached=cached)
        made.run([PAGE], lambda *_: None)
        assert set(made._gateway.fields) == {fields}  # type: ignore[attr-defined]


def test_server_timing_is_read() -> None:
    timing = ("server-timing", "gateway;dur=0.41, backend;dur=3.20")
    outcome = run(lambda *_: json(1), lambda *_: json(1, 200, timing, ("x-gateway-cache", "HIT")), 1)
    (pair,) = outcome.pairs
    assert (pair.own, pair.backend, pair.is_cached) == (0.41, 3.2, True)


def test_it_ends_when_nobody_answers_any_more() -> None:
    outcome = run(lambda *_: json(1), lambda n, _: json(1) if n < 8 else Answer(0, error="no answer in time"), 100)
    assert "no answer in time" in outcome.stopped
    assert outcome.asked < 20


def test_what_came_from_the_cache_is_told_with_its_path() -> None:
    old = json({"a": 2}, 200, ("x-gateway-cache", "HIT"))
    outcome = run(lambda *_: json({"a": 1}), lambda *_: old, 2, (Request("GET", "/page?token=1"),))
    assert "fastgw cache purge /page," in outcome.findings[0].hint


def test_what_neither_side_answers_is_no_difference_but_counted() -> None:
    def say(n: int, _: Request) -> Answer:
        return Answer(0, error="no answer in time") if n % 3 == 0 else json(1)

    outcome = run(say, say, 8)
    assert outcome.findings == []
    assert outcome.unanswered == 8 - len(outcome.pairs) > 0
