"""Who may see the gateway's pages beyond health: whose address ADMIN_ALLOW holds, or who presents ADMIN_TOKEN.

A token that is presented and wrong is refused from any address: whoever sends one relies on it.

A browser on an allowed address is somebody else's tool as soon as it shows a foreign page. What changes anything is
therefore refused if its Origin is not the gateway itself; with the token it is not asked, as no browser adds that by
itself.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from fastgw.errors import FORBIDDEN, UNAUTHORIZED, GatewayError
from fastgw.respond import error_answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastgw.exchange import Exchange
    from fastgw.respond import Answer

    Network = IPv4Network | IPv6Network

TOKEN_FIELD: Final = b"x-admin-token"
"""For clients whose Authorization is another's, such as a proxy's. If both are sent, this one counts."""

CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="fastgw", error="invalid_token"')
"""RFC 6750 3."""

SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that change nothing (RFC 9110 9.2.1)."""

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Access:
    """Decides who may see a page of the operators'."""

    def __init__(self, allow: Iterable[Network], token: str) -> None:
        """allow: ADMIN_ALLOW. token: ADMIN_TOKEN; empty: there is none, and none is looked at."""
        self._allow = tuple(allow)
        self._digest = sha256(token.encode()).digest() if token else b""

    def refusal(self, x: Exchange) -> Answer | None:
        """None, or 401 for a wrong token, 403 for an address without one and for a foreign page's request.

        x.client must be set. O(networks in ADMIN_ALLOW).
        """
        presented = _presented(x) if self._digest else None
        if presented is not None:
            if compare_digest(sha256(presented).digest(), self._digest):
                return None
            answer = error_answer(GatewayError(UNAUTHORIZED, "the admin token is wrong"), x.request_id)
            answer.fields = [*answer.fields, CHALLENGE]
            return answer
        if not self._allows(x.client):
            detail = "the client's address is not in ADMIN_ALLOW, and no admin token was presented"
            return error_answer(GatewayError(FORBIDDEN, detail), x.request_id)
        if x.method not in SAFE and (origin := _field(x, b"origin")) is not None and not _is_own(origin, x.host):
            return error_answer(GatewayError(FORBIDDEN, "the request comes from another site's page"), x.request_id)
        return None

    def _allows(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:  # a unix socket's peer
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # ::ffff:127.0.0.1 is 127.0.0.1 on a dual-stack socket
        return any(ip in network for network in self._allow)


def _presented(x: Exchange) -> bytes | None:
    """The token that a request carries; None if it carries none. Other schemes than Bearer are none."""
    token = _field(x, TOKEN_FIELD)
    if token is not None:
        return token
    scheme, _, token = (_field(x, b"authorization") or b"").strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None


def _field(x: Exchange, wanted: bytes) -> bytes | None:
    """A field's value; of several lines all, so that a second one makes a token wrong."""
    values = [value for name, value in x.headers if name == wanted]
    return b", ".join(values) if values else None


def _is_own(origin: bytes, host: bytes) -> bool:
    """Whether an Origin (RFC 6454) names the Host that was asked. `null` never does."""
    try:
        parts = urlsplit(origin.decode("ascii").lower())
        asked = host.decode("ascii").lower()
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None:
        return False
    return parts.netloc.removesuffix(default) == asked.removesuffix(default)
