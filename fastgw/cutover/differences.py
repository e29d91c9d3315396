"""What two answers to one request differ in, of what a client could notice. Pure.

JSON is compared as values, so that order of members, spaces and escapes do not count; the members in `ignored` are left
out wherever they stand. Of the fields those in COMPARED count: a gateway has to add some (Via, Date, X-Request-ID) and
has to remove some (hop-by-hop), so all others are its own business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

VOLATILE: Final = frozenset(
    {
        "timestamp",
        "time",
        "now",
        "date",
        "uptime",
        "uptime_seconds",
        "server_time",
        "generated_at",
        "request_id",
        "requestId",
        "trace_id",
    }
)
"""Members of JSON objects that are another in each answer, by their meaning."""

COMPARED: Final = (
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "content-range",
    "accept-ranges",
    "cache-control",
    "etag",
    "last-modified",
    "expires",
    "vary",
    "location",
    "allow",
    "link",
    "www-authenticate",
    "retry-after",
)
"""Fields whose values a client acts upon. Of Set-Cookie the names of the cookies count."""

WHOLE: Final = "(whole body)"

MAX_SHOWN: Final = 80
"""Characters of a value that are shown."""

MAX_DIFFERENCES: Final = 20
"""Of one pair of bodies that are listed; what follows is more of the same."""

MAX_DEPTH: Final = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side answered. error: why there is no answer, then status is 0. is_cut: the body was not read whole."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0
    error: str = ""
    is_cut: bool = False
    base: str = ""
    """The side's own address, which may stand in Location."""

    def field(self, name: str) -> str:
        """The values of a field (lower case), joined; "" if it is not there."""
        return ", ".join(value for key, value in self.fields if key == name)


@dataclass(frozen=True, slots=True)
class Difference:
    """kind: error, status, field or body. where: a field's name, a JSON pointer or WHOLE.

    direct, gateway: the values, shortened.
    """

    kind: str
    where: str
    direct: str
    gateway: str


def compare(direct: Answer, gateway: Answer, ignored: Collection[str] = VOLATILE) -> list[Difference]:
    """What differs; empty if a client could not tell. If the status differs, nothing else is looked at."""
    if direct.error or gateway.error:
        return [] if direct.error and gateway.error else [Difference("error", "", direct.error, gateway.error)]
    if direct.status != gateway.status:
        return [Difference("status", "", str(direct.status), str(gateway.status))]
    return [*_fields(direct, gateway), *_bodies(direct, gateway, ignored)]


def _fields(direct: Answer, gateway: Answer) -> Iterator[Difference]:
    for name in COMPARED:
        ours, theirs = _value(direct, name), _value(gateway, name)
        if ours != theirs:
            yield Difference("field", name, shown(ours), shown(theirs))
    ours, theirs = _cookies(direct), _cookies(gateway)
    if ours != theirs:
        yield Difference("field", "set-cookie", shown(ours), shown(theirs))


def _value(answer: Answer, name: str) -> str:
    value = answer.field(name)
    if name == "location" and answer.base:
        return value.removeprefix(answer.base)
    if name in {"vary", "allow", "cache-control"}:
        return ", ".join(sorted(part.strip().lower() for part in value.split(",") if part.strip()))
    return "".join(value.lower().split()) if name == "content-type" else value


def _cookies(answer: Answer) -> str:
    return ", ".join(sorted(value.partition("=")[0].strip() for key, value in answer.fields if key == "set-cookie"))


def _bodies(direct: Answer, gateway: Answer, ignored: Collection[str]) -> list[Difference]:
    if direct.is_cut or gateway.is_cut or direct.body == gateway.body:
        return []
    if "json" in direct.field("content-type").lower():
        try:
            ours, theirs = orjson.loads(direct.body), orjson.loads(gateway.body)
        except ValueError:
            pass
        else:
            found = []
            for difference in _values(ours, theirs, "", ignored, MAX_DEPTH):
                found.append(difference)
                if len(found) == MAX_DIFFERENCES:
                    break
            return found
    at = next(
        (i for i, (a, b) in enumerate(zip(direct.body, gateway.body, strict=False)) if a != b),
        min(len(direct.body), len(gateway.body)),
    )
    direct_text, gateway_text = (
        f"{len(one.body)} bytes, from {at} on: {_text(one.body[at : at + 40])}" for one in (direct, gateway)
    )
    return [Difference("body", WHOLE, direct_text, gateway_text)]


def is_below(where: str, places: Collection[str]) -> bool:
    """Whether a place is one of these, or lies within one: what shifts in a list shifts all that it holds."""
    if where in places or (where.startswith("/") and WHOLE in places):
        return True
    while "/" in where[1:]:
        where = where.rpartition("/")[0]
        if where in places:
            return True
    return False


def _values(ours: Any, theirs: Any, at: str, ignored: Collection[str], depth: int) -> Iterator[Difference]:
    """The places in which two JSON values differ, as JSON pointers (RFC 6901)."""
    if depth and isinstance(ours, dict) and isinstance(theirs, dict):
        for name in sorted(ours.keys() | theirs.keys()):
            where = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            if name in ignored:
                continue
            if name not in ours or name not in theirs:
                yield Difference("body", where, _json(ours, name), _json(theirs, name))
            else:
                yield from _values(ours[name], theirs[name], where, ignored, depth - 1)
    elif depth and isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield Difference("body", at or WHOLE, f"{len(ours)} items", f"{len(theirs)} items")
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from _values(one, other, f"{at}/{number}", ignored, depth - 1)
    elif ours != theirs or isinstance(ours, bool) != isinstance(theirs, bool):
        yield Difference("body", at or WHOLE, shown(_dumped(ours)), shown(_dumped(theirs)))


def _json(content: dict[str, Any], name: str) -> str:
    return shown(_dumped(content[name])) if name in content else "(not there)"


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()


def _text(data: bytes) -> str:
    return shown(data.decode("utf-8", "replace"))


def shown(text: str) -> str:
    """A value for a terminal or a page: bounded, without what a terminal would take for commands."""
    safe = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: MAX_SHOWN + 1])
    return safe if len(safe) <= MAX_SHOWN else safe[:MAX_SHOWN] + "..."
