"""Header fields: which of them stop at a hop, and which must never be passed on.

Fields are lists of (lower-case name, value) byte pairs, in the order in which they came, as ASGI gives them.
"""

from __future__ import annotations

import re
from typing import Final

Fields = list[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that speak of one connection only (RFC 9110 7.6.1), with the two that proxies consume (11.7)."""

NEVER_LISTED: Final = frozenset({b"host", b"content-length", b"authorization", b"cookie", b"x-forwarded-for"})
"""Fields that a client can't have removed by naming them in Connection: whoever does so means mischief."""

_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class MalformedRequest(ValueError):
    """A request that two parties could read in two ways. Its text is for the client."""


def first(fields: Fields, name: bytes) -> bytes | None:
    """The first value of a field, None if it is absent."""
    for key, value in fields:
        if key == name:
            return value
    return None


def connection_options(value: bytes) -> frozenset[bytes]:
    """The field names that a Connection value lists, in lower case, without those that must stay (RFC 9110 7.6.1)."""
    return frozenset(option.strip().lower() for option in value.split(b",")) - NEVER_LISTED - {b""}


def is_token(text: bytes) -> bool:
    """Whether text is a token (RFC 9110 5.6.2): what a method or a field name must be."""
    return _TOKEN.fullmatch(text) is not None


def content_length(value: bytes) -> int:
    """A Content-Length as a number of bytes.

    Raises MalformedRequest unless it is plain digits: signs, blanks and lists are read differently by
    different servers (RFC 9112 6.3, 11.2).
    """
    if _CONTENT_LENGTH.fullmatch(value) is None:
        raise MalformedRequest("the Content-Length is not a plain number")
    return int(value)
