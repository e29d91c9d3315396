"""One of the two sides that are compared: a base URL, asked over one kept-alive connection."""

from __future__ import annotations

import ssl
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import httpx

from fastgw.cutover.differences import Answer, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastgw.cutover.recordings import Request

MAX_BODY_BYTES: Final = 8 << 20
"""Of an answer that is read; of a longer one the rest is not compared."""

_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))

STREAM: Final = "text/event-stream"
"""Without an end: its head is compared."""


@dataclass(slots=True)
class Side:
    """Asks one server. secrets: the values of the credentials that it sends, which are never shown."""

    url: str
    client: httpx.Client
    secrets: tuple[str, ...] = ()

    def ask(self, request: Request, *more: tuple[str, str]) -> Answer:
        """Send one request, once, and read the answer; what prevents one is in the answer's error."""
        began = perf_counter()
        try:
            sent = self.client.build_request(
                request.method,
                self.url,
                headers=[*request.fields, *more],
                content=request.body or None,
                extensions={"target": raw_target(self.url, request.target)},
            )
            response = self.client.send(sent, stream=True)
            with closing(response):
                fields = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in response.headers.raw]
                is_stream = response.headers.get("content-type", "").startswith(STREAM)
                body, is_cut = (b"", True) if is_stream else _read(response)
                seconds = perf_counter() - began
                return Answer(response.status_code, tuple(fields), body, seconds, is_cut=is_cut, base=self.url)
        except httpx.TimeoutException:
            error = "no answer in time"
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as problem:
            error = self.hidden(shown(f"{type(problem).__name__}: {problem}"))
        return Answer(0, seconds=perf_counter() - began, error=error, base=self.url)

    def hidden(self, text: str) -> str:
        """A text without the credentials, which a server may have written into its answer."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def raw_target(url: str, target: str) -> bytes:
    """What stands on the request line: as it was recorded, since httpx would write some of it in another way.

    What a request line can't hold is percent-encoded.
    """
    return quote(urlsplit(url).path.rstrip("/") + target, safe=_VISIBLE).encode()


def _read(response: httpx.Response) -> tuple[bytes, bool]:
    """The decoded body, and whether it was longer than what is read."""
    pieces, size = [], 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            return b"".join(pieces), True
    return b"".join(pieces), False


def client(fields: Iterable[tuple[str, str]], timeout_s: float, tls: ssl.SSLContext | None = None) -> httpx.Client:
    """A client with these fields on each request. No proxy of the environment, no cookies kept, no redirects.

    tls: whom to believe, for https; None: the system's authorities.
    """
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    verify = ssl.create_default_context() if tls is None else tls
    made = httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False, limits=limits, verify=verify)
    made.headers = httpx.Headers([("user-agent", "fastgw"), ("accept", "*/*"), ("accept-encoding", "gzip"), *fields])
    return made


def secrets_of(fields: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What is not to be shown of fields: their values, and of `Bearer x` the x; longest first."""
    found = {value for _, value in fields} | {value.rpartition(" ")[2] for _, value in fields}
    return tuple(sorted((one for one in found if len(one) > 2), key=len, reverse=True))
