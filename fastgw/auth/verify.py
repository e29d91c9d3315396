"""Asks the backend about tokens that are not known here (AUTH_VERIFY_URL).

    POST <url, with {worker_id} filled in>        X-Worker-Token: <token>        {"token": "<token>"}

Yes is 200 with `{"valid": true}` and nothing else. The platform answers a wrong token with 200 `{"valid": false}`; 401,
403 and 404 (no such worker) are no as well. What is neither leaves the question open: it is asked again next time.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx
import orjson

from fastgw import __version__
from fastgw.auth.credentials import UNASKABLE

if TYPE_CHECKING:
    from collections.abc import Hashable

TIMEOUT_S: Final = 2.0
"""For one question in all. A client waits for it."""

MAX_QUESTIONS: Final = 64
"""Under way at a time, per process: what a backend of one worker process can take, and no storm of wrong tokens."""

NO_S: Final = 5.0
"""How long a no is remembered: a wrong token does not hammer the backend, one that was just made works soon."""

MAX_DENIALS: Final = 10_000
"""Remembered at a time; the oldest give way. 2 MB."""

MAX_REPLY_BYTES: Final = 16_384
"""Of the backend's answer. What is longer is none."""

KEEPALIVE_S: Final = 2.0
"""Idle connections; well below uvicorn's 5 s, so that none is used as the server closes it."""

WARN_S: Final = 10.0
"""Between two lines in the log: a backend that answers now so, now so, is not to fill it."""

log = logging.getLogger("fastgw.auth")


class Verdict(Enum):
    """What the backend says of a token."""

    YES = "yes"
    NO = "no"
    OPEN = "open"  # it could not be asked, or what it answered is neither


def verdict(status: int, body: bytes) -> Verdict:
    """Read the backend's answer."""
    if status in {401, 403, 404}:
        return Verdict.NO
    if status != 200:
        return Verdict.OPEN
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Verdict.OPEN
    valid = content.get("valid") if isinstance(content, dict) else None
    if valid is True:
        return Verdict.YES
    return Verdict.NO if valid is False else Verdict.OPEN


class Denials:
    """What was answered with no a moment ago. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._until)

    def add(self, question: Hashable, now: float) -> None:
        """Remember a no for NO_S."""
        self._until.pop(question, None)
        if len(self._until) >= MAX_DENIALS:
            del self._until[next(iter(self._until))]
        self._until[question] = now + NO_S

    def holds(self, question: Hashable, now: float) -> bool:
        """Whether this was a no a moment ago."""
        until = self._until.get(question)
        if until is not None and until <= now:
            del self._until[question]
            return False
        return until is not None


class Verify:
    """The questions of one process. The same question is asked once at a time, whoever waits for it."""

    def __init__(self, url: str) -> None:
        """url: may hold {worker_id}, in its path or query."""
        self.names_worker = "{worker_id}" in url
        self._url = url
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_S,
            trust_env=False,  # a proxy for the outside must not see tokens
            follow_redirects=False,  # nor must whoever a redirect names
            limits=httpx.Limits(
                max_connections=MAX_QUESTIONS, max_keepalive_connections=8, keepalive_expiry=KEEPALIVE_S
            ),
            headers={"user-agent": f"fastgw/{__version__}", "accept": "application/json"},
            verify=url.startswith("https:"),  # otherwise nothing is to be verified: saves loading CAs
        )
        self._asking: dict[tuple[bytes, str | None], asyncio.Task[Verdict]] = {}
        self._denials = Denials()
        self._problem = ""
        self._warned_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Verify {len(self._asking)} asking, {len(self._denials)} denials>"

    def said_no(self, digest: bytes, worker: str | None) -> bool:
        """Whether asking again is pointless now."""
        return self._denials.holds((digest, worker), monotonic())

    async def ask(self, digest: bytes, token: bytes, worker: str | None) -> Verdict:
        """Is this token good (for this worker)? Takes at most TIMEOUT_S.

        digest: what the token is known by. worker: needed if the URL names one; NO without, or for an impossible one.
        OPEN at once while MAX_QUESTIONS are under way.
        """
        if not self.names_worker:
            worker = None
        elif worker is None or worker == UNASKABLE:
            return Verdict.NO
        question = digest, worker
        task = self._asking.get(question)
        if task is None:
            if len(self._asking) >= MAX_QUESTIONS:
                return Verdict.OPEN
            # A task of its own: the client that asked first may leave while others wait for the same answer.
            task = self._asking[question] = asyncio.create_task(self._question(question, token))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up what is under way, and close the client."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _question(self, question: tuple[bytes, str | None], token: bytes) -> Verdict:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._send(question[1], token)
        except TimeoutError:
            answer = Verdict.OPEN
            self._note(f"did not answer within {TIMEOUT_S:g} s")
        except httpx.HTTPError as error:
            answer = Verdict.OPEN
            self._note(f"can't be asked ({type(error).__name__})")
        finally:
            del self._asking[question]
        if answer is Verdict.NO:
            self._denials.add(question, monotonic())
        return answer

    async def _send(self, worker: str | None, token: bytes) -> Verdict:
        url = self._url.replace("{worker_id}", quote(worker or "", safe=""))
        request = self._client.build_request(
            "POST", url, headers={b"x-worker-token": token}, json={"token": token.decode()}
        )
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            # A kept connection that the server was just closing. A question has no effect: ask once more.
            response = await self._client.send(request, stream=True)
        try:
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_REPLY_BYTES:
                    break
        finally:
            await response.aclose()
        answer = Verdict.OPEN if len(body) > MAX_REPLY_BYTES else verdict(response.status_code, body)
        self._note(f"answered {response.status_code} with neither yes nor no" if answer is Verdict.OPEN else "")
        return answer

    def _note(self, problem: str) -> None:
        """Log it when tokens can be verified no more, or again, but not every moment. Names neither URL nor token."""
        if problem == self._problem or (problem and monotonic() < self._warned_at + WARN_S):
            return
        if problem:
            self._warned_at = monotonic()
            log.warning("AUTH_VERIFY_URL %s; tokens that are not known are answered with 503", problem)
        elif self._problem:
            log.info("AUTH_VERIFY_URL answers again")
        self._problem = problem
