"""The path of a request, on one page.

    accept -> authenticate -> admit -> answer -> claim -> deliver -> respond -> observe

Each step is a door of the room that is named beside it; steps share the Exchange and do not know each other. The steps
between accept and deliver answer, and end the path thereby, or let the request pass; what is switched off is no step.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastgw.errors import INTERNAL_ERROR, GatewayError
from fastgw.exchange import End
from fastgw.forwarding.body import cut_short
from fastgw.respond import Answer, error_answer, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.accept import Accept
    from fastgw.exchange import Exchange
    from fastgw.forwarding.deliver import Deliver
    from fastgw.forwarding.websocket import Tunnel
    from fastgw.telemetry.observe import Observe

    Step = Callable[[Exchange], Answer | Awaitable[Answer | None] | None]

log = logging.getLogger("fastgw.gateway")


class Gateway:
    """The steps of a request, in order."""

    def __init__(self, accept: Accept, deliver: Deliver, tunnel: Tunnel, observe: Observe) -> None:
        """See the modules of the same names."""
        self.observe = observe
        self.active = 0
        """Requests under way."""
        self.accept = accept
        self.deliver = deliver
        self.tunnel = tunnel
        self.steps: tuple[Step, ...] = ()
        """What may answer instead of a backend, in order:

        cors.py                   a preflight?           what pages of its origin may send
        auth/authenticate.py      who is it?             401, 403, 429
        admission/admit.py        how often?             429; brings what the cache holds
        workers/listing.py        the list of workers?   from Redis
        cache/answer.py           known already?         a hit, a 304, or the wait for who fetches it
        forwarding/shed.py        too much behind us?    503, for what needs a backend
        idempotency/claim.py      submitted before?      a replay, 409, 422; 503 without Redis
        """

    async def http(self, x: Exchange) -> None:
        """Serve one HTTP request to its end. Never raises: each failure is answered, or breaks the client off."""
        self.active += 1
        try:
            self.accept(x)  # accept.py                          may it be passed on?   400, 405, 413, 431
            self.observe.begin(x)  # telemetry/tracing.py        in which trace?
            for step in self.steps:  # the steps above: here, not in _answered, as a coroutine more takes 0.3 us
                answer = step(x)
                if answer is not None and not isinstance(answer, Answer):
                    answer = await answer
                if answer is not None:
                    break
            else:
                answer = await self.deliver(x)  # forwarding/    who answers it?        502, 503, 504
            if answer is not None:
                await self._answer(x, answer)
        except GatewayError as error:
            await self._refuse(x, error)
        except Exception as error:
            await self._fail(x, error)
        finally:
            if x.fetch is not None:
                x.fetch.broken()
            self.active -= 1
            self.observe(x)  # telemetry/                        what became of it?     metrics, a log line, a span

    async def websocket(self, x: Exchange) -> None:
        """Serve one WebSocket to its end. Never raises."""
        self.active += 1
        try:
            self.accept(x)
            self.observe.begin(x)
            refusal = await self._answered(x) or await self.tunnel(x)
            if refusal is not None:
                await self._answer(x, refusal)
        except GatewayError as error:
            await self._refuse(x, error)
        except Exception as error:
            await self._fail(x, error)
        finally:
            self.active -= 1
            self.observe(x)

    async def page(self, x: Exchange, page: Callable[[Exchange], Awaitable[None]]) -> None:
        """Serve one of the gateway's own pages. Never raises."""
        try:
            self.accept(x)
            x.cors = None  # these pages are for no other origin's
            await page(x)
        except GatewayError as error:
            await self._refuse(x, error)
        except Exception as error:
            await self._fail(x, error)

    async def _answered(self, x: Exchange) -> Answer | None:
        """The first step's answer that gives one. A step that need not wait gives its answer, else the wait for it."""
        for step in self.steps:
            answer = step(x)
            if answer is not None:
                if not isinstance(answer, Answer):
                    answer = await answer
                if answer is not None:
                    return answer
        return None

    async def _answer(self, x: Exchange, answer: Answer) -> None:
        if x.body_length and not x.body_read and x.http_version != "2":
            x.must_close = True  # its body is not read
        await respond(x, answer)

    async def _refuse(self, x: Exchange, error: GatewayError) -> None:
        if x.fetch is not None and not x.head_sent and (answer := x.fetch.rescue(x)) is not None:
            await respond(x, answer)
            return
        if 400 <= error.kind.status < 500:
            x.must_close = True  # where this request ends is in doubt, or its body is not read
        await respond(x, error_answer(error, x.request_id))

    async def _fail(self, x: Exchange, error: Exception) -> None:
        """A fault of ours: logged whole, told to the client in one line; the process goes on."""
        x.end = End.FAILED
        self.observe.fault(error)
        log.error("request %s failed", x.request_id.decode(), exc_info=error)
        if x.head_sent:
            cut_short(x)
        else:
            await self._refuse(x, GatewayError(INTERNAL_ERROR))
