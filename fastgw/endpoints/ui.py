"""/gateway/ui: the status page, one file (ui.html) that asks /gateway/ui/data every two seconds.

The page holds no data, so everybody may load it; what it asks for is for operators, and it has a field for their token.
It loads nothing else. Its policy names its own script and style by their hashes, so that a foreign string that came to
be read as markup would still run nothing.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from fastgw.respond import Answer, respond

if TYPE_CHECKING:
    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields

_INLINE: Final = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


class UiPage:
    """Serves the page as it was when the process began."""

    def __init__(self) -> None:
        self._body: Final = files("fastgw.endpoints").joinpath("ui.html").read_bytes()
        self._etag: Final = b'"%s"' % sha256(self._body).hexdigest()[:32].encode()
        self._fields: Final[Fields] = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"etag", self._etag),
            (b"content-security-policy", policy(self._body)),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]

    async def show(self, x: Exchange) -> None:
        """GET: 200 with the page, 304 for whoever has this very page."""
        status = 304 if self._is_known(x) else 200
        await respond(x, Answer(status, self._body, list(self._fields)))

    def _is_known(self, x: Exchange) -> bool:
        """Whether If-None-Match names the page; compared weakly (RFC 9110 13.1.2), as a proxy may have weakened it."""
        tags = [
            tag.strip().removeprefix(b"W/")
            for name, value in x.headers
            if name == b"if-none-match"
            for tag in value.split(b",")
        ]
        return self._etag in tags or b"*" in tags


def policy(page: bytes) -> bytes:
    """The Content-Security-Policy of a page: nothing but its own inline script and style, and questions to its origin.

    A style or script that is changed has another hash, so it is computed from the page. require-trusted-types-for makes
    innerHTML and its like fail (the page writes text only).
    """
    hashes: dict[bytes, list[bytes]] = {b"script": [], b"style": []}
    for kind, text in _INLINE.findall(page):
        hashes[kind].append(b"'sha256-%s'" % b64encode(sha256(text).digest()))
    return b"; ".join(
        [
            b"default-src 'none'",
            b"script-src " + (b" ".join(hashes[b"script"]) or b"'none'"),
            b"style-src " + (b" ".join(hashes[b"style"]) or b"'none'"),
            b"connect-src 'self'",
            b"img-src data:",
            b"base-uri 'none'",
            b"form-action 'none'",
            b"frame-ancestors 'none'",
            b"require-trusted-types-for 'script'",
            b"trusted-types 'none'",
        ]
    )
