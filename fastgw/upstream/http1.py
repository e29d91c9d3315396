"""Bytes of an HTTP/1.1 response in, its head and body out. No I/O, no clock, no logging.

One `ResponseReader` belongs to one connection and reads one response after the other:

    begin(method)    before each request: the answer to HEAD has no body (RFC 9112 6.3)
    feed(data)       bytes as they came; raises ProtocolFault, and is not to be fed again after that
    eof()            the peer closed; True if that ended the response as it should

Between these calls its public fields tell all there is to know: `head_complete`, `status`, `headers`,
`length`, `complete`, `reusable`, and the body bytes that wait in `chunks`, `buffered` in number.

Parsing is llhttp's, through httptools, in its strict mode: a response with both Content-Length and
Transfer-Encoding, two lengths, folded or NUL-bearing fields, bare LF or a bad chunk size is refused
(RFC 9112 5, 6.1, 6.3, 7.1), since each of them lets two parties disagree about where a message ends.
Interim responses (1xx) are skipped, trailers are dropped, a 101 that nobody asked for is a fault.
"""

from __future__ import annotations

from typing import Final

import httptools

from fastgw.upstream.errors import ProtocolFault

MAX_HEAD_BYTES: Final = 64 * 1024
"""Largest response head. nginx gives 4-8 KiB, Envoy 60 KiB, uvicorn's h11 64 KiB; ours follows the widest."""

MAX_INTERIM_RESPONSES: Final = 16
"""1xx responses before the real one. Early hints come in ones and twos; more is a loop."""


class ResponseReader:
    """Reads the responses of one connection, one at a time."""

    __slots__ = (
        "_head_bytes",
        "_head_only",
        "_interim",
        "_parser",
        "_unread",
        "buffered",
        "chunks",
        "complete",
        "head_complete",
        "headers",
        "length",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.reusable = True
        self.begin(b"GET")

    def __repr__(self) -> str:
        where = "complete" if self.complete else "body" if self.head_complete else "head"
        return f"<ResponseReader {where} status={self.status} buffered={self.buffered}>"

    def begin(self, method: bytes) -> None:
        """Forget the last response and expect one to a request of this method."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = None  # Content-Length, None for chunked or until-close
        self.head_complete = False
        self.complete = False
        self.chunks: list[bytes] = []
        self.buffered = 0
        self._head_bytes = 0
        self._interim = 0
        self._unread = 0
        self._head_only = method == b"HEAD"

    def feed(self, data: bytes) -> None:
        """Take in what arrived.

        Raises ProtocolFault with the reason when it is no response that can be forwarded safely. Bytes
        beyond a complete response are not read: they only make the connection unusable (`reusable`).
        """
        if not self.head_complete:
            self._head_bytes += len(data)
        else:
            self._unread += len(data)  # chunk sizes and trailers: on_body sets it back
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ProtocolFault(f"the backend switched protocols ({self.status}) though nobody asked for it") from None
        except httptools.HttpParserError as error:
            self.reusable = False
            if self.complete:
                return
            cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
            raise ProtocolFault(f"the backend's response is malformed: {cause or error}") from None
        if not self.head_complete:
            self._bound(0)
        elif self._unread > MAX_HEAD_BYTES and not self.complete:
            raise ProtocolFault(f"the backend's trailers are longer than {MAX_HEAD_BYTES} bytes")

    def eof(self) -> bool:
        """Note that the peer sent its last byte. True if the response is complete thereby or was before.

        Only a response without length and chunking may end so (RFC 9112 6.3, item 8); any other one was cut short.
        """
        self.reusable = False
        if not self.complete and self.head_complete and self.length is None and not self._is_chunked():
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """Hand out the body bytes that wait here, and forget them."""
        chunks = self.chunks
        if not chunks:
            return b""
        self.chunks = []
        self.buffered = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field, by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def _bound(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ProtocolFault(f"the backend's response head is longer than {MAX_HEAD_BYTES} bytes")

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the response has come."""
        return self.head_complete or self._head_bytes > 0

    def is_event_stream(self) -> bool:
        """Whether the body is a text/event-stream: pieces are events, and silence between them is no fault."""
        kind = self.header(b"content-type")
        return kind is not None and kind[:17].lower() == b"text/event-stream"

    def _is_chunked(self) -> bool:
        return self.header(b"transfer-encoding") is not None

    # -- called by the parser ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A message starts."""
        if self.complete:  # a second response on the wire: never read, lest it reach the next client
            raise ProtocolFault("bytes after the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, of the head or of the trailers."""
        if self.head_complete:  # a trailer (RFC 9110 6.5): dropped
            self._bound(len(name) + len(value) + 4)
        else:
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The empty line after a head."""
        self.status = status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                raise ProtocolFault(f"the status {status}")
            if status == 101:
                return
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise ProtocolFault(f"more than {MAX_INTERIM_RESPONSES} interim responses")
            return
        if self._parser.get_http_version() not in {"1.1", "1.0"}:
            raise ProtocolFault(f"HTTP version {self._parser.get_http_version()} in an HTTP/1 response")
        self._judge_fields()
        self.head_complete = True
        self._head_bytes = 0  # trailers begin anew
        if self._head_only:
            # llhttp can't be told that a HEAD's answer ends here: it gets a fresh start instead.
            self.reusable = self._parser.should_keep_alive()
            self._parser = httptools.HttpResponseParser(self)
            self.complete = True

    def _judge_fields(self) -> None:
        """The head is whole: is it too long, and where does the body end?"""
        if self._head_bytes > MAX_HEAD_BYTES:  # or is it a body that came together with its head?
            self._head_bytes = 0
            self._bound(sum(len(name) + len(value) + 4 for name, value in self.headers))
        is_chunked = False
        for name, value in self.headers:
            if name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                # Removing another coding is not ours, and passing it on unnamed would garble the body.
                if is_chunked or value.lower() != b"chunked":
                    raise ProtocolFault("a transfer coding other than chunked")
                is_chunked = True

    def on_body(self, body: bytes) -> None:
        """Bytes of the body, freed of their chunking."""
        if self.complete:
            raise ProtocolFault("bytes after the end of the response")
        self.chunks.append(body)
        self.buffered += len(body)
        self._unread = 0

    def on_message_complete(self) -> None:
        """A message ends."""
        if not self.head_complete:  # the end of an interim response
            self.headers.clear()
            return
        if not self.complete:
            self.complete = True
            self.reusable = self.reusable and self._parser.should_keep_alive()
