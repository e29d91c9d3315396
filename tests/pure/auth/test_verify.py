"""auth/verify.py: the backend's answer read, and how it is asked. Instead of a network, httpx's own MockTransport."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from fastgw.auth import verify
from fastgw.auth.credentials import UNASKABLE
from fastgw.auth.verify import MAX_DENIALS, MAX_QUESTIONS, MAX_REPLY_BYTES, NO_S, Denials, Verdict, Verify, verdict
from tests.pure.loop import in_loop

YES = {"valid": True}
URL = "http://backend.test/api/v1/workers/{worker_id}/verify"
D = b"d" * 32


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"valid": true}', Verdict.YES),
        (200, b'{"valid": true, "worker_id": "w-1"}', Verdict.YES),
        (200, b'{"valid": false}', Verdict.NO),
        (401, b"", Verdict.NO),
        (403, b'{"valid": true}', Verdict.NO),
        (404, b'{"detail": "Not Found"}', Verdict.NO),
        (200, b"", Verdict.OPEN),
        (200, b"{}", Verdict.OPEN),
        (200, b'{"valid": 1}', Verdict.OPEN),
        (200, b'{"valid": "true"}', Verdict.OPEN),
        (200, b'{"valid": null}', Verdict.OPEN),
        (200, b'[{"valid": true}]', Verdict.OPEN),
        (200, b"true", Verdict.OPEN),
        (200, b"<html>valid: true</html>", Verdict.OPEN),
        (200, b"\xff\xfe", Verdict.OPEN),
        (201, b'{"valid": true}', Verdict.OPEN),
        (204, b"", Verdict.OPEN),
        (302, b'{"valid": true}', Verdict.OPEN),
        (422, b'{"valid": true}', Verdict.OPEN),
        (429, b'{"valid": false}', Verdict.OPEN),
        (500, b'{"valid": true}', Verdict.OPEN),
        (503, b'{"valid": false}', Verdict.OPEN),
    ],
)
def test_only_200_with_valid_true_is_a_yes(status, body, expected):
    assert verdict(status, body) is expected


def test_a_no_is_remembered_for_a_few_seconds():
    denials = Denials()
    denials.add("q", 100.0)
    assert denials.holds("q", 100.0 + NO_S - 0.001)
    assert not denials.holds("other", 100.0)
    assert not denials.holds("q", 100.0 + NO_S)
    assert len(denials) == 0


def test_noes_are_bounded_and_the_oldest_give_way():
    denials = Denials()
    for number in range(MAX_DENIALS + 10):
        denials.add(number, 0.0)
    assert len(denials) == MAX_DENIALS
    assert not denials.holds(9, 1.0)
    assert denials.holds(10, 1.0)


class Backend:
    """What is asked, and what is answered: a response, an exception, or a function of the request."""

    def __init__(self, url: str = URL, *answers: object) -> None:
        self.requests: list[httpx.Request] = []
        self.answers = list(answers)
        self.verify = Verify(url)
        options = self.verify._client
        self.verify._client = httpx.AsyncClient(
            transport=httpx.MockTransport(self.handle), headers=options.headers, timeout=options.timeout
        )

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, json=YES)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return httpx.Response(200, json=YES)
        return answer

    async def ask(self, worker: str | None = "w-1", token: bytes = b"t0ken", digest: bytes = D) -> Verdict:
        return await self.verify.ask(digest, token, worker)


@in_loop
async def test_a_question_has_the_token_in_field_and_body_and_the_worker_in_the_url():
    backend = Backend()
    assert await backend.ask() is Verdict.YES
    (request,) = backend.requests
    assert (request.method, str(request.url)) == ("POST", "http://backend.test/api/v1/workers/w-1/verify")
    assert request.headers["x-worker-token"] == "t0ken"
    assert json.loads(request.content) == {"token": "t0ken"}
    await backend.verify.close()


@pytest.mark.parametrize(
    ("worker", "path"),
    [
        ("a?b#c", b"/api/v1/workers/a%3Fb%23c/verify"),
        ("ä", b"/api/v1/workers/%C3%A4/verify"),
        ("%2e", b"/api/v1/workers/%252e/verify"),
    ],
)
def test_a_worker_can_not_change_whom_the_question_is_about(worker, path):
    @in_loop
    async def body() -> None:
        backend = Backend()
        await backend.ask(worker)
        assert backend.requests[0].url.raw_path == path
        await backend.verify.close()

    body()


@in_loop
async def test_without_a_worker_that_can_be_asked_about_nobody_is_asked():
    backend = Backend()
    assert await backend.ask(None) is Verdict.NO
    assert await backend.ask(UNASKABLE) is Verdict.NO
    assert backend.requests == []
    assert not backend.verify.said_no(D, None), "a session may come at any moment"
    await backend.verify.close()


@in_loop
async def test_a_url_without_a_worker_asks_about_the_token_alone():
    backend = Backend("http://backend.test/auth?v=1")
    assert not backend.verify.names_worker
    assert await backend.ask("w-1") is Verdict.YES
    assert str(backend.requests[0].url) == "http://backend.test/auth?v=1"
    await backend.verify.close()


@in_loop
async def test_a_no_is_remembered_for_that_worker_and_a_yes_is_not():
    backend = Backend(URL, httpx.Response(200, json={"valid": False}))
    assert await backend.ask("w-1") is Verdict.NO
    assert backend.verify.said_no(D, "w-1")
    assert not backend.verify.said_no(D, "w-2")
    assert await backend.ask("w-2") is Verdict.YES
    assert not backend.verify.said_no(D, "w-2")
    await backend.verify.close()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, content=b"x" * (MAX_REPLY_BYTES + 1)),
        httpx.Response(307, headers={"location": "http://evil.test/"}),
        httpx.ConnectError("refused by http://user:secret@backend.test"),
        httpx.ReadTimeout("slow"),
    ],
    ids=["500", "too long", "redirect", "refused", "timeout"],
)
def test_what_is_no_answer_leaves_the_question_open_and_is_logged_once(answer, caplog):
    @in_loop
    async def body() -> None:
        backend = Backend(URL, answer, answer)
        assert await backend.ask() is Verdict.OPEN
        assert await backend.ask() is Verdict.OPEN
        assert len(backend.requests) == 2, "nothing of it is remembered, no redirect followed"
        assert caplog.text.count("WARNING") == 1
        assert not {"t0ken", "secret", "backend.test"} & set(caplog.text.replace(":", " ").split())
        assert await backend.ask() is Verdict.YES
        await backend.verify.close()

    body()


@in_loop
async def test_a_connection_that_was_just_closed_is_no_reason_to_give_up():
    backend = Backend(URL, httpx.RemoteProtocolError("server disconnected"))
    assert await backend.ask() is Verdict.YES
    assert len(backend.requests) == 2
    await backend.verify.close()


def test_a_question_takes_no_longer_than_its_time(monkeypatch, caplog):
    monkeypatch.setattr(verify, "TIMEOUT_S", 0.02)

    @in_loop
    async def body() -> None:
        backend = Backend(URL, asyncio.Event())
        assert await backend.ask() is Verdict.OPEN
        assert "did not answer within" in caplog.text
        await backend.verify.close()

    body()


@in_loop
async def test_the_same_question_is_asked_once_at_a_time():
    answered = asyncio.Event()
    backend = Backend(URL, answered)
    first, *others = [asyncio.create_task(backend.ask()) for _ in range(20)]
    other_worker = asyncio.create_task(backend.ask("w-2"))
    assert await other_worker is Verdict.YES
    first.cancel()  # who asked first leaves; the others still get their answer
    answered.set()
    assert set(await asyncio.gather(*others)) == {Verdict.YES}
    assert len(backend.requests) == 2
    assert repr(backend.verify) == "<Verify 0 asking, 0 denials>"
    await backend.verify.close()


@in_loop
async def test_questions_under_way_are_bounded():
    answered = asyncio.Event()
    backend = Backend(URL, *[answered] * MAX_QUESTIONS)
    tasks = [asyncio.create_task(backend.ask(f"w-{number}")) for number in range(MAX_QUESTIONS)]
    await asyncio.sleep(0)
    assert await backend.ask("one-more") is Verdict.OPEN
    answered.set()
    assert set(await asyncio.gather(*tasks)) == {Verdict.YES}
    assert await backend.ask("one-more") is Verdict.YES
    await backend.verify.close()


@in_loop
async def test_closing_gives_up_what_is_under_way():
    backend = Backend(URL, asyncio.Event())
    task = asyncio.create_task(backend.ask())
    await asyncio.sleep(0.01)
    await backend.verify.close()
    with pytest.raises(asyncio.CancelledError):
        await task
