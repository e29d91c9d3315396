"""Which bytes are a request's body (RFC 9112 6.3), decided once and in the order the RFC gives.

Nobody else looks at a request's Content-Length or Transfer-Encoding; for responses, upstream/http1 decides.
"""

from __future__ import annotations

from typing import Final

from fastgw.protocol.fields import Fields, MalformedRequest, content_length

NO_BODY: Final = 0
UNKNOWN_LENGTH: Final = -1
"""A body whose end only its framing tells: chunked, or a stream of HTTP/2 frames."""


def body_length(fields: Fields, http_version: str) -> int:
    """The length of a request's body in bytes, NO_BODY, or UNKNOWN_LENGTH.

    1. Transfer-Encoding and Content-Length together are refused: smuggling starts here (RFC 9112 6.3, item 3).
    2. Transfer-Encoding must be chunked, and nothing else (item 4); HTTP/1.0 and HTTP/2 know none (RFC 9113 8.2.2).
    3. Content-Length must be one number; repeated, even if equal, it is refused (item 5).
    4. Without either, HTTP/1 has no body (item 7); in HTTP/2 the frames tell.

    Raises MalformedRequest.
    """
    length: int | None = None
    is_chunked = False
    for name, value in fields:
        if name == b"content-length":
            if length is not None:
                raise MalformedRequest("more than one Content-Length")
            length = content_length(value)
        elif name == b"transfer-encoding":
            if is_chunked or value.lower() != b"chunked" or http_version != "1.1":
                raise MalformedRequest("a Transfer-Encoding other than chunked")
            is_chunked = True
    if is_chunked:
        if length is not None:
            raise MalformedRequest("both Content-Length and Transfer-Encoding")
        return UNKNOWN_LENGTH
    if length is None:
        return UNKNOWN_LENGTH if http_version == "2" else NO_BODY
    return length
