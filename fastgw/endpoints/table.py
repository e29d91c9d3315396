"""Path -> page: which methods it answers, and who may see it.

The gateway's own paths are /gateway and all below it; they are never forwarded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from fastgw.errors import METHOD_NOT_ALLOWED, NOT_FOUND, GatewayError
from fastgw.respond import error_answer, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastgw.endpoints.access import Access
    from fastgw.endpoints.cache import CachePage
    from fastgw.endpoints.config import ConfigPage
    from fastgw.endpoints.detailed import Detailed
    from fastgw.endpoints.health import Health
    from fastgw.endpoints.metrics import MetricsPage
    from fastgw.endpoints.overview import Overview
    from fastgw.endpoints.plugins import Plugins
    from fastgw.endpoints.ui import UiPage
    from fastgw.exchange import Exchange
    from fastgw.respond import Answer

    Page = Callable[[Exchange], Awaitable[None]]

ROOT: Final = "/gateway"


@dataclass(frozen=True, slots=True)
class Sources:
    """What the pages are made of, one for each subject."""

    health: Health
    detailed: Detailed
    config: ConfigPage
    plugins: Plugins
    cache: CachePage
    metrics: MetricsPage | None
    """None: METRICS_ENABLED=false."""
    overview: Overview
    ui: UiPage


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table. GET answers HEAD too."""

    methods: Mapping[bytes, Page]
    is_open: bool = False
    """For everybody; else for those whom Access lets in."""


class Pages:
    """The gateway's own pages."""

    def __init__(self, access: Access, of: Sources, metrics_path: str) -> None:
        """access: who may see the pages that are not open. metrics_path: METRICS_PATH, anywhere."""
        self._access = access
        self._elsewhere = "" if of.metrics is None or metrics_path.startswith(f"{ROOT}/") else metrics_path
        table = {
            "/gateway/health": Entry({b"GET": of.health.full}, is_open=True),
            "/gateway/health/live": Entry({b"GET": of.health.live}, is_open=True),
            "/gateway/health/detailed": Entry({b"GET": of.detailed.show}),
            "/gateway/plugins": Entry({b"GET": of.plugins.show}),
            "/gateway/config": Entry({b"GET": of.config.show, b"PATCH": of.config.change}),
            "/gateway/cache": Entry({b"DELETE": of.cache.purge}),
            "/gateway/ui": Entry({b"GET": of.ui.show}, is_open=True),  # it holds no figure, and asks for the token
            "/gateway/ui/data": Entry({b"GET": of.overview.show}),
        }
        if of.metrics is not None:
            table[metrics_path] = Entry({b"GET": of.metrics.show})
        self._pages: dict[str, Page] = {path: partial(self._serve, entry) for path, entry in table.items()}

    @property
    def elsewhere(self) -> str:
        """A page's path that is not below /gateway; "" if there is none."""
        return self._elsewhere

    def find(self, path: str) -> Page | None:
        """The page for a decoded path; None if the path is not the gateway's own.

        The decoded path decides, so that no spelling of /gateway/ (/%67ateway/) reaches a backend.
        """
        if path and path == self._elsewhere:
            return self._pages[path]
        if not path.startswith(ROOT) or (len(path) > len(ROOT) and path[len(ROOT)] != "/"):
            return None
        return self._pages.get(path, self.unknown)

    async def unknown(self, x: Exchange) -> None:
        """404: no page, or a WebSocket where none is served."""
        await _refuse(x, error_answer(GatewayError(NOT_FOUND), x.request_id))

    async def _serve(self, entry: Entry, x: Exchange) -> None:
        """Who may see it comes first: others do not learn what it answers."""
        if not entry.is_open and (refusal := self._access.refusal(x)) is not None:
            await _refuse(x, refusal)
            return
        page = entry.methods.get(b"GET" if x.method == b"HEAD" else x.method)
        if page is None:
            refusal = error_answer(GatewayError(METHOD_NOT_ALLOWED), x.request_id)
            refusal.fields = [*refusal.fields, (b"allow", _allow(entry))]
            await _refuse(x, refusal)
        else:
            await page(x)


def _allow(entry: Entry) -> bytes:
    """The methods of a page, for Allow (RFC 9110 10.2.1)."""
    return b", ".join(b"GET, HEAD" if method == b"GET" else method for method in entry.methods)


async def _refuse(x: Exchange, refusal: Answer) -> None:
    if x.body_length and x.http_version != "2":
        x.must_close = True  # its body is not read
    await respond(x, refusal)
