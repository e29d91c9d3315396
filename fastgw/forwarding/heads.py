"""Exchange -> head of the request to the backend; head of its response -> fields for the client. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastgw.accept import SPECIAL
from fastgw.errors import BAD_REQUEST, HEADERS_TOO_LARGE, GatewayError
from fastgw.forwarding.retry import MAX_ATTEMPTS
from fastgw.protocol.fields import HOP_BY_HOP, Fields, connection_options, first
from fastgw.respond import own_fields

if TYPE_CHECKING:
    from fastgw.exchange import Exchange

VIA: Final = b"1.1 fastgw"
"""Our entry in Via (RFC 9110 7.6.3): the version is taken as 1.1; a pseudonym, as a host name tells too much."""

MAX_HEAD_BYTES: Final = 48 * 1024
"""Largest request head for a backend. uvicorn's parsers take 64 KiB, Node 16 KiB; real cookies need less."""

CHUNKED: Final = b"transfer-encoding: chunked"

NOT_FROM_BACKEND: Final = HOP_BY_HOP | frozenset(
    {b"x-request-id", b"x-gateway-version", b"x-gateway-duration", b"x-gateway-attempts"}
)
"""Response fields that the gateway states itself, or that end at this hop."""

_VIA: Final = (b"via", VIA)
_SERVER: Final = (b"server", b"fastgw")
_ATTEMPTS: Final = tuple((b"x-gateway-attempts", b"%d" % number) for number in range(MAX_ATTEMPTS + 1))
_COMMON_OPTIONS: Final = frozenset({b"keep-alive", b"close", b""})
_FROM_ANYBODY: Final = frozenset({b"origin", b"x-request-start"})
_FROM_TRUSTED: Final = _FROM_ANYBODY | {b"forwarded", b"x-real-ip"}
_NOT_IN_HANDSHAKE: Final = SPECIAL - {b"origin"}  # a WebSocket's Origin is the backend's to judge
_PROTO: Final = {"http": b"http", "https": b"https", "ws": b"http", "wss": b"https"}

_REQUEST: Final = (
    b"%b %b HTTP/1.1\r\nhost: %b\r\nx-forwarded-for: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-host: %b\r\n"
    b"x-request-id: %b\r\nvia: %b\r\n%b%b\r\n"
)
_OWN_LINES: Final = _REQUEST.count(b"\n")


def request_head(x: Exchange, authority: bytes, framing: bytes) -> bytes:
    """The request's head for a backend, up to and with the empty line.

    authority: the backend's host and port, for Host. framing: the line that says where the body ends, or b"".
    Raises GatewayError: 400 if a name or value would have made a line of its own, 431 for a head that backends
    would refuse.
    """
    lines = [b": ".join(field) for field in x.headers if field[0] not in SPECIAL]
    chain, proto, host, via = x.peer.encode(), _PROTO[x.scope["scheme"]], x.host, VIA
    if len(x.special) != 1 or x.special[0][0] != b"host":  # not Host alone
        chain, proto, host, via = _by_proxies(x, chain, proto)
        lines = _without_options(x, lines)
    if x.http_version == "2":
        lines = _with_one_cookie(lines)
    if framing:
        lines.append(framing)
    trace_lines = x.trace.lines
    count = _OWN_LINES + len(lines) + trace_lines.count(b"\n")
    lines.append(b"")
    head = _REQUEST % (
        x.method,
        x.target,
        authority,
        chain,
        proto,
        host,
        x.request_id,
        via,
        trace_lines,
        b"\r\n".join(lines),
    )
    # the server has refused these already; if not, it ends here (one pass: half the cost of three counts)
    if len(head) - len(head.translate(None, b"\r\n\0")) != 2 * count:
        raise GatewayError(BAD_REQUEST, "a line end or NUL in the request's target or fields")
    if len(head) > MAX_HEAD_BYTES:
        raise GatewayError(HEADERS_TOO_LARGE, f"more than {MAX_HEAD_BYTES} bytes")
    return head


def _with_one_cookie(lines: list[bytes]) -> list[bytes]:
    """HTTP/2 may split cookies over lines; HTTP/1.1 may not (RFC 9113 8.2.3)."""
    crumbs = [line[8:] for line in lines if line.startswith(b"cookie: ")]
    if len(crumbs) < 2:
        return lines
    return [line for line in lines if not line.startswith(b"cookie: ")] + [b"cookie: " + b"; ".join(crumbs)]


def length_line(length: int) -> bytes:
    """The line that frames a body of known length."""
    return b"content-length: %d" % length


def handshake_fields(x: Exchange) -> list[tuple[str, str]]:
    """The fields of a WebSocket handshake for the backend, as text: without those that the handshake itself makes."""
    chain, proto, host, via = _by_proxies(x, x.peer.encode(), _PROTO[x.scope["scheme"]])
    dropped = _NOT_IN_HANDSHAKE | _options(x)
    fields = [field for field in x.headers if field[0] not in dropped and not field[0].startswith(b"sec-websocket-")]
    fields += [
        (b"x-forwarded-for", chain),
        (b"x-forwarded-proto", proto),
        (b"x-forwarded-host", host),
        (b"x-request-id", x.request_id),
        (b"via", via),
    ]
    fields += [(name, value) for name, _, value in (line.partition(b": ") for line in x.trace.lines.splitlines())]
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


def _by_proxies(x: Exchange, chain: bytes, proto: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """X-Forwarded-For, -Proto, -Host and Via: a trusted peer's words are kept and added to, others' replaced.

    Via is appended to whoever it came from: it is there against loops, not for trust (RFC 9110 7.6.3).
    """
    host = x.host
    via = b", ".join([value for name, value in x.special if name == b"via"] + [VIA])
    if x.is_peer_trusted:
        if x.forwarded_for:
            chain = x.forwarded_for + b", " + chain
        proto = first(x.special, b"x-forwarded-proto") or proto
        host = first(x.special, b"x-forwarded-host") or host
    return chain, proto, host, via


def _options(x: Exchange) -> frozenset[bytes]:
    """The fields that the request's Connection lines name."""
    lines = [value for name, value in x.special if name == b"connection" and value not in _COMMON_OPTIONS]
    return connection_options(b",".join(lines)) - _COMMON_OPTIONS if lines else frozenset()


def _without_options(x: Exchange, lines: list[bytes]) -> list[bytes]:
    """The lines without those that Connection names; with Origin and X-Request-Start, and X-Real-IP and Forwarded if
    the peer may set them.
    """
    kept = _FROM_TRUSTED if x.is_peer_trusted else _FROM_ANYBODY
    lines += [b": ".join(field) for field in x.special if field[0] in kept]
    options = _options(x)
    return [line for line in lines if line.partition(b":")[0] not in options] if options else lines


def response_fields(x: Exchange, fields: Fields) -> Fields:
    """The fields for the client: the backend's without those of its hop, and the gateway's own."""
    out = [field for field in fields if field[0] not in NOT_FROM_BACKEND]
    if len(out) != len(fields):
        options = b",".join([value for name, value in fields if name == b"connection"])
        if options not in _COMMON_OPTIONS and (named := connection_options(options) - _COMMON_OPTIONS):
            out = [field for field in out if field[0] not in named]
    if x.cors is not None:
        out = x.cors.of_backend(out)
    if first(out, b"server") is None:
        out.append(_SERVER)
    out.append(_VIA)
    out.append(_ATTEMPTS[x.attempts])
    out += own_fields(x)
    return out
