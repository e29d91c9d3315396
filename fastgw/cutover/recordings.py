"""Which requests are replayed: of a list of paths, an access log of nginx, a HAR, or the platform's safe GETs. Pure.

A replay must change nothing. Sent are GET and HEAD only, and of those none that hands out a job: next-job in whatever
spelling is left out, too much rather than too little. What is left out is kept with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_DISTINCT: Final = 500
"""Requests that are replayed from one recording: the first so many that differ. The rest is told, not sent."""

MAX_SKIPPED: Final = 500
"""Different ones that are told one by one."""

MAX_HAR_BYTES: Final = 256 << 20
"""It is read whole; a log is read line by line, however long it is."""

BUILT_IN: Final = (
    "/health",
    "/regions",
    "/api/v1/queue/stats",
    "/api/v1/jobs/stats/queue",
    "/api/v1/jobs",
    "/docs",
    "/openapi.json",
    "/a-path-that-is-not-there",
)
"""GETs of the platform that change nothing; the last one shows whether errors are the same."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

TAKEN_FIELDS: Final = frozenset({"accept", "accept-language", "content-type"})
"""Of a HAR's request. Never a credential or a cookie: those are given with --header."""

SIDE_EFFECT: Final = "changes something: only with --unsafe"
HANDS_OUT: Final = "hands out a job: only with --unsafe"
OWN_PAGE: Final = "the gateway's own page; the server has none such"
OWN_LIST: Final = "the gateway answers it from Redis, in its own form; `fastgw check` looks at it"
NO_HTTP: Final = "no HTTP request: a WebSocket"
TOO_MANY: Final = f"beyond the first {MAX_DISTINCT} different requests"

_LOGGED: Final = re.compile(r'"([A-Z]{1,20}) (/\S*) HTTP/[0-9.]+"')
"""$request in quotes, as nginx's `combined` has it and everything made from it."""

_LINE: Final = re.compile(r"(?:([A-Za-z]{1,20})\s+)?(\S+)")
_PEEK: Final = 1024
_NOT_A_LETTER: Final = re.compile(r"[^a-z]+")
_DECODINGS: Final = 4
"""Times that a path is percent-decoded before it is looked at: servers do it once, a proxy before them again."""


class BadRecording(Exception):
    """The file holds nothing that could be replayed; str() is one line."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to replay. target: path and query, as on a request line."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def is_safe(self) -> bool:
        """Whether it may be sent as often as one likes."""
        return not side_effect(self)


@dataclass(slots=True)
class Recording:
    """What is replayed, and what is not: (request, reason) -> how often it was there."""

    requests: list[Request] = field(default_factory=list)
    skipped: dict[tuple[str, str], int] = field(default_factory=dict)
    unread_lines: int = 0


def side_effect(request: Request) -> str:
    """Why a request may change something; "" if it does not."""
    if request.method not in SAFE_METHODS:
        return SIDE_EFFECT
    target = request.target
    for _ in range(_DECODINGS):
        target = unquote(target)
    return HANDS_OUT if "nextjob" in _NOT_A_LETTER.sub("", target.lower()) else ""


def built_in() -> Recording:
    """The platform's own safe GETs."""
    return Recording([Request("GET", path) for path in BUILT_IN])


def select(found: Iterable[Request], *, unsafe: bool = False) -> Recording:
    """Each different request once, in the order of their first appearance, without those that are not to be sent."""
    chosen: dict[Request, None] = {}
    recording = Recording()
    for request in found:
        if request in chosen:
            continue
        reason = _reason(request, unsafe=unsafe)
        if not reason and len(chosen) >= MAX_DISTINCT:
            reason = TOO_MANY
        if reason:
            label = "others" if reason is TOO_MANY else f"{request.method} {request.target}"
            if (label, reason) not in recording.skipped and len(recording.skipped) >= MAX_SKIPPED:
                label = "others"
            recording.skipped[label, reason] = recording.skipped.get((label, reason), 0) + 1
        else:
            chosen[request] = None
    recording.requests = list(chosen)
    return recording


def read(file: BinaryIO, *, unsafe: bool = False) -> Recording:
    """Read a recording; what it is shows in its content. Raises BadRecording if there is nothing to send or to skip."""
    start = file.read(_PEEK)
    file.seek(0)
    if start.lstrip()[:1] == b"{":
        content = file.read(MAX_HAR_BYTES + 1)
        if len(content) > MAX_HAR_BYTES:
            raise BadRecording(f"a HAR of more than {MAX_HAR_BYTES >> 20} MiB; save a shorter one")
        recording = select(_of_har(content), unsafe=unsafe)
    else:
        unread: list[int] = [0]
        recording = select(_of_lines((line.decode("utf-8", "replace") for line in file), unread), unsafe=unsafe)
        recording.unread_lines = unread[0]
    if not recording.requests and not recording.skipped:
        raise BadRecording("no request is in it; it is a list of paths, an access log of nginx, or a HAR")
    return recording


def _reason(request: Request, *, unsafe: bool) -> str:
    path = unquote(request.target.partition("?")[0])
    if path.startswith("/gateway/"):
        return OWN_PAGE
    if path == "/api/v1/workers" and request.method in SAFE_METHODS:
        return OWN_LIST
    if any(name == "upgrade" for name, _ in request.fields):
        return NO_HTTP
    return "" if unsafe else side_effect(request)


def _of_lines(lines: Iterable[str], unread: list[int]) -> Iterator[Request]:
    """Requests of an access log or of a list of paths, line by line. unread: its number is that of lines of neither."""
    for text in lines:
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        logged = _LOGGED.search(line)
        if logged is not None:
            yield Request(logged[1], logged[2])
            continue
        match = _LINE.fullmatch(line)
        target = _target(match[2]) if match is not None else ""
        if match is not None and target:
            yield Request((match[1] or "GET").upper(), target)
        else:
            unread[0] += 1


def _of_har(content: bytes) -> Iterator[Request]:
    """Requests of a HAR 1.2, as browsers save it."""
    try:
        entries = orjson.loads(content)["log"]["entries"]
        for entry in entries:
            request = entry["request"]
            target = _target(request["url"])
            if target:
                yield Request(str(request["method"]).upper(), target, _taken(request), _body(request))
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecording(f"it begins as JSON but is no HAR ({type(error).__name__})") from None


def _target(text: str) -> str:
    """Path and query of a path or URL; "" if it is neither."""
    if text.startswith("/") and not text.startswith("//"):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https", "ws", "wss"} or not parts.netloc:
        return ""
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _taken(request: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The fields that shape an answer; and Upgrade, for a WebSocket, which its address shows too."""
    fields = [(str(one["name"]).lower(), str(one["value"])) for one in request.get("headers", ())]
    taken = [one for one in fields if one[0] in TAKEN_FIELDS or one == ("upgrade", "websocket")]
    if str(request["url"]).startswith("ws"):
        taken.append(("upgrade", "websocket"))
    return tuple(dict.fromkeys(taken))


def _body(request: dict[str, Any]) -> bytes:
    return str((request.get("postData") or {}).get("text", "")).encode()
