"""/gateway/cache: what is cached can be thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

from fastgw.errors import BAD_REQUEST, SERVICE_UNAVAILABLE, GatewayError
from fastgw.respond import json_answer, respond
from fastgw.store.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.exchange import Exchange

VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
"""What stands in a request line as it is; the rest comes %-encoded."""


class CachePage:
    """Purges the response cache."""

    def __init__(self, purge: Callable[[str | None], Awaitable[int]]) -> None:
        """purge: given a path as it stands on the request line, or None for all; returns how many entries went."""
        self._purge = purge

    async def purge(self, x: Exchange) -> None:
        """DELETE, with ?path= for one path: {purged: number of entries}. 503 if Redis can't be asked."""
        path = path_of(x.scope["query_string"])
        try:
            purged = await self._purge(path)
        except StoreError:
            raise GatewayError(
                SERVICE_UNAVAILABLE, "Redis can't be asked, so some entries may still be there; send it again"
            ) from None
        await respond(x, json_answer(200, {"purged": purged}))


def path_of(query: bytes) -> str | None:
    """The path that a query names, as on a request line; None for all.

    Raises GatewayError (400) on whatever else: a misspelt parameter must not purge everything.
    """
    if not query:
        return None
    try:
        given = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, strict_parsing=True, errors="surrogateescape"
        )
    except ValueError:
        given = []
    if [name for name, _ in given] != ["path"] or not given[0][1].startswith("/"):
        raise GatewayError(BAD_REQUEST, "the query is not understood; it is ?path=/some/path, or none for all")
    return quote(given[0][1], safe=VISIBLE, errors="surrogateescape")
