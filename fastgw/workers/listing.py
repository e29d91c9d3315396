"""The door of this room: answers GET /api/v1/workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl

import orjson

from fastgw.errors import BAD_REQUEST, SERVICE_UNAVAILABLE, GatewayError
from fastgw.respond import JSON, Answer
from fastgw.workers.parse import select, totals

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.workers.parse import Worker
    from fastgw.workers.snapshot import Snapshot

PATH: Final = b"/api/v1/workers"
READ: Final = frozenset({b"GET", b"HEAD"})
FORMATS: Final = ("object", "list")

MAX_QUERY_FIELDS: Final = 100
"""More is no question about workers."""

_NO_STORE: Final = (b"cache-control", b"no-store")


class Known(Protocol):
    """What is known of the workers: see registry.Registry."""

    current: Snapshot | None

    @property
    def is_stale(self) -> bool:
        """Whether it is too old to be relied on."""


class Listing:
    """Answers with the workers in Redis, or leaves the request to the backend."""

    def __init__(self, known: Known, source: str, form: str) -> None:
        """source: WORKERS_SOURCE: auto, redis or backend. form: WORKERS_FORMAT: object or list."""
        self._known = known
        self._path = PATH if source != "backend" else None  # which is no request's path
        self._is_auto = source == "auto"
        self._form = form
        self._bodies: dict[tuple[str, bool], bytes] = {}  # of the whole list, by form and whether it is stale
        self._bodies_of: Snapshot | None = None

    def will_answer(self, x: Exchange) -> bool:
        """Whether the request is one for the list, and the backend is not to be asked: so no cache need be, either."""
        if x.raw_path != self._path or x.method not in READ or x.scope["type"] != "http":
            return False
        return not self._is_auto or (self._known.current is not None and self._known.current.has_any)

    def __call__(self, x: Exchange) -> Answer | None:
        """The list, for GET and HEAD of this very path; None: the backend is to be asked.

        Query: region, status (each may be repeated: any of them; empty: all), format (object or list).
        As object {workers, total, online, busy, idle, stale?}; the counts are of the workers listed, `stale` is there
        and true if nothing has been heard of Redis for a while. Raises GatewayError: 400 for another format, 503 if
        only Redis may be asked and has never answered.
        """
        if not self.will_answer(x):
            return None
        now = self._known.current
        if now is None:
            raise GatewayError(SERVICE_UNAVAILABLE, "Redis has not told of the workers yet")
        query: bytes = x.scope["query_string"]
        return Answer(200, self._whole(now, self._form) if not query else self._part(now, query), [JSON, _NO_STORE])

    def _whole(self, now: Snapshot, form: str) -> bytes:
        """All workers; made once for each list."""
        if now is not self._bodies_of:
            self._bodies, self._bodies_of = {}, now
        is_stale = self._known.is_stale
        body = self._bodies.get((form, is_stale))
        if body is None:
            body = self._bodies[form, is_stale] = _body(now.workers, form, is_stale=is_stale)
        return body

    def _part(self, now: Snapshot, query: bytes) -> bytes:
        """What a query asks for."""
        asked: dict[str, list[str]] = {"region": [], "status": [], "format": []}
        try:
            fields = parse_qsl(query.decode("latin-1"), max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            raise GatewayError(BAD_REQUEST, f"the query has more than {MAX_QUERY_FIELDS} fields") from None
        for name, value in fields:
            if name in asked:
                asked[name].append(value)
        form = asked["format"][-1] if asked["format"] else self._form
        if form not in FORMATS:
            raise GatewayError(BAD_REQUEST, "format is object or list")
        if not asked["region"] and not asked["status"]:
            return self._whole(now, form)
        workers = select(now.workers, frozenset(asked["region"]), frozenset(asked["status"]))
        return _body(workers, form, is_stale=self._known.is_stale)


def _body(workers: list[Worker], form: str, *, is_stale: bool) -> bytes:
    if form == "list":
        return orjson.dumps(workers)
    content: dict[str, Any] = {"workers": workers, **totals(workers)}
    if is_stale:
        content["stale"] = True
    return orjson.dumps(content)
