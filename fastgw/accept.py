"""The first step: is this a request that can be passed on, whose is it, and how will it be called?"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING, Final

from fastgw.errors import BAD_REQUEST, HEADERS_TOO_LARGE, METHOD_NOT_ALLOWED, PAYLOAD_TOO_LARGE, GatewayError
from fastgw.protocol.fields import HOP_BY_HOP, MalformedRequest
from fastgw.protocol.forwarded import CLAIMS, TrustedProxies
from fastgw.protocol.framing import body_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastgw.exchange import Exchange
    from fastgw.protocol.fields import Fields

    Meet = Callable[[Exchange, bytes], None]

TRACE_FIELDS: Final = frozenset({b"traceparent", b"tracestate"})
"""W3C Trace Context: replaced where requests are traced."""

SPECIAL: Final = (
    HOP_BY_HOP
    | CLAIMS
    | TRACE_FIELDS
    | {b"content-length", b"expect", b"host", b"origin", b"via", b"x-request-id", b"x-request-start"}
)
"""Request fields that are not simply copied to the backend; heads.py says what becomes of each."""

NEVER_FORWARDED: Final = frozenset({b"CONNECT", b"TRACE"})
"""A tunnel is not what a gateway is for; TRACE would show credentials to scripts (RFC 9110 9.3.8)."""

MAX_FIELDS: Final = 100
"""Header fields of one request; hyper's own limit, here for servers that know none."""

MAX_REMEMBERED_HOSTS: Final = 1024
"""Host values that need no second look. Real clients use a handful; whoever invents them makes it start anew."""

MAX_REMEMBERED_HOST: Final = 261
"""Bytes: the longest name of a host (RFC 1035 2.3.4), and a port. Longer ones are looked at each time."""

_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]*)?")
"""uri-host and port (RFC 9110 7.2, RFC 3986 3.2.2)."""

_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._\-]{1,128}")


class Accept:
    """Checks a request and fills in what every later step wants to know of it."""

    def __init__(self, trusted: TrustedProxies, max_body_bytes: int, meet: Meet | None = None) -> None:
        """trusted: whose X-Forwarded-For is believed. max_body_bytes: largest body that is let in.

        meet: told of each Origin, so that every answer, a refusal of this step too, can say what its pages may read.
        """
        self._trusted = trusted
        self._meet = meet
        self._max_body_bytes = max_body_bytes
        self._good_hosts: set[bytes] = set()
        # Not secrets, so no system call each: a generator seeded once from the system's randomness.
        self._bits = bits = Random().getrandbits  # noqa: S311 - request ids are names, not secrets
        self._id_start = b"%08x-%04x-4%03x-" % (bits(32), bits(16), bits(12))

    def use(self, trusted: TrustedProxies) -> None:
        """Whose X-Forwarded-For is believed from now on."""
        self._trusted = trusted

    def __call__(self, x: Exchange) -> None:  # noqa: C901, PLR0912 - one pass over the fields, for speed
        """Sets special, request_id, host, forwarded_for, client, is_peer_trusted, trace_fields, cors and body_length.

        Raises GatewayError: 400 for what could be read in two ways, 405, 413 before a byte of the body is
        read, 431.
        """
        special = x.special = [field for field in x.headers if field[0] in SPECIAL]
        hosts, request_id = 0, b""
        is_framed = x.http_version == "2"  # where frames tell
        for name, value in special:
            if name == b"host":
                x.host = value
                hosts += 1
            elif name == b"content-length":
                is_framed = True
            elif name == b"transfer-encoding":
                # hyper lets Transfer-Encoding win over a Content-Length and hides the latter; the connection must
                # not be used again then (RFC 9112 6.3, item 3), and as it can't be told, never after chunks.
                is_framed = x.must_close = True
            elif name == b"x-request-id":
                request_id = value
            elif name in TRACE_FIELDS:
                x.trace_fields = (*x.trace_fields, (name, value))
            elif name == b"x-request-start":
                x.request_start = value
            elif name == b"x-forwarded-for":
                x.forwarded_for = value if x.forwarded_for is None else x.forwarded_for + b", " + value
            elif name == b"origin" and self._meet is not None:
                self._meet(x, value)
        x.request_id = request_id if request_id and _SANE_REQUEST_ID.fullmatch(request_id) else self._new_id()
        peer = x.client
        if self._trusted.trusts(peer):
            x.is_peer_trusted = True
        if x.forwarded_for is not None:
            x.client = self._trusted.client_of(peer, x.forwarded_for)
        if hosts != 1 or x.host not in self._good_hosts:
            self._judge_host(x, hosts)
        if x.method in NEVER_FORWARDED:
            raise GatewayError(METHOD_NOT_ALLOWED)
        if len(x.headers) > MAX_FIELDS:
            raise GatewayError(HEADERS_TOO_LARGE, f"more than {MAX_FIELDS} fields")
        if is_framed:
            self._measure_body(x)

    def name(self, headers: Fields) -> bytes:
        """The id of a request that is not looked at otherwise: the client's, if there is a sane one, or a new one."""
        for name, value in headers:
            if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
                return value
        return self._new_id()

    def _judge_host(self, x: Exchange, hosts: int) -> None:
        """HTTP/1.1 must name its host, once, and it must be one (RFC 9112 3.2). What was found good is remembered."""
        if hosts > 1:
            raise GatewayError(BAD_REQUEST, "more than one Host")
        if not x.host:
            if x.http_version == "1.1":
                raise GatewayError(BAD_REQUEST, "the Host field is missing")
            return
        if _HOST.fullmatch(x.host) is None:
            raise GatewayError(BAD_REQUEST, "the Host field is no host")
        if len(x.host) <= MAX_REMEMBERED_HOST:
            if len(self._good_hosts) >= MAX_REMEMBERED_HOSTS:
                self._good_hosts.clear()
            self._good_hosts.add(x.host)

    def _measure_body(self, x: Exchange) -> None:
        """Find how long the body is, and whether it may be that long."""
        try:
            x.body_length = body_length(x.special, x.http_version)
        except MalformedRequest as error:
            raise GatewayError(BAD_REQUEST, str(error)) from None
        if x.body_length > self._max_body_bytes:
            raise GatewayError(PAYLOAD_TOO_LARGE, f"at most {self._max_body_bytes} bytes are allowed")

    def _new_id(self) -> bytes:
        """A UUID of version 4 (RFC 9562 5.4): 60 random bits are this process's, 62 the request's. 0.35 us.

        uuid.uuid4 asks the kernel each time and takes 1.7 us; drawing all 122 bits anew takes 0.6.
        """
        bits = self._bits
        return self._id_start + b"%04x-%012x" % (bits(14) | 0x8000, bits(48))
