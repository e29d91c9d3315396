"""Path -> page. The gateway's own paths are /gateway and all below it; they are never forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.errors import METHOD_NOT_ALLOWED, NOT_FOUND, GatewayError
from fastgw.respond import error_answer, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastgw.endpoints.health import Health
    from fastgw.exchange import Exchange

    Page = Callable[[Exchange], Awaitable[None]]

ROOT: Final = "/gateway"
READ: Final = frozenset({b"GET", b"HEAD"})


class Pages:
    """The gateway's own pages."""

    def __init__(self, health: Health) -> None:
        """health: the first of them."""
        self._pages: dict[str, Page] = {
            "/gateway/health": health.full,
            "/gateway/health/live": health.live,
        }

    def find(self, path: str) -> Page | None:
        """The page for a decoded path; None if the path is not the gateway's own.

        The decoded path decides, so that no spelling of /gateway/ (/%67ateway/) reaches a backend.
        """
        if not path.startswith(ROOT) or (len(path) > len(ROOT) and path[len(ROOT)] != "/"):
            return None
        page = self._pages.get(path)
        return _unknown if page is None else _reading(page)


def _reading(page: Page) -> Page:
    """A page that only answers GET and HEAD."""

    async def read(x: Exchange) -> None:
        if x.method not in READ:
            refusal = error_answer(GatewayError(METHOD_NOT_ALLOWED), x.request_id)
            refusal.fields = [*refusal.fields, (b"allow", b"GET, HEAD")]
            await respond(x, refusal)
        else:
            await page(x)

    return read


async def _unknown(x: Exchange) -> None:
    await respond(x, error_answer(GatewayError(NOT_FOUND), x.request_id))
