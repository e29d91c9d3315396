"""/gateway/config: the settings in force, and their change at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from fastgw.endpoints.body import read_body
from fastgw.errors import BAD_REQUEST, SERVICE_UNAVAILABLE, GatewayError
from fastgw.respond import error_answer, json_answer, respond
from fastgw.settings.explain import in_force
from fastgw.settings.live import Contended
from fastgw.settings.load import NAMES, about
from fastgw.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastgw.exchange import Exchange
    from fastgw.respond import Answer
    from fastgw.settings.live import Live

JSON_TYPES: Final = frozenset({b"application/json", b"application/merge-patch+json"})
"""The second is what a PATCH of this form is called (RFC 7396). No form of a web page can send either."""


class ConfigPage:
    """Shows and changes the settings."""

    def __init__(self, live: Live) -> None:
        """live: the settings of this process."""
        self._live = live

    async def show(self, x: Exchange) -> None:
        """GET: see `content`."""
        await respond(x, json_answer(200, self.content()))

    async def change(self, x: Exchange) -> None:
        """PATCH {NAME: value, ...}: 200 with `content`, or an error with nothing changed.

        400 names every problem in error.problems; 503 if Redis can't be asked.
        """
        changes = _changes(x, await read_body(x))
        try:
            proposal = await self._live.change(changes)
        except StoreError:
            raise GatewayError(
                SERVICE_UNAVAILABLE, "Redis can't be asked, so the change may or may not be kept; send it again"
            ) from None
        except Contended:
            raise GatewayError(SERVICE_UNAVAILABLE, "others change settings at the same time; send it again") from None
        if proposal.problems:
            await respond(x, _problems(x, proposal.problems))
        else:
            await respond(x, json_answer(200, self.content()))

    def content(self) -> dict[str, Any]:
        """What both answer: {settings: {NAME: {value, unit, origin, live}}, changes, revision, updated?, ignored?}.

        value: secrets masked, null if unset. origin: default, environment, .env or run time. changes: NAME -> text.
        ignored: NAME -> why a stored change is not in force.
        """
        snapshot = self._live.snapshot
        settings = {
            line.name: {
                "value": line.value,
                "unit": line.unit,
                "origin": line.origin,
                "live": about(NAMES[line.name])["live"],
            }
            for line in in_force(self._live.in_force)
        }
        content = {"settings": settings, "changes": snapshot.changes, "revision": snapshot.revision}
        if snapshot.updated:
            content["updated"] = snapshot.updated
        if snapshot.ignored:
            content["ignored"] = snapshot.ignored
        return content


def _changes(x: Exchange, body: bytes) -> dict[str, Any]:
    """The object that a PATCH carries. Raises GatewayError (400)."""
    content_type = next((value for name, value in x.headers if name == b"content-type"), b"")
    if content_type.partition(b";")[0].strip().lower() not in JSON_TYPES:
        raise GatewayError(BAD_REQUEST, "send the settings as JSON, with Content-Type: application/json")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise GatewayError(BAD_REQUEST, "the body is no JSON") from None
    if not isinstance(content, dict):
        raise GatewayError(BAD_REQUEST, 'the body is no object like {"RATE_LIMIT_MAX_REQUESTS": 500}')
    return content


def _problems(x: Exchange, problems: Mapping[str, str]) -> Answer:
    """The error in its usual shape, and in it what is wrong with each setting."""
    of_all = problems.get("")
    detail = of_all or f"see problems for {', '.join(problems)}"
    answer = error_answer(GatewayError(BAD_REQUEST, f"nothing was changed; {detail}"), x.request_id)
    content = orjson.loads(answer.body)
    content["error"]["problems"] = {} if of_all else problems
    answer.body = orjson.dumps(content)
    return answer
