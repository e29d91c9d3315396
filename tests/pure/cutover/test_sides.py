"""A request goes out as it was recorded, and what can't be sent is an answer too."""

from __future__ import annotations

import httpx
import pytest

from fastgw.cutover.recordings import Request
from fastgw.cutover.sides import MAX_BODY_BYTES, Side, raw_target, secrets_of


@pytest.mark.parametrize(
    ("url", "target", "expected"),
    [
        ("http://a", "/x/../y?b=%7E%2f&c=[1]", b"/x/../y?b=%7E%2f&c=[1]"),
        ("http://a/prefix", "/x", b"/prefix/x"),
        ("http://a", "/caf\u00e9 x", b"/caf%C3%A9%20x"),
    ],
)
def test_the_target_is_sent_as_it_was_recorded(url: str, target: str, expected: bytes) -> None:
    assert raw_target(url, target) == expected


def side(answer: httpx.Response | Exception, *secrets: str) -> Side:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Side("http://a", httpx.Client(transport=httpx.MockTransport(handle)), secrets)


GET = Request("GET", "/x")


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (httpx.ReadTimeout("x"), "no answer in time"),
        (httpx.ConnectError("refused for s3cret"), "ConnectError: refused for ***"),
    ],
)
def test_what_prevents_an_answer_is_told_without_secrets(problem: Exception, error: str) -> None:
    asked = side(problem, "s3cret")
    with asked.client:
        answer = asked.ask(GET)
    assert (answer.status, answer.error) == (0, error)


def test_an_event_stream_is_not_read() -> None:
    def endless():
        yield b"data: 1\n\n"
        raise AssertionError("it was read")

    asked = side(httpx.Response(200, headers={"content-type": "text/event-stream"}, content=endless()))
    with asked.client:
        answer = asked.ask(GET)
    assert (answer.status, answer.body, answer.is_cut) == (200, b"", True)


def test_a_long_body_is_not_read_whole() -> None:
    asked = side(httpx.Response(200, content=(b"x" * (1 << 20) for _ in range(100))))
    with asked.client:
        answer = asked.ask(GET)
    assert answer.is_cut
    assert len(answer.body) <= MAX_BODY_BYTES + (1 << 20)


def test_secrets_are_the_values_and_what_follows_a_scheme() -> None:
    assert secrets_of([("Authorization", "Bearer abcdef"), ("X-API-Key", "k3y")]) == ("Bearer abcdef", "abcdef", "k3y")
    assert secrets_of([("Accept", "*")]) == ()
